import { readFile, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { checkOnce, linuxRoot, type Unavailable } from './requirements.js'

/** Upper limits of a device; an absent one is unlimited. */
export interface BlockLimits {
  readonly writeBytesPerSecond?: number
  readonly writesPerSecond?: number
  readonly readBytesPerSecond?: number
  readonly readsPerSecond?: number
}

const folder = '/sys/fs/cgroup/blkio'

/** Files of the throttle policy in cgroup v1 (linux/Documentation/admin-guide/cgroup-v1/blkio-controller.rst). */
const files: Readonly<Record<keyof BlockLimits, string>> = {
  writeBytesPerSecond: 'blkio.throttle.write_bps_device',
  writesPerSecond: 'blkio.throttle.write_iops_device',
  readBytesPerSecond: 'blkio.throttle.read_bps_device',
  readsPerSecond: 'blkio.throttle.read_iops_device',
}

/**
 * Makes a block device slow, like a cloud disk without credits or with a busy neighbor: syncs queue up
 * behind each other and nothing fails. The limit is for the whole device in the root group, so that it also throttles
 * the
 * kernel threads of the journal and of write-back; use it for the loop device of a `LoopVolume` and
 * nothing else. Call it again to change limits.
 *
 * Limits: cgroup v1 only. It slows only waits for the disk, not writes to memory.
 * @param device like `/dev/loop0`
 * @returns removes all limits; the cleanup of the context does so, too
 */
export async function throttleDevice(
  context: TestContext,
  device: string,
  limits: BlockLimits,
): Promise<() => Promise<void>> {
  const number = (await readFile(`/sys/block/${basename(device)}/dev`, 'latin1')).trim()
  const apply = async (wanted: BlockLimits): Promise<void> => {
    for (const [name, file] of Object.entries(files) as [keyof BlockLimits, string][])
      await writeFile(`${folder}/${file}`, `${number} ${wanted[name] ?? 0}`)
  }
  const release = (): Promise<void> => apply({})
  context.defer(release)
  await apply(limits)
  return release
}

/** The reason why no device can be throttled here. */
export const throttleDeviceUnavailable: Unavailable = checkOnce(linuxRoot, async () =>
  readFile(`${folder}/${files.writeBytesPerSecond}`).then(
    () => undefined,
    () => `needs the blkio controller of cgroup v1 with throttling at ${folder}`,
  ),
)
