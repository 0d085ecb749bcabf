import { rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { run } from './command.js'
import { checkOnce, linux, tools, type Unavailable } from './requirements.js'

/** Fills a volume up and gives the room back. */
export interface DiskFiller {
  /** Takes room until at most `freeBytes` (default 0) are left to others; may be called again. */
  fill(freeBytes?: number): Promise<void>
  /** Gives all room back. */
  free(): Promise<void>
}

const attemptsMax = 10

/**
 * Another process that eats up the disk, like a log file that nobody rotates: the broker gets ENOSPC from then on.
 * The room is reserved with fallocate(1), at once and without writing. Meant for a small volume of its own
 * (`LoopVolume`): this would fill the disk of the machine as well. What a file system has promised to delayed
 * writes is not counted as free, so the last blocks may come and go.
 * @param dir any folder of the volume; the file `filler` is made in it
 */
export function diskFiller(context: TestContext, dir: string): DiskFiller {
  const path = join(dir, 'filler')
  let takenBytes = 0
  const fill = async (freeBytes = 0): Promise<void> => {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const { bavail, bsize } = await statfs(dir)
      const excessBytes = bavail * bsize - freeBytes
      if (excessBytes <= 0) return
      // Extents need blocks of their own, so all that is free is rarely available to one file: then half of it.
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

/** Why no volume can be filled here. */
export const diskFillerUnavailable: Unavailable = checkOnce(linux, tools('fallocate'))
