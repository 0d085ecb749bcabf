import type { Engine, EngineEntry, EngineOp, RangeOptions } from './engine.js'
import { journalEndKey } from './keys.js'

/** Unused older segments that stay open: each keeps its read files mapped into memory. */
const idleMax = 3
/** A segment closes after this many uses of other older segments: a sequential reader has moved on to the next one. */
const idleUsesMax = 8

/** The storage of segments. The name of a segment is its first key; the name of the first one is empty. */
export interface SegmentStore {
  /** Opens an existing segment. */
  open(from: Uint8Array): Promise<Engine>
  /** Creates a segment that survives a power cut once the promise has resolved, and opens it. */
  create(from: Uint8Array): Promise<Engine>
  /** Removes a closed segment; a partly removed one must not be listed again. */
  remove(from: Uint8Array): Promise<void>
}

/** The existing segments. */
export interface SegmentList {
  /** Ascending, beginning with the empty key. */
  readonly starts: readonly Uint8Array[]
  /** Byte limit of the newest one. */
  readonly newestBytes: number
}

/**
 * An engine with keys that are appended in ascending order, in segments that each are an engine of their own: the cost
 * of a
 * write in LevelDB grows with the number of its files, and a segment limits this number. The newest segment
 * is always open, older ones while they are in use. A commit that touches several segments is atomic in each of
 * them, and reaches them in ascending order: the blocks of a journal show a commit that was cut short.
 */
export class SegmentedEngine implements Engine {
  readonly #store: SegmentStore
  readonly #segmentBytes: number
  /** Ascending. */
  readonly #segments: Segment[]
  readonly #open = new Set<Segment>()
  #newestBytes: number
  /** Without the newest segment. */
  #uses = 0
  #closed = false

  private constructor(store: SegmentStore, { starts, newestBytes }: SegmentList, segmentBytes: number) {
    this.#store = store
    this.#segmentBytes = segmentBytes
    this.#segments = starts.map((from) => new Segment(from, () => store.open(from)))
    this.#newestBytes = newestBytes
  }

  /**
   * @param segmentBytes size at which the next segment begins
   * @throws the error of the open of the newest segment
   */
  static async open(store: SegmentStore, list: SegmentList, segmentBytes: number): Promise<SegmentedEngine> {
    const engine = new SegmentedEngine(store, list, segmentBytes)
    await engine.#use(engine.#newest, () => Promise.resolve())
    return engine
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#use(this.#segmentOf(key), (engine) => engine.get(key))
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const values = new Array<Uint8Array | undefined>(keys.length)
    const bySegment = this.#bySegment([...keys.keys()], (index) => keys[index] as Uint8Array)
    const read = async ([segment, indices]: readonly [Segment, readonly number[]]): Promise<void> => {
      const wanted = indices.map((index) => keys[index] as Uint8Array)
      const found = await this.#use(segment, (engine) => engine.getMany(wanted))
      for (const [at, index] of indices.entries()) values[index] = found[at]
    }
    await Promise.all(bySegment.map(read))
    return values
  }

