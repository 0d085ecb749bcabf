import { rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { run } from './command.js'
import { checkOnce, linux, tools, type Unavailable } from './requirements.js'

/** Fills a volume and frees the room again. */
export interface DiskFiller {
  /** Takes room until at most `freeBytes` (default 0) are left; may be called again. */
  fill(freeBytes?: number): Promise<void>
  /** Frees all room. */
  free(): Promise<void>
}

const attemptsMax = 10

/**
 * Another process that fills the disk, like a log file without rotation: the broker gets ENOSPC from then on.
 * It reserves the room with fallocate(1), at once and without writes. Use it with a small volume
 * (`LoopVolume`): it would fill the disk of the machine as well. Room that a file system has promised to delayed
 * writes does not count as free, so the last blocks may change.
 * @param dir any folder of the volume; the file is `filler` in it
 */
export function diskFiller(context: TestContext, dir: string): DiskFiller {
  const path = join(dir, 'filler')
  let takenBytes = 0
  const fill = async (freeBytes = 0): Promise<void> => {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const { bavail, bsize } = await statfs(dir)
      const excessBytes = bavail * bsize - freeBytes
      if (excessBytes <= 0) return
      // Extents need blocks of their own, so one file rarely gets all free room: then half of it.
      const wantedBytes = attempt % 2 === 0 ? excessBytes : Math.max(bsize, Math.floor(excessBytes / 2))
      const args = ['--offset', `${takenBytes}`, '--length', `${wantedBytes}`, path]
      const taken = await run('fallocate', ...args).then(
        () => true,
        (error: Error) => {
          if (!error.message.includes('No space left')) throw error
          return false
        },
      )
      if (taken) takenBytes += wantedBytes
    }
  }
  const free = async (): Promise<void> => {
    await rm(path, { force: true })
    takenBytes = 0
  }
  // The volume may be gone or its power cut by then, which frees the room as well.
  context.defer(() => free().catch(() => {}))
  return { fill, free }
}

/** The reason why no volume can be filled here. */
export const diskFillerUnavailable: Unavailable = checkOnce(linux, tools('fallocate'))
