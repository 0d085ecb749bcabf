import { randomBytes } from 'node:crypto'
import { open, rename, rm, stat, statfs, truncate } from 'node:fs/promises'
import { join } from 'node:path'

/** The name of the file in the data folder. */
export const reserveName = 'RESERVE'
/** Random, because some file systems compress. */
const chunkBytes = 1024 * 1024
/** Opening the databases may write this much. */
const openingBytes = 8 * 1024 * 1024

/**
 * A file that occupies some MiB of the disk. The store deletes it when the disk is full, so that it can commit operations that
 * free space.
 */
export class DiskReserve {
  readonly bytes: number
  readonly #path: string
  readonly #newPath: string
  #isHeld = false
  #wasReleased = false

  /** @param bytes size of the file; 0: there is none */
  constructor(folder: string, bytes: number) {
    this.#path = join(folder, reserveName)
    this.#newPath = `${this.#path}.new`
    this.bytes = bytes
  }

  /** Whether the file has its size. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Whether the reserve was released, by this or an earlier process, and not written again. */
  get wasReleased(): boolean {
    return this.#wasReleased
  }

  /** Takes over the file of an earlier process. Removes one of another size, which a crash can leave. */
  async load(): Promise<void> {
    const found = await stat(this.#path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    this.#isHeld = this.bytes > 0 && found?.size === this.bytes
    this.#wasReleased = this.bytes > 0 && found?.size === 0
    if (found !== undefined && !this.#isHeld && !this.#wasReleased) await rm(this.#path, { force: true })
    await rm(this.#newPath, { force: true })
  }

  /**
   * Writes the file under another name and renames it, because an empty file means that the reserve was released. If the disk
   * has too little space, nothing changes.
   */
  async make(): Promise<void> {
    const chunk = randomBytes(chunkBytes)
    try {
      const file = await open(this.#newPath, 'w')
      try {
        for (let left = this.bytes; left > 0; left -= chunkBytes)
          await file.writeFile(chunk.subarray(0, Math.min(left, chunkBytes)))
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(this.#newPath, this.#path)
      this.#isHeld = true
      this.#wasReleased = false
    } catch (error) {
      await rm(this.#newPath, { force: true })
      if (!isOutOfSpace(error)) throw error
    }
  }

  /** Frees the space. An empty file stays, so that the next process knows of the full disk. */
  async release(): Promise<void> {
    await truncateIfThere(this.#path)
    this.#isHeld = false
    this.#wasReleased = true
  }
}

/** Frees the reserve of a data folder if the disk has too little space to open the databases. */
export async function makeRoomToOpen(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= openingBytes) return
  await truncateIfThere(join(folder, reserveName))
}

async function truncateIfThere(path: string): Promise<void> {
  await truncate(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}

/** Whether an error of the system or of LevelDB means that the disk or the quota of the user has no space left. */
export function isOutOfSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? error.code : undefined
  if (code === 'ENOSPC' || code === 'EDQUOT') return true
  return /No space left on device|Disk quota exceeded/.test(error.message) || isOutOfSpace(error.cause)
}
