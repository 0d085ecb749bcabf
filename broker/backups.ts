import { randomUUID } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { MillraceError } from '../protocol/index.js'
import { type BackupCursor, type BackupSource, backupStart, encodeEntries } from '../storage/index.js'
import type { Shard } from './shard.js'

/** A client that reads nothing for this long has died. */
const idleMsMax = 60_000

interface Backup {
  readonly id: string
  readonly source: BackupSource
  readonly timer: NodeJS.Timeout
  /** Number and beginning of the chunk that was read last. */
  chunk: number
  cursor: BackupCursor
  /** Beginning of the chunk after it; undefined at the end. */
  next: BackupCursor | undefined
}

/** A chunk for the wire; without `part` after the last one. */
export interface EncodedChunk {
  readonly part?: 'state' | 'journal'
  readonly entries: number
  readonly checksum: number
  readonly payload: Uint8Array
}

const lastChunk: EncodedChunk = { entries: 0, checksum: 0, payload: new Uint8Array(0) }

/** The backup that a client reads: one at a time. */
export class Backups {
  readonly #shard: Shard
  readonly #idleMs: number
  #current: Backup | undefined

  constructor(shard: Shard, idleMs = idleMsMax) {
    this.#shard = shard
    this.#idleMs = idleMs
  }

  /** @throws MillraceError BACKUP_RUNNING, STORAGE_FULL, STORAGE_FAILED */
  async begin(): Promise<{ readonly id: string; readonly position: number }> {
    const source = await this.#shard.store.beginBackup()
    // The store has ended the one before.
    clearTimeout(this.#current?.timer)
    const id = randomUUID()
    const timer = setTimeout(() => void this.end(id), this.#idleMs).unref()
    this.#current = { id, source, timer, chunk: -1, cursor: backupStart, next: backupStart }
    return { id, position: source.position }
  }

  /**
   * Reads the next chunk, or the last one again.
   * @throws MillraceError UNKNOWN_BACKUP, BAD_REQUEST for another chunk, CORRUPT
   */
  async read(id: string, chunk: number): Promise<EncodedChunk> {
    const backup = this.#current
    if (backup?.id !== id) throw new MillraceError('UNKNOWN_BACKUP')
    backup.timer.refresh()
    const cursor = chunk === backup.chunk ? backup.cursor : chunk === backup.chunk + 1 ? backup.next : null
    if (cursor === null)
      throw new MillraceError('BAD_REQUEST', `chunk is ${chunk}, expected the next one, ${backup.chunk + 1}`)
    const found = cursor && (await backup.source.read(cursor))
    backup.chunk = chunk
    backup.cursor = cursor ?? backup.cursor
    backup.next = found?.next
    if (found === undefined) return lastChunk
    const payload = encodeEntries(found.chunk.entries)
    return { part: found.chunk.part, entries: found.chunk.entries.length, checksum: crc32(payload), payload }
  }

  /** Ends the backup with this id, if it is still there. */
  async end(id: string): Promise<void> {
    const backup = this.#current
    if (backup?.id !== id) return
    this.#current = undefined
    clearTimeout(backup.timer)
    await backup.source.close()
  }

  async close(): Promise<void> {
    if (this.#current !== undefined) await this.end(this.#current.id)
  }
}
