import { commands, MillraceError } from '../../protocol/index.js'
import type { BrokerPort, TopicInfo } from './broker_port.js'
import { Delivery } from './delivery.js'
import { Fetcher } from './fetcher.js'
import type { Grant } from './group_member.js'
import { GroupSource } from './group_source.js'
import { findOffsets } from './offsets.js'
import type { ConsumeOptions, ConsumerSettings, StartPosition } from './options.js'
import { type OffsetCommitter, PartitionStream } from './partition_stream.js'
import type { Decoder } from './record_run.js'
import { Refusals } from './refusals.js'
import { SoloSource } from './solo_source.js'
import type { PartitionSource, StreamHost } from './source.js'
import { StreamHandlers } from './stream_handlers.js'
import { StreamTable } from './stream_table.js'

/**
 * Time limit of a fetch. The time that the fetch waits for messages counts, so that a long wait does not delay the
 * detection of a dead broker.
 */
const fetchTimeoutMs = 30_000
/** Minimum time limit of a fetch beyond its wait for messages. */
const fetchReplyMs = 20_000

export interface EngineOptions<Value, Key> {
  readonly port: BrokerPort
  readonly settings: ConsumerSettings
  readonly hooks: Pick<ConsumeOptions, 'onAssigned' | 'onRevoked' | 'onSkipped'>
  /** Receives errors that the consumer retries. */
  readonly onRetry: (error: unknown) => void
  /** By topic name. */
  readonly decoders: ReadonlyMap<string, Decoder<Value, Key>>
  /** There may be messages to deliver, or the end may be reached. */
  readonly onReady: () => void
  readonly onFailed: (error: unknown) => void
}

/**
 * The internals of a consumer: it connects the source of partitions, the fetches that fill their streams, and the
 * delivery that empties them.
 */
export class ConsumerEngine<Value, Key> {
  readonly table: StreamTable<Value, Key>
  readonly delivery: Delivery<Value, Key>
  readonly fetcher: Fetcher<Value, Key>
  readonly source: PartitionSource<Value, Key>
  /** Applies to partitions that arrive from now on. */
  pauseNew = false
  #hasHandlers = false
  readonly #options: EngineOptions<Value, Key>
  readonly #refusals: Refusals<Value, Key>
  readonly #abort = new AbortController()

