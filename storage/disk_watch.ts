import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { DiskReserve, reserveName } from './disk_reserve.js'

/** `low`: too little space for more data. `full`: only the space of the reserve was left, and the reserve was released. */
export type DiskSpace = 'ok' | 'low' | 'full'

export interface DiskLimits {
  /** The disk is low below this free space. */
  readonly freeBytesMin: number
  /** Size of the reserve; 0: no reserve. */
  readonly reserveBytes: number
}

/** Watches the free space of the file system of a folder, and keeps a reserve there for a full disk. */
export class DiskWatch {
  readonly #folder: string
  readonly #freeBytesMin: number
  readonly #reserve: DiskReserve
  readonly #onChange: () => void
  readonly #timer: NodeJS.Timeout
  #looking: Promise<void> | undefined
  /** Whether a write failed on a full disk since the reserve was last written. */
  #wasFull = false
  freeBytes = Number.POSITIVE_INFINITY
  space: DiskSpace = 'ok'

  /** @param onChange called when `space` changes */
  constructor(folder: string, limits: DiskLimits, intervalMs: number, onChange: () => void) {
    this.#folder = folder
    this.#freeBytesMin = limits.freeBytesMin
    this.#reserve = new DiskReserve(folder, limits.reserveBytes)
    this.#onChange = onChange
    this.#timer = setInterval(() => void this.#look(true), intervalMs)
    this.#timer.unref()
  }

  /** Takes over the reserve of an earlier process. A missing one is written later, because that takes time. */
  async start(): Promise<void> {
    await this.#reserve.load()
    this.#wasFull = this.#reserve.wasReleased
    await this.#look(false)
  }

  /** Frees the reserve after a write failed on a full disk. It is written again when there is space. */
  async releaseReserve(): Promise<void> {
    while (this.#looking !== undefined) await this.#looking
    if (this.#reserve.bytes === 0) return
    this.#wasFull = true
    await this.#inTurn(async () => {
      await this.#reserve.release()
      await this.#lookOnce(false)
    })
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#looking
  }

  #look(makesReserve: boolean): Promise<void> {
    return this.#looking ?? this.#inTurn(() => this.#lookOnce(makesReserve))
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#looking = work().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #lookOnce(makesReserve: boolean): Promise<void> {
    const reserve = this.#reserve
    try {
      this.freeBytes = await freeBytesOf(this.#folder)
      // Twice as much, so that some space remains for others next to the reserve.
      if (makesReserve && reserve.bytes > 0 && !reserve.isHeld && this.freeBytes >= 2 * reserve.bytes) {
        await reserve.make()
        this.freeBytes = await freeBytesOf(this.#folder)
      }
    } catch {
      // The file system does not answer or takes no files: the next write shows whether it still works.
      return
    }
    if (reserve.isHeld) this.#wasFull = false
    const space = this.#spaceNow()
    if (space === this.space) return
    this.space = space
    this.#onChange()
  }

  #spaceNow(): DiskSpace {
    const { bytes, isHeld } = this.#reserve
    const isLow = this.freeBytes < this.#freeBytesMin
    // An earlier process may have used up the reserve: then the rest is for operations that free space.
    if (!isHeld && (this.#wasFull || (isLow && this.freeBytes < 2 * bytes))) return 'full'
    return isLow ? 'low' : 'ok'
  }
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** Bytes of the files in a folder and the folders in it, without the reserve of a data folder. */
export async function folderBytes(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true })
  let bytes = 0
  for (const name of names) {
    if (name === reserveName) continue
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
