import {
  type commands,
  errorOf,
  isMillraceError,
  MillraceError,
  type ReplyOf,
  type RequestOf,
} from '../../protocol/index.js'
import { isHungry, planFetch, shareBytes } from './fetch_plan.js'
import type { PartitionStream } from './partition_stream.js'
import { retryMs } from './retry.js'

type FetchRequest = RequestOf<typeof commands.fetch>
type FetchReply = ReplyOf<typeof commands.fetch>

export interface FetcherOptions<Value, Key> {
  readonly bufferBytesMax: number
  readonly fetchBytesMax: number
  /** Upper limit of the wait of a fetch. */
  readonly fetchWaitMs: number
  /** All streams of the consumer. */
  readonly streams: () => Iterable<PartitionStream<Value, Key>>
  /** Sends a fetch to the broker `owner`; rejects when `signal` is aborted. */
  readonly send: (
    owner: number,
    request: FetchRequest,
    signal: AbortSignal,
  ) => Promise<{ readonly body: FetchReply; readonly payload: Uint8Array }>
  /** The broker that owns a partition. */
  readonly ownerOf: (stream: PartitionStream<Value, Key>) => number
  /** New messages are buffered. */
  readonly onMessages: (stream: PartitionStream<Value, Key>) => void
  /** The broker refused a partition; the fetcher tries it again once this has resolved, unless it was dropped. */
  readonly onRefused: (stream: PartitionStream<Value, Key>, error: MillraceError) => Promise<void>
  /** The broker refused a fetch or a partition of it; the fetcher tries again. */
  readonly onRetry?: ((error: unknown) => void) | undefined
  /** Fetching has failed permanently. */
  readonly onFailed: (error: unknown) => void
}

/**
 * The first wait for messages. While no message arrives, each wait is twice as long, so that idle consumers cost
 * little.
 */
const firstWaitMs = 500
/** After this time, partitions without memory for a fetch get a small one. */
const starvedMs = 500
/** Limit of open fetches for each broker. */
const openFetchesMax = 6
/**
 * Limit of partitions in one fetch: every message ends its fetch, and the next one names all of its partitions again.
 */
const spreadFetches = 4
const partitionsPerFetchMin = 1_000

interface Asked<Value, Key> {
  readonly stream: PartitionStream<Value, Key>
  readonly version: number
}

/**
 * Fills the buffers of the streams, within a budget of bytes. A partition is in at most one open fetch. All partitions
 * that need messages at the same moment share one fetch; partitions that need some while others are in a long poll get
 * their own fetch.
 */
export class Fetcher<Value, Key> {
  readonly #options: FetcherOptions<Value, Key>
  readonly #hungry = new Set<PartitionStream<Value, Key>>()
  readonly #abort = new AbortController()
  readonly #openFetches = new Map<number, number>()
  #requestedBytes = 0
  #pumpPlanned = false
  #retryTimer: NodeJS.Timeout | undefined
  #partitions = 0
  #waitMs: number
  /** Since when partitions wait for memory. */
  #starvedSinceMs: number | undefined
  /** Total bytes of fetched batches. */
  fetchedBytes = 0

  constructor(options: FetcherOptions<Value, Key>) {
    this.#options = options
    this.#waitMs = this.#firstWaitMs
  }

  get #firstWaitMs(): number {
    return Math.min(firstWaitMs, this.#options.fetchWaitMs)
  }

