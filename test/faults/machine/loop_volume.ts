import { mkdir, open, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { type SpawnedProcess, spawnProcess } from '../../helpers/spawn.js'
import { waitFor } from '../../helpers/wait_for.js'
import { run, runAtExit } from './command.js'
import { checkOnce, linuxRoot, tools, trial, type Unavailable } from './requirements.js'

export interface LoopVolumeOptions {
  /**
   * Size of the image; at least 16 MiB, because ext4 has no room for a journal below that. Default 256 MiB. The image
   * is sparse.
   */
  readonly sizeBytes?: number
  /** Options of mount(8), separated by commas. Default `data=ordered`, which is also the default of ext4. */
  readonly mountOptions?: string
}

/** EXT4_IOC_SHUTDOWN, `_IOR('X', 125, __u32)`, and EXT4_GOING_FLAGS_NOLOGFLUSH (linux/fs/ext4/ext4.h). */
const shutdownRequest = 0x8004587d
const noLogFlush = 2

/**
 * Waits for a line and cuts; started in advance and with real-time priority, so that a cut takes one write to a pipe.
 */
const cutScript = `
import fcntl, os, signal, struct, sys
volume = os.open(sys.argv[1], os.O_RDONLY)
flags = struct.pack('I', ${noLogFlush})
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
except OSError:
    pass
os.write(1, b'armed\\n')
line = os.read(0, 100)
if line:
    for pid in line.split():
        os.kill(int(pid), signal.SIGSTOP)
    fcntl.ioctl(volume, ${shutdownRequest}, flags)
    os.write(1, b'cut\\n')
`

const sizeBytesMin = 16 * 1024 * 1024
const busyDeadlineMs = 5_000

/**
 * A small ext4 file system in an image file, for faults of a whole disk: loss of power, no space left.
 *
 * `cutPower` is like a pulled plug from the view of the file system: from then on every call fails with EIO,
 * unwritten pages and journal entries are lost, and the next mount replays the journal. A machine without
 * power does nothing more, so the caller names the processes that write to it: they are stopped at the same moment,
 * with
 * system calls in progress, and the caller kills them. A process that ran on could get wrong results: a concurrent sync
 * may
 * return success although the journal was aborted (seen on Linux 6.18 with files that were created just before).
 *
 * Limits: data that ext4 has given to the loop device stays in the page cache of the file system below and survives,
 * like
 * a disk whose cache is never lost. So it does not show a missing flush (FUA, barrier), nor torn sectors;
 * it does show a missing fsync. Files that are older than some seconds are usually written back without fsync.
 */
export class LoopVolume {
  /** Where it is mounted. */
  readonly dir: string
  /** The loop device, like `/dev/loop0`. */
  readonly device: string
  readonly #context: TestContext
  readonly #mountOptions: string
  #cutter: SpawnedProcess | undefined
  #mounted = false

  private constructor(context: TestContext, dir: string, device: string, mountOptions: string) {
    this.#context = context
    this.dir = dir
    this.device = device
    this.#mountOptions = mountOptions
  }

  /**
   * Creates the image and mounts it; the cleanup of the context unmounts and removes it.
   * @throws RangeError for a size below 16 MiB; Error with the tool's message if one fails
   */
  static async create(
    context: TestContext,
    { sizeBytes = 256 * 1024 * 1024, mountOptions = 'data=ordered' }: LoopVolumeOptions = {},
  ): Promise<LoopVolume> {
    if (sizeBytes < sizeBytesMin) throw new RangeError(`${sizeBytes} bytes: ext4 needs ${sizeBytesMin}`)
    const folder = await context.tempDir()
    const image = join(folder, 'volume.img')
    const dir = join(folder, 'volume')
    await mkdir(dir)
    const file = await open(image, 'wx')
    await file.truncate(sizeBytes)
    await file.close()
    const eager = 'lazy_itable_init=0,lazy_journal_init=0'
    await run('mkfs.ext4', '-q', '-F', '-b', '4096', '-m', '0', '-E', eager, image)
    const device = await run('losetup', '--find', '--show', image)
    const volume = new LoopVolume(context, dir, device, mountOptions)
    const withdraw = runAtExit(['umount', '--lazy', dir], ['losetup', '--detach', device])
    context.defer(async () => {
      await volume.#release()
      withdraw()
    })
    await volume.mount()
    return volume
  }

  /** Mounts it, after a cut with the recovery of its journal, and prepares the next cut. */
  async mount(): Promise<void> {
    await run('mount', '-t', 'ext4', '-o', this.#mountOptions, this.device, this.dir)
    this.#mounted = true
    await this.#arm()
  }

  /** @throws Error if a process still holds it open after 5 seconds */
  async unmount(): Promise<void> {
    await this.#disarm()
    let reason = ''
    await waitFor(
      `${this.dir} to be unmounted`,
      async () => {
        reason = await run('umount', this.dir).then(
          () => '',
          (error: Error) => error.message,
        )
        return !reason.includes('busy')
      },
      { deadlineMs: busyDeadlineMs },
    )
    if (reason !== '') throw new Error(reason)
    this.#mounted = false
  }

  /**
   * Cuts the power; see the class. The cut is in progress when this returns, before any
   * await: the system call begins about 0.1 ms later and takes about 2 ms until writes fail (Linux 6.18).
   * @param pids processes that lose their power, too: stopped just before the cut, to be killed afterwards
   * @returns once it is done; then unmount the volume before its next use
   */
  async cutPower(pids: readonly number[] = []): Promise<void> {
    const cutter = this.#cutter
    if (cutter === undefined) throw new Error(`${this.dir} is not mounted, or its power is cut already`)
    this.#cutter = undefined
    cutter.stdin.write(`${pids.join(' ')}\n`)
    await cutter.waitForOutput('stdout', /cut\n/)
    await cutter.exited
  }

  /** Free bytes. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.dir)
    return bavail * bsize
  }

  async #arm(): Promise<void> {
    const cutter = spawnProcess(this.#context, 'python3', ['-c', cutScript, this.dir])
    await cutter.waitForOutput('stdout', /armed\n/)
    this.#cutter = cutter
  }

  /** The waiting process has the mounted folder open, which prevents an unmount. */
  async #disarm(): Promise<void> {
    const cutter = this.#cutter
    this.#cutter = undefined
    cutter?.kill('SIGKILL')
    await cutter?.exited
  }

  async #release(): Promise<void> {
    await this.#disarm()
    // Lazy, because a cleanup must not hang on a process that the test forgot.
    if (this.#mounted) await run('umount', '--lazy', this.dir)
    await run('losetup', '--detach', this.device)
  }
}

/** The reason why no volume can be created here. */
export const loopVolumeUnavailable: Unavailable = checkOnce(
  linuxRoot,
  tools('mkfs.ext4', 'losetup', 'mount', 'python3'),
  trial('an ext4 volume on a loop device', async (context) => {
    const volume = await LoopVolume.create(context, { sizeBytes: sizeBytesMin })
    await volume.cutPower()
  }),
)
