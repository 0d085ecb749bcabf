import { readFile, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { checkOnce, linuxRoot, type Unavailable } from './requirements.js'

/** Upper limits of a device; what is left out is not limited. */
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
 * Makes a block device slow, like a cloud disk whose credits are spent or a neighbour that uses it up: syncs queue up
 * behind each other and nothing fails. The limit is set for the whole device in the root group, so that writes of the
 * journal's and the write-back's kernel threads are throttled as well; give it the loop device of a `LoopVolume` and
 * nothing else. May be called again to change limits.
 *
 * Limits: cgroup v1 only. What is written to memory is not slowed, only what waits for the disk.
 * @param device like `/dev/loop0`
 * @returns removes all limits; the context's cleanup does so, too
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

/** Why no device can be throttled here. */
export const throttleDeviceUnavailable: Unavailable = checkOnce(linuxRoot, async () =>
  readFile(`${folder}/${files.writeBytesPerSecond}`).then(
    () => undefined,
    () => `needs the blkio controller of cgroup v1 with throttling at ${folder}`,
  ),
)