  constructor(options: EngineOptions<Value, Key>) {
    const { port, settings, hooks, decoders } = options
    this.#options = options
    this.table = new StreamTable([...decoders.keys()])
    this.delivery = new Delivery({
      unackedMax: settings.unackedMax,
      onConsumed: (stream) => this.fetcher.consider(stream),
    })
    this.#refusals = new Refusals({
      port,
      policy: settings.onOutOfRange,
      onSkipped: (skipped) => hooks.onSkipped?.(skipped),
      signal: this.#abort.signal,
    })
    this.fetcher = this.#newFetcher()
    this.source = this.#newSource()
  }

  /** Whether everything for `until: 'end'` is delivered. */
  get finished(): boolean {
    if (!this.#options.settings.untilEnd || !this.source.settled) return false
    for (const stream of this.table.values()) if (stream.state !== 'active' || !stream.finished) return false
    return true
  }

  /** Finds the offset of each stream for the position `at`. @throws MillraceError CLOSED and others */
  find(streams: readonly PartitionStream<Value, Key>[], at: StartPosition): Promise<number[]> {
    const queries = streams.map(({ topic, topicId, partition }) => ({ topic, topicId, partition, at }))
    return findOffsets(this.#options.port, queries, this.#abort.signal)
  }

  /** The application moves a stream to `offset`. */
  move(stream: PartitionStream<Value, Key>, offset: number): void {
    stream.restart(offset)
    this.source.moved(stream)
    this.fetcher.consider(stream)
  }

  /** A stream may deliver or fetch again. */
  resume(stream: PartitionStream<Value, Key>): void {
    this.delivery.offer(stream)
    this.fetcher.consider(stream)
  }

  /** Switches current and future partitions to acknowledgement by the handlers of `consumer.run`. */
  useHandlers(): void {
    this.#hasHandlers = true
    for (const stream of this.table.values()) stream.handlers ??= new StreamHandlers()
  }

  /** A handler has ended. */
  handled(stream: PartitionStream<Value, Key>): void {
    if (stream.state !== 'active') this.source.acked(stream)
  }

  /** Stops fetches and discards buffers; the source must be closed before. */
  close(): void {
    this.#abort.abort(new MillraceError('CLOSED', 'the consumer was closed'))
    this.fetcher.close()
    for (const stream of [...this.table.values()]) {
      stream.state = 'dropped'
      stream.clear()
      this.table.delete(stream)
    }
  }

  #newFetcher(): Fetcher<Value, Key> {
    const { port, settings } = this.#options
    const { bufferBytesMax, fetchBytesMax, fetchWaitMs } = settings
    const { limits } = port
    return new Fetcher({
      bufferBytesMax,
      fetchBytesMax: Math.min(fetchBytesMax, Math.floor(limits.frameBytesMax / 2)),
      fetchWaitMs: Math.min(fetchWaitMs, limits.fetchWaitMsMax),
      streams: () => this.table.values(),
      ownerOf: ({ topic, partition }) => port.ownerOf(topic, partition),
      send: (owner, request, signal) =>
        port.toOwner(owner, commands.fetch, request, {
          signal,
          timeoutMs: Math.max(fetchTimeoutMs, request.waitMs + fetchReplyMs),
        }),
      onMessages: (stream) => {
        if (this.delivery.offer(stream)) this.#options.onReady()
      },
      onRefused: async (stream, error) => {
        if (error.code === 'UNKNOWN_TOPIC' && this.source.topicGone !== undefined) {
          this.source.topicGone(stream)
          return
        }
        await this.#refusals.handle(stream, error)
        // The skipped messages may have been the last ones to read.
        this.#options.onReady()
      },
      onRetry: (error) => this.#options.onRetry(error),
      onFailed: (error) => this.#options.onFailed(error),
    })
  }

  #newSource(): PartitionSource<Value, Key> {
    const { port, settings, hooks, decoders, onReady, onRetry, onFailed } = this.#options
    const { group, partitions, from, untilEnd, partitionsRefreshMs } = settings
    const { table } = this
    const topics = [...decoders.keys()]
    const host: StreamHost<Value, Key> = {
      locate: (starts) => this.#locate(starts),
      activate: (streams) => this.#activate(streams),
      changed: () => this.#changed(),
      suspend: (suspended) => {
        this.delivery.suspended = suspended
        if (!suspended) onReady()
      },
      retry: onRetry,
      fail: onFailed,
    }
    if (group === undefined) {
      const newStream = (topic: TopicInfo, partition: number) => this.#newStream(topic, partition, 0)
      const follow = !untilEnd
      const { signal } = this.#abort
      return new SoloSource({
        port,
        table,
        topics,
        partitions,
        from,
        follow,
        partitionsRefreshMs,
        newStream,
        host,
        signal,
      })
    }
    const newStream = (grant: Grant, committer: OffsetCommitter) =>
      this.#newStream({ name: grant.topic, topicId: grant.topicId }, grant.partition, grant.epoch, committer)
    return new GroupSource({ port, group, topics, settings, hooks, table, host, newStream })
  }

  async #locate(starts: ReadonlyMap<PartitionStream<Value, Key>, StartPosition>): Promise<void> {
    const streams = [...starts.keys()]
    const queries = [...starts].map(([{ topic, topicId, partition }, at]) => ({
      topic,
      topicId,
      partition,
      at,
    }))
    const offsets = await findOffsets(this.#options.port, queries, this.#abort.signal)
    const ends = this.#options.settings.untilEnd ? await this.find(streams, 'latest') : []
    for (const [index, stream] of streams.entries()) {
      if (stream.state !== 'starting') continue
      // Unless the application has moved the stream already.
      if (stream.version === 0) stream.restart(offsets[index] ?? 0)
      stream.stopAt = ends[index] ?? Number.POSITIVE_INFINITY
      stream.endOffset = ends[index]
    }
  }

  #activate(streams: readonly PartitionStream<Value, Key>[]): void {
    for (const stream of streams) if (stream.state === 'starting') stream.state = 'active'
    this.#changed()
  }

  #changed(): void {
    this.fetcher.streamsChanged()
    this.#options.onReady()
  }

  #newStream(
    topic: Omit<TopicInfo, 'partitions'>,
    partition: number,
    epoch: number,
    committer?: OffsetCommitter,
  ): PartitionStream<Value, Key> {
    const decoder = this.#options.decoders.get(topic.name)
    if (decoder === undefined) {
      throw new MillraceError(
        'INTERNAL',
        `the broker assigned topic "${topic.name}", which this consumer does not subscribe to`,
      )
    }
    const stream = new PartitionStream<Value, Key>({
      topic: topic.name,
      topicId: topic.topicId,
      partition,
      epoch,
      decoder,
      committer,
      onAck: this.#options.settings.group === undefined ? undefined : (acked) => this.#acked(acked),
    })
    stream.paused = this.pauseNew
    if (this.#hasHandlers) stream.handlers = new StreamHandlers()
    return stream
  }

  #acked(stream: PartitionStream<Value, Key>): void {
    this.source.acked(stream)
    if (!stream.stalled || !this.delivery.canDeliver(stream)) return
    stream.stalled = false
    this.delivery.offer(stream)
    this.#options.onReady()
  }
}