  async range({ gte, lt, limit, reverse = false }: RangeOptions): Promise<EngineEntry[]> {
    const entries: EngineEntry[] = []
    const parts = this.#partsOf(gte, lt)
    for (const part of reverse ? parts.reverse() : parts) {
      const { segment, ...bounds } = part
      if (segment.isRemoved) continue
      const options = { ...bounds, limit: limit - entries.length, reverse }
      for (const entry of await this.#use(segment, (engine) => engine.range(options))) entries.push(entry)
      if (entries.length >= limit) break
    }
    return entries
  }

  /** Starts the next segment if the newest one is full. */
  appending(key: Uint8Array): Promise<void> | undefined {
    if (this.#newestBytes < this.#segmentBytes || compare(key, this.#newest.from) <= 0) return undefined
    return this.#begin(key)
  }

  async commit(ops: readonly EngineOp[]): Promise<void> {
    for (const [segment, some] of this.#bySegment(ops, ({ key }) => key)) {
      segment.isDirty = true
      if (segment === this.#newest)
        for (const op of some) if (op.type === 'put') this.#newestBytes += op.value.length
      await this.#use(segment, (engine) => engine.commit(some))
    }
  }

  async compact(gte: Uint8Array, lt: Uint8Array): Promise<void> {
    const parts = this.#partsOf(gte, lt)
    const touched = new Set(parts.map(({ segment }) => segment))
    for (const segment of [...this.#open])
      if (segment.isDirty && !touched.has(segment)) await this.#compact(segment, journalEndKey, journalEndKey)
    for (const { segment, gte, lt } of parts) {
      await this.#compact(segment, gte, lt)
      await this.#removeIfEmpty(segment)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const open = [...this.#open]
    this.#open.clear()
    await Promise.all(open.map((segment) => segment.close()))
  }

  get #newest(): Segment {
    return this.#segments.at(-1) as Segment
  }

  async #begin(from: Uint8Array): Promise<void> {
    // The caller may change the bytes afterwards.
    const key = Uint8Array.from(from)
    const engine = await this.#store.create(key)
    this.#newest.usedAt = ++this.#uses
    this.#segments.push(new Segment(key, () => this.#store.open(key), engine))
    this.#open.add(this.#newest)
    this.#newestBytes = 0
    this.#closeIdle()
  }

  async #use<T>(segment: Segment, use: (engine: Engine) => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('the database is not open')
    if (segment !== this.#newest) segment.usedAt = ++this.#uses
    segment.users++
    this.#open.add(segment)
    try {
      return await use(await segment.open())
    } finally {
      segment.users--
      this.#closeIdle()
    }
  }

  async #compact(segment: Segment, gte: Uint8Array, lt: Uint8Array): Promise<void> {
    segment.isDirty = false
    await this.#use(segment, (engine) => engine.compact(gte, lt))
  }

  #closeIdle(): void {
    if (this.#open.size === 1) return
    const idle = [...this.#open].filter((segment) => segment.users === 0 && segment !== this.#newest)
    idle.sort((a, b) => b.usedAt - a.usedAt)
    for (const [index, segment] of idle.entries()) {
      if (index < idleMax && this.#uses - segment.usedAt < idleUsesMax) continue
      this.#open.delete(segment)
      // All its writes are durable.
      segment.close().catch(noop)
    }
  }

  /** The first one stays, because it marks a folder that holds a journal. */
  async #removeIfEmpty(segment: Segment): Promise<void> {
    const at = this.#segments.indexOf(segment)
    const next = this.#segments[at + 1]
    if (at < 1 || next === undefined) return
    const bounds = { gte: segment.from, lt: next.from, limit: 1 }
    const entries = await this.#use(segment, (engine) => engine.range(bounds))
    if (entries.length > 0 || segment.users > 0) return
    this.#segments.splice(this.#segments.indexOf(segment), 1)
    this.#open.delete(segment)
    segment.isRemoved = true
    await segment.close()
    await this.#store.remove(segment.from)
  }

  #segmentOf(key: Uint8Array): Segment {
    return this.#segments[this.#indexOf(key)] as Segment
  }

  /** Index of the last segment that does not begin after `key`. */
  #indexOf(key: Uint8Array): number {
    let low = 0
    let high = this.#segments.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (compare((this.#segments[middle] as Segment).from, key) <= 0) low = middle
      else high = middle - 1
    }
    return low
  }

  /** Splits a range by segment, ascending. */
  #partsOf(gte: Uint8Array, lt: Uint8Array): { segment: Segment; gte: Uint8Array; lt: Uint8Array }[] {
    const parts: { segment: Segment; gte: Uint8Array; lt: Uint8Array }[] = []
    for (let at = this.#indexOf(gte), from = gte; ; at++) {
      const segment = this.#segments[at] as Segment
      const next = this.#segments[at + 1]
      const isLast = next === undefined || compare(lt, next.from) <= 0
      parts.push({ segment, gte: from, lt: isLast ? lt : next.from })
      if (isLast) return parts
      from = next.from
    }
  }

  /** Splits items by segment: segments ascending, items in their order. */
  #bySegment<Item>(
    items: readonly Item[],
    keyOf: (item: Item) => Uint8Array,
  ): (readonly [Segment, readonly Item[]])[] {
    if (this.#segments.length === 1) return [[this.#newest, items]]
    const byIndex = new Map<number, Item[]>()
    for (const item of items) {
      const index = this.#indexOf(keyOf(item))
      const some = byIndex.get(index)
      if (some === undefined) byIndex.set(index, [item])
      else some.push(item)
    }
    return [...byIndex]
      .sort(([a], [b]) => a - b)
      .map(([index, some]) => [this.#segments[index] as Segment, some] as const)
  }
}

/** One of several engines, opened on demand. */
class Segment {
  readonly from: Uint8Array
  /** Calls in progress. */
  users = 0
  /** Increases with each use. */
  usedAt = 0
  /** Whether it was written to since its last compaction. */
  isDirty = false
  /** It was empty at the last check. */
  isRemoved = false
  readonly #openEngine: () => Promise<Engine>
  #opening: Promise<Engine> | undefined
  #closing: Promise<void> | undefined

  /** @param engine the engine, if it is open already */
  constructor(from: Uint8Array, openEngine: () => Promise<Engine>, engine?: Engine) {
    this.from = from
    this.#openEngine = openEngine
    this.#opening = engine && Promise.resolve(engine)
  }

  /** If the open fails, the next call tries again. */
  open(): Promise<Engine> {
    this.#opening ??= this.#openOnce()
    return this.#opening
  }

  close(): Promise<void> {
    if (this.#opening === undefined) return this.#closing ?? Promise.resolve()
    const opening = this.#opening
    this.#opening = undefined
    this.#closing = opening.then((engine) => engine.close(), noop)
    return this.#closing
  }

  async #openOnce(): Promise<Engine> {
    await this.#closing?.catch(noop)
    try {
      return await this.#openEngine()
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }
}

function compare(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

function noop(): void {}
