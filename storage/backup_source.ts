import { MillraceError } from '../protocol/index.js'
import type { EngineEntry, EngineSnapshot } from './engine.js'
import type { Journal } from './journal.js'
import { positionKey, stateEndKey } from './keys.js'

/** A chunk ends with the entry that reaches this size, so it is at most one entry larger. */
const chunkBytes = 1024 * 1024
const entriesPerRead = 16

export interface BackupChunk {
  readonly part: 'state' | 'journal'
  readonly entries: readonly EngineEntry[]
}

/** Where a chunk begins. */
export type BackupCursor =
  | { readonly part: 'state'; readonly from: Uint8Array }
  | { readonly part: 'journal'; readonly from: number }

export const backupStart: BackupCursor = { part: 'state', from: new Uint8Array(0) }

/**
 * The data of a store at one position of its journal: a snapshot of the state, and the blocks up to the position. Blocks do
 * not change before `close`, because the store reclaims no space until then.
 */
export class BackupSource {
  /** Position of the newest block in the backup. */
  readonly position: number
  readonly #snapshot: EngineSnapshot
  readonly #journal: Journal
  readonly #closed: () => void
  #ended: string | undefined

  constructor(position: number, snapshot: EngineSnapshot, journal: Journal, closed: () => void) {
    this.position = position
    this.#snapshot = snapshot
    this.#journal = journal
    this.#closed = closed
  }

  /**
   * Reads the chunk at `cursor`; undefined at the end.
   * @throws MillraceError UNKNOWN_BACKUP once it has ended, CORRUPT for blocks that the engine can't read
   */
  async read(cursor: BackupCursor): Promise<{ chunk: BackupChunk; next: BackupCursor } | undefined> {
    if (this.#ended !== undefined) throw new MillraceError('UNKNOWN_BACKUP', this.#ended)
    if (cursor.part === 'journal') return this.#readJournal(cursor.from)
    const found = await this.#snapshot.range({
      gte: cursor.from,
      lt: stateEndKey,
      limit: entriesPerRead * 16,
    })
    if (found.length === 0) return this.#readJournal(1)
    const entries = firstBytes(found)
    const last = entries.at(-1)?.[0] as Uint8Array
    const from = Buffer.concat([last, Uint8Array.of(0)])
    return { chunk: { part: 'state', entries }, next: { part: 'state', from } }
  }

  async #readJournal(from: number): Promise<{ chunk: BackupChunk; next: BackupCursor } | undefined> {
    const { blocks, damaged } = await this.#journal.scan(from, entriesPerRead)
    if (damaged)
      throw new MillraceError(
        'CORRUPT',
        `the broker can't read the journal after block ${from - 1}; stop the broker and run "millrace repair" to see the damage`,
      )
    const wanted = blocks.filter(({ position }) => position <= this.position)
    if (wanted.length === 0) return undefined
    const entries = firstBytes(
      wanted.map(({ position, bytes }): EngineEntry => [positionKey(position), bytes]),
    )
    const last = wanted[entries.length - 1]?.position as number
    return { chunk: { part: 'journal', entries }, next: { part: 'journal', from: last + 1 } }
  }

  /** @param reason what later reads report */
  async close(reason = 'the backup has ended'): Promise<void> {
    if (this.#ended !== undefined) return
    this.#ended = reason
    this.#closed()
    await this.#snapshot.close()
  }
}

function firstBytes(entries: readonly EngineEntry[]): readonly EngineEntry[] {
  let bytes = 0
  const end = entries.findIndex(([key, value]) => {
    bytes += key.length + value.length
    return bytes >= chunkBytes
  })
  return end === -1 ? entries : entries.slice(0, end + 1)
}