  get openFetches(): number {
    let open = 0
    for (const count of this.#openFetches.values()) open += count
    return open
  }

  /** Call it when a stream may need messages: it became active, was resumed or moved, or has delivered some. */
  consider(stream: PartitionStream<Value, Key>): void {
    if (!this.#wants(stream)) return
    this.#hungry.add(stream)
    this.#planPump()
  }

  /** Call it when streams were added or removed. */
  streamsChanged(): void {
    this.#partitions = 0
    for (const stream of this.#options.streams()) {
      this.#partitions++
      this.consider(stream)
    }
  }

  /** Cancels all open fetches. */
  close(): void {
    this.#abort.abort(new MillraceError('CLOSED', 'the consumer was closed'))
    clearTimeout(this.#retryTimer)
    this.#hungry.clear()
  }

  #wants(stream: PartitionStream<Value, Key>): boolean {
    return (
      stream.state === 'active' &&
      stream.openFetchVersion !== stream.version &&
      !stream.paused &&
      stream.fetchOffset < stream.stopAt &&
      isHungry(stream.bufferedBytes, shareBytes(this.#options.bufferBytesMax, this.#partitions)) &&
      !this.#abort.signal.aborted
    )
  }

  /** Partitions that need messages in the same turn of the event loop share one fetch. */
  #planPump(): void {
    if (this.#pumpPlanned) return
    this.#pumpPlanned = true
    queueMicrotask(() => {
      this.#pumpPlanned = false
      this.#pump()
    })
  }

  #pump(): void {
    const nowMs = performance.now()
    const byOwner = new Map<number, PartitionStream<Value, Key>[]>()
    let retryAtMs = Number.POSITIVE_INFINITY
    for (const stream of this.#hungry) {
      if (!this.#wants(stream)) this.#hungry.delete(stream)
      else if (stream.retryAtMs > nowMs) retryAtMs = Math.min(retryAtMs, stream.retryAtMs)
      else {
        const owner = this.#options.ownerOf(stream)
        const streams = byOwner.get(owner)
        if (streams === undefined) byOwner.set(owner, [stream])
        else streams.push(stream)
      }
    }
    const perFetch = Math.max(partitionsPerFetchMin, Math.ceil(this.#partitions / spreadFetches))
    const isStarved = this.#starvedSinceMs !== undefined && nowMs - this.#starvedSinceMs >= starvedMs
    let hasRoom = true
    for (const [owner, streams] of byOwner) {
      for (let at = 0; at < streams.length; at += perFetch)
        if (!this.#fetch(owner, streams.slice(at, at + perFetch), isStarved)) hasRoom = false
    }
    if (hasRoom || isStarved) this.#starvedSinceMs = undefined
    if (!hasRoom) {
      this.#starvedSinceMs ??= nowMs
      retryAtMs = Math.min(retryAtMs, this.#starvedSinceMs + starvedMs)
    }
    if (retryAtMs < Number.POSITIVE_INFINITY) this.#retryAt(retryAtMs - nowMs)
  }

  #retryAt(delayMs: number): void {
    clearTimeout(this.#retryTimer)
    this.#retryTimer = setTimeout(() => this.#pump(), Math.ceil(delayMs))
  }

  /** Returns false if there is no memory or no slot for a fetch now. */
  #fetch(owner: number, streams: readonly PartitionStream<Value, Key>[], isStarved: boolean): boolean {
    const { bufferBytesMax, fetchBytesMax } = this.#options
    const share = shareBytes(bufferBytesMax, this.#partitions)
    const wantedBytes = streams.reduce((sum, stream) => sum + share - stream.bufferedBytes, 0)
    const openFetches = this.#openFetches.get(owner) ?? 0
    const budget = {
      bufferBytesMax,
      fetchBytesMax,
      fetchWaitMs: this.#waitMs,
      bufferedBytes: this.#bufferedBytes(),
      requestedBytes: this.#requestedBytes,
      openFetches,
      openFetchesMax,
      isStarved,
    }
    const plan = planFetch(budget, wantedBytes)
    if (plan === undefined) return false
    const asked = streams.map((stream) => {
      this.#hungry.delete(stream)
      stream.openFetchVersion = stream.version
      return { stream, version: stream.version }
    })
    this.#openFetches.set(owner, openFetches + 1)
    this.#requestedBytes += plan.bytesMax
    const request: FetchRequest = {
      waitMs: plan.waitMs,
      bytesMin: 1,
      bytesMax: plan.bytesMax,
      partitions: streams.map((stream) => [
        stream.topicId,
        stream.partition,
        stream.fetchOffset,
        Math.max(share - stream.bufferedBytes, 1),
      ]),
    }
    void this.#run(owner, request, asked)
    return true
  }

  #bufferedBytes(): number {
    let bytes = 0
    for (const stream of this.#options.streams()) bytes += stream.bufferedBytes
    return bytes
  }

  /** Never rejects. */
  async #run(owner: number, request: FetchRequest, asked: readonly Asked<Value, Key>[]): Promise<void> {
    const refused = new Map<PartitionStream<Value, Key>, MillraceError>()
    try {
      const { body, payload } = await this.#options.send(owner, request, this.#abort.signal)
      if (!this.#abort.signal.aborted) this.#accept(body, payload, asked, refused)
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#failed(error, asked)
    }
    this.#openFetches.set(owner, (this.#openFetches.get(owner) ?? 1) - 1)
    this.#requestedBytes -= request.bytesMax
    for (const ask of asked) {
      const error = refused.get(ask.stream)
      if (error === undefined) this.#release(ask)
      else void this.#refused(ask, error)
    }
    if (this.#hungry.size > 0) this.#planPump()
  }

  #release({ stream, version }: Asked<Value, Key>): void {
    if (stream.openFetchVersion === version) stream.openFetchVersion = undefined
    this.consider(stream)
  }

  /** Buffers fetched messages; adds partitions with an error to `refused`. */
  #accept(
    body: FetchReply,
    payload: Uint8Array,
    asked: readonly Asked<Value, Key>[],
    refused: Map<PartitionStream<Value, Key>, MillraceError>,
  ): void {
    if (body.partitions.length > 0) this.#waitMs = this.#firstWaitMs
    else this.#waitMs = Math.min(this.#waitMs * 2, this.#options.fetchWaitMs)
    const byPartition = new Map(asked.map((ask) => [`${ask.stream.topicId}/${ask.stream.partition}`, ask]))
    let at = 0
    for (const [topicId, partition, error, bytes, , endOffset, message] of body.partitions) {
      const batches = payload.subarray(at, at + bytes)
      at += bytes
      const ask = byPartition.get(`${topicId}/${partition}`)
      if (at > payload.length || ask === undefined) {
        throw new MillraceError(
          'BAD_FRAME',
          `the sizes in the reply to a fetch do not match its ${payload.length} payload bytes`,
        )
      }
      const { stream, version } = ask
      if (stream.version !== version || stream.state !== 'active') continue
      if (error !== 0) {
        refused.set(stream, errorOf({ error, message }))
        continue
      }
      this.fetchedBytes += bytes
      stream.failures = 0
      stream.endOffset = endOffset
      stream.push(batches)
      this.#options.onMessages(stream)
    }
  }

  #failed(error: unknown, asked: readonly Asked<Value, Key>[]): void {
    if (isMillraceError(error) && error.retryable) {
      this.#options.onRetry?.(error)
      for (const { stream } of asked) delay(stream)
      return
    }
    // The consumer may take some time to close: until then each further fetch would fail at once.
    this.close()
    this.#options.onFailed(error)
  }

  /** Never rejects. */
  async #refused(ask: Asked<Value, Key>, error: MillraceError): Promise<void> {
    if (error.retryable) {
      // A moved partition is not an error.
      if (error.code !== 'NOT_OWNER') this.#options.onRetry?.(error)
      delay(ask.stream)
    }
    try {
      await this.#options.onRefused(ask.stream, error)
      this.#release(ask)
    } catch (cause) {
      this.#options.onFailed(cause)
    }
  }
}

function delay<Value, Key>(stream: PartitionStream<Value, Key>): void {
  stream.failures++
  stream.retryAtMs = performance.now() + retryMs(stream.failures)
}
