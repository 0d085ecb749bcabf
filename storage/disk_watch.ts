import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** Watches the free space of the file system that a folder is on. */
export class DiskWatch {
  readonly #folder: string
  readonly #freeBytesMin: number
  readonly #onChange: (low: boolean) => void
  readonly #timer: NodeJS.Timeout
  freeBytes = Number.POSITIVE_INFINITY
  low = false

  /** @param onChange called when free space falls below `freeBytesMin` or is back above it */
  constructor(folder: string, freeBytesMin: number, intervalMs: number, onChange: (low: boolean) => void) {
    this.#folder = folder
    this.#freeBytesMin = freeBytesMin
    this.#onChange = onChange
    this.#timer = setInterval(() => void this.look(), intervalMs)
    this.#timer.unref()
  }

  async look(): Promise<void> {
    try {
      const { bavail, bsize } = await statfs(this.#folder)
      this.freeBytes = bavail * bsize
    } catch {
      // The folder can't be asked: writes will tell whether it still works.
      return
    }
    const low = this.freeBytes < this.#freeBytesMin
    if (low === this.low) return
    this.low = low
    this.#onChange(low)
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

/** Bytes of the files in a folder and the folders in it. */
export async function folderBytes(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true })
  let bytes = 0
  for (const name of names) {
    try {
      const found = await stat(join(folder, name))
      if (found.isFile()) bytes += found.size
    } catch (error) {
      // LevelDB removes files while we look.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return bytes
}
