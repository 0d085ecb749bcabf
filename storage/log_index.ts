import { MillraceError } from '../protocol/index.js'
import { indexPageKey } from './keys.js'
import type { State } from './state.js'

/** Where the batches of one log in one block are. `position` 0: they are lost. */
export interface IndexEntry {
  readonly firstOffset: number
  readonly recordCount: number
  readonly bytes: number
  readonly position: number
  readonly lastTimestamp: number
}

/**
 * A page, little-endian, 32 bytes an entry; stands on disk and is never changed:
 *     0 u64 firstOffset | 8 u64 position | 16 u64 lastTimestamp | 24 u32 recordCount | 28 u32 bytes
 */
const entryBytes = 32
const pageEntriesMax = 64

/**
 * From offset to block, for one log: one entry for each block that holds some of it, in pages of up to 64. The newest
 * page lives in memory and reaches the state with a checkpoint; older pages are read from the state.
 */
export class LogIndex {
  readonly #logId: number
  readonly #state: State
  readonly #cache: PageCache
  #page: IndexEntry[] = []

  constructor(logId: number, state: State, cache: PageCache) {
    this.#logId = logId
    this.#state = state
    this.#cache = cache
  }

  /** Takes up the newest page, as the last checkpoint left it. */
  async load(endOffset: number): Promise<void> {
    if (endOffset > 0) this.#page = (await this.#readPage(endOffset)) ?? []
  }

  /** @param deadBefore a page that ends at or before this offset is not kept when it is full */
  add(entry: IndexEntry, deadBefore: number): void {
    if (this.#page.length >= pageEntriesMax) {
      const first = this.#page[0] as IndexEntry
      if (endOf(this.#page) > deadBefore) this.save()
      else this.#state.del(indexPageKey(this.#logId, first.firstOffset))
      this.#page = []
    }
    this.#page.push(entry)
  }

  /** Puts the newest page into the state. */
  save(): void {
    const first = this.#page[0]
    if (first !== undefined)
      this.#state.put(indexPageKey(this.#logId, first.firstOffset), encodePage(this.#page))
  }

  /**
   * Entries from the one that holds `offset` (or follows it) on, to the end of their page; empty past the last.
   * Answers at once when the newest page has them.
   */
  from(offset: number): readonly IndexEntry[] | Promise<readonly IndexEntry[]> {
    const first = this.#page[0]
    if (first === undefined || offset >= first.firstOffset) return entriesFrom(this.#page, offset)
    return this.#older(offset)
  }

  /** The page that holds `offset` or, when nothing does, follows it, whole; undefined past the last. */
  async pageAt(offset: number): Promise<readonly IndexEntry[] | undefined> {
    const newest = this.#page[0]
    if (newest === undefined) return undefined
    if (offset >= newest.firstOffset) return endOf(this.#page) > offset ? this.#page.slice() : undefined
    const page = await this.#readPage(offset)
    if (page !== undefined && endOf(page) > offset) return page
    return this.#pageAfter(offset)
  }

  /** Deletes the page that begins with `firstOffset`, unless it is the newest. Returns whether it did. */
  deletePage(firstOffset: number): boolean {
    const newest = this.#page[0]
    if (newest === undefined || firstOffset >= newest.firstOffset) return false
    this.#state.del(indexPageKey(this.#logId, firstOffset))
    this.#cache.delete(this.#logId)
    return true
  }

  deleteNewestPage(): void {
    const first = this.#page[0]
    if (first !== undefined) this.#state.del(indexPageKey(this.#logId, first.firstOffset))
    this.#page = []
    this.#cache.delete(this.#logId)
  }

  /** Position of the newest block that it names, 0 when there is none. */
  get newestPosition(): number {
    return this.#page.at(-1)?.position ?? 0
  }

  async #older(offset: number): Promise<readonly IndexEntry[]> {
    const page = await this.#readPage(offset)
    const found = page === undefined ? [] : entriesFrom(page, offset)
    if (found.length > 0) return found
    // `offset` lies behind the last entry of its page, or before the first page: what follows is the next page.
    return this.#pageAfter(offset)
  }

  async #pageAfter(offset: number): Promise<IndexEntry[]> {
    const [entry] = await this.#state.range({
      gte: indexPageKey(this.#logId, offset),
      lt: indexPageKey(this.#logId + 1, 0),
      limit: 1,
    })
    return entry === undefined ? this.#page.slice() : decodePage(entry[1])
  }

  /** The page whose first entry is the last at or before `offset`. */
  async #readPage(offset: number): Promise<IndexEntry[] | undefined> {
    const cached = this.#cache.get(this.#logId, offset)
    if (cached !== undefined) return cached
    const [found] = await this.#state.range({
      gte: indexPageKey(this.#logId, 0),
      lt: indexPageKey(this.#logId, offset + 1),
      limit: 1,
      reverse: true,
    })
    if (found === undefined) return undefined
    const page = decodePage(found[1])
    if (page.length === pageEntriesMax) this.#cache.put(this.#logId, page)
    return page
  }
}

function endOf(page: readonly IndexEntry[]): number {
  const last = page.at(-1)
  return last === undefined ? 0 : last.firstOffset + last.recordCount
}

function entriesFrom(page: readonly IndexEntry[], offset: number): readonly IndexEntry[] {
  let low = 0
  let high = page.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const entry = page[middle] as IndexEntry
    if (entry.firstOffset + entry.recordCount > offset) high = middle
    else low = middle + 1
  }
  return low === 0 ? page : page.slice(low)
}

