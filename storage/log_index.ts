import { type IndexEntry, IndexPage } from './index_page.js'
import { indexPageKey } from './keys.js'
import type { State } from './state.js'

/**
 * From offset to block, for one log: one entry for each block that holds some of it, in pages. The newest page lives in
 * memory and reaches the state with a checkpoint; older pages are read from the state.
 */
export class LogIndex {
  readonly #logId: number
  readonly #state: State
  readonly #cache: PageCache
  #newest = IndexPage.empty()

  constructor(logId: number, state: State, cache: PageCache) {
    this.#logId = logId
    this.#state = state
    this.#cache = cache
  }

  /**
   * Takes up the newest page, as the last checkpoint left it.
   * @throws MillraceError CORRUPT
   */
  load(page: Uint8Array): void {
    this.#newest = IndexPage.decode(page)
  }

  /** @param deadBefore a page that ends at or before this offset is not kept when it is full */
  add(entry: IndexEntry, deadBefore: number): void {
    const first = this.#newest.firstOffset
    if (first !== undefined && this.#newest.isFull) {
      if (this.#newest.endOffset > deadBefore) this.save()
      else this.#state.del(indexPageKey(this.#logId, first))
      this.#newest = IndexPage.empty()
    }
    this.#newest.push(entry)
  }

  /** Puts the newest page into the state. */
  save(): void {
    const first = this.#newest.firstOffset
    if (first !== undefined) this.#state.put(indexPageKey(this.#logId, first), this.#newest.encode())
  }

  /** Offset with which the newest page begins; undefined when there is no page. */
  get newestPageOffset(): number | undefined {
    return this.#newest.firstOffset
  }

  /** Position of the newest block that it names, 0 when there is none. */
  get newestPosition(): number {
    return this.#newest.lastPosition
  }

  /**
   * Entries from the one that holds `offset` (or follows it) on, to the end of their page; empty past the last.
   * Answers at once when the newest page has them.
   */
  from(offset: number): readonly IndexEntry[] | Promise<readonly IndexEntry[]> {
    const first = this.#newest.firstOffset
    if (first === undefined || offset >= first) return this.#newest.from(offset)
    return this.#older(offset)
  }

  /** The page that holds `offset` or, when nothing does, follows it, whole; undefined past the last. */
  async pageAt(offset: number): Promise<readonly IndexEntry[] | undefined> {
    const first = this.#newest.firstOffset
    if (first === undefined) return undefined
    if (offset >= first) return this.#newest.endOffset > offset ? this.#newest.from(0) : undefined
    const page = await this.#readPage(offset)
    if (page !== undefined && page.endOffset > offset) return page.from(0)
    return (await this.#pageAfter(offset)).from(0)
  }

  /** Deletes the page that begins with `firstOffset`, unless it is the newest. Returns whether it did. */
  deletePage(firstOffset: number): boolean {
    const newest = this.#newest.firstOffset
    if (newest === undefined || firstOffset >= newest) return false
    this.#state.del(indexPageKey(this.#logId, firstOffset))
    this.#cache.delete(this.#logId)
    return true
  }

  deleteNewestPage(): void {
    const first = this.#newest.firstOffset
    if (first !== undefined) this.#state.del(indexPageKey(this.#logId, first))
    this.#newest = IndexPage.empty()
    this.#cache.delete(this.#logId)
  }

  async #older(offset: number): Promise<readonly IndexEntry[]> {
    const page = await this.#readPage(offset)
    const found = page === undefined ? [] : page.from(offset)
    if (found.length > 0) return found
    // `offset` lies behind the last entry of its page, or before the first page: what follows is the next page.
    return (await this.#pageAfter(offset)).from(offset)
  }

  async #pageAfter(offset: number): Promise<IndexPage> {
    const [entry] = await this.#state.range({
      gte: indexPageKey(this.#logId, offset),
      lt: indexPageKey(this.#logId + 1, 0),
      limit: 1,
    })
    return entry === undefined ? this.#newest : IndexPage.decode(entry[1])
  }

  /** The page whose first entry is the last at or before `offset`. */
  async #readPage(offset: number): Promise<IndexPage | undefined> {
    const cached = this.#cache.get(this.#logId, offset)
    if (cached !== undefined) return cached
    const [found] = await this.#state.range({
      gte: indexPageKey(this.#logId, 0),
      lt: indexPageKey(this.#logId, offset + 1),
      limit: 1,
      reverse: true,
    })
    if (found === undefined) return undefined
    const page = IndexPage.decode(found[1])
    if (page.isFull) this.#cache.put(this.#logId, page)
    return page
  }
}

/** Full index pages that were read lately, one of each log; the oldest leave first. */
export class PageCache {
  readonly #lastByLog = new Map<number, IndexPage>()
  readonly #pagesMax: number

  constructor(pagesMax = 1024) {
    this.#pagesMax = pagesMax
  }

  /** The page last used of this log, if it holds `offset`: sequential readers hit it almost always. */
  get(logId: number, offset: number): IndexPage | undefined {
    const page = this.#lastByLog.get(logId)
    const first = page?.firstOffset
    if (page === undefined || first === undefined) return undefined
    return offset >= first && offset < page.endOffset ? page : undefined
  }

  put(logId: number, page: IndexPage): void {
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
