import { type IndexEntry, IndexPage } from './index_page.js'
import { indexPageKey } from './keys.js'
import type { State } from './state.js'

/** What an index uses of the state. */
export type IndexState = Pick<State, 'put' | 'del' | 'range'>

/**
 * Maps offsets to blocks for one log: one entry, in pages, for each block that holds a part of it. The newest page is
 * in
 * memory and reaches the state with a checkpoint; older pages are read from the state.
 */
export class LogIndex {
  readonly #logId: number
  readonly #state: IndexState
  readonly #cache: PageCache
  #newest = IndexPage.empty()

  constructor(logId: number, state: IndexState, cache: PageCache) {
    this.#logId = logId
    this.#state = state
    this.#cache = cache
  }

  /**
   * Loads the newest page from the last checkpoint.
   * @throws MillraceError CORRUPT
   */
  load(page: Uint8Array): void {
    this.#newest = IndexPage.decode(page)
  }

  /** @param deadBefore a full page that ends at or before this offset is not kept */
  add(entry: IndexEntry, deadBefore: number): void {
    const first = this.#newest.firstOffset
    if (first !== undefined && this.#newest.isFull) {
      if (this.#newest.endOffset > deadBefore) this.save()
      else this.#state.del(indexPageKey(this.#logId, first))
      this.#newest = IndexPage.empty()
    }
    this.#newest.push(entry)
  }

  /** Writes the newest page to the state. */
  save(): void {
    const first = this.#newest.firstOffset
    if (first !== undefined) this.#state.put(indexPageKey(this.#logId, first), this.#newest.encode())
  }

  /** First offset of the newest page; undefined if there is no page. */
  get newestPageOffset(): number | undefined {
    return this.#newest.firstOffset
  }

  /** Position of the newest block in the index, or 0. */
  get newestPosition(): number {
    return this.#newest.lastPosition
  }

  /**
   * Entries from the one that holds `offset` (or the next one) to the end of their page; empty after the last.
   * Synchronous if the newest page has them.
   */
  from(offset: number): readonly IndexEntry[] | Promise<readonly IndexEntry[]> {
    const first = this.#newest.firstOffset
    if (first === undefined || offset >= first) return this.#newest.from(offset)
    return this.#older(offset)
  }

  /**
   * The page that holds `offset` or, if none does, the next one; undefined after the last. Answers at once if it is the
   * newest page. The newest page grows, also in the hands of the caller.
   */
  pageAt(offset: number): IndexPage | undefined | Promise<IndexPage> {
    const first = this.#newest.firstOffset
    if (first === undefined) return undefined
    if (offset >= first) return this.#newest.endOffset > offset ? this.#newest : undefined
    return this.#olderPage(offset)
  }

  /** Deletes the page with this `firstOffset`, unless it is the newest. Returns whether it deleted it. */
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
    return (await this.#olderPage(offset)).from(offset)
  }

  /** @param offset before the newest page, which is not empty */
  async #olderPage(offset: number): Promise<IndexPage> {
    // Another page may be the newest one after the reads. Pages before this one are complete, and this one is kept here
    // as it was and grows: the state may have it only in part, or not at all.
    const newest = this.#newest
    const page = await this.#readPage(offset)
    if (page !== undefined && page.endOffset > offset) return page
    // `offset` is after the last entry of its page, or before the first page: the next page has the answer.
    const next = await this.#pageAfter(offset)
    return next === undefined || (next.firstOffset ?? 0) >= (newest.firstOffset ?? 0) ? newest : next
  }

  async #pageAfter(offset: number): Promise<IndexPage | undefined> {
    const [entry] = await this.#state.range({
      gte: indexPageKey(this.#logId, offset),
      lt: indexPageKey(this.#logId + 1, 0),
      limit: 1,
    })
    return entry && IndexPage.decode(entry[1])
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

/** Recently read full index pages, one for each log; the oldest leave first. */
export class PageCache {
  readonly #lastByLog = new Map<number, IndexPage>()
  readonly #pagesMax: number

  constructor(pagesMax = 1024) {
    this.#pagesMax = pagesMax
  }

  /** The last used page of this log, if it holds `offset`: sequential readers nearly always find it. */
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