function encodePage(page: readonly IndexEntry[]): Buffer {
  const bytes = Buffer.allocUnsafe(page.length * entryBytes)
  for (const [index, entry] of page.entries()) {
    const at = index * entryBytes
    writeU64LE(bytes, at, entry.firstOffset)
    writeU64LE(bytes, at + 8, entry.position)
    writeU64LE(bytes, at + 16, entry.lastTimestamp)
    bytes.writeUInt32LE(entry.recordCount, at + 24)
    bytes.writeUInt32LE(entry.bytes, at + 28)
  }
  return bytes
}

function writeU64LE(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at)
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

function decodePage(value: Uint8Array): IndexEntry[] {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (bytes.length % entryBytes !== 0)
    throw new MillraceError('CORRUPT', 'a page of a log index has a wrong size')
  const page: IndexEntry[] = []
  for (let at = 0; at < bytes.length; at += entryBytes) {
    page.push({
      firstOffset: Number(bytes.readBigUInt64LE(at)),
      position: Number(bytes.readBigUInt64LE(at + 8)),
      lastTimestamp: Number(bytes.readBigUInt64LE(at + 16)),
      recordCount: bytes.readUInt32LE(at + 24),
      bytes: bytes.readUInt32LE(at + 28),
    })
  }
  return page
}

/** Full index pages that were read lately, of all logs; the oldest leave first. */
export class PageCache {
  readonly #lastByLog = new Map<number, IndexEntry[]>()
  readonly #pagesMax: number

  constructor(pagesMax = 1024) {
    this.#pagesMax = pagesMax
  }

  /** The page last used of this log, if it holds `offset`: sequential readers hit it almost always. */
  get(logId: number, offset: number): IndexEntry[] | undefined {
    const page = this.#lastByLog.get(logId)
    const first = page?.[0]
    const last = page?.at(-1)
    if (first === undefined || last === undefined) return undefined
    return offset >= first.firstOffset && offset < last.firstOffset + last.recordCount ? page : undefined
  }

  put(logId: number, page: IndexEntry[]): void {
    this.#lastByLog.delete(logId)
    this.#lastByLog.set(logId, page)
    if (this.#lastByLog.size > this.#pagesMax) {
      const [oldest] = this.#lastByLog.keys()
      if (oldest !== undefined) this.#lastByLog.delete(oldest)
    }
  }

  delete(logId: number): void {
    this.#lastByLog.delete(logId)
  }
}
