import { commands, MillraceError } from '../../protocol/index.js'
import type { BrokerPort, TopicInfo } from './broker_port.js'
import { DecodingDelivery } from './decoding.js'
import { Delivery } from './delivery.js'
import { Fetcher } from './fetcher.js'
import { GroupSource } from './group_source.js'
import type { Message } from './message.js'
import type { MessageBatch } from './message_batch.js'
import { findOffsets } from './offsets.js'
import {
  type ConsumeOptions,
  type ConsumerSettings,
  checkStart,
  consumerSettings,
  type PartitionRef,
  type StartPosition,
  type TopicPartition,
} from './options.js'
import { PartitionStream } from './partition_stream.js'
import { PullIterator, type PullSource } from './pull_iterator.js'
import type { Decoder } from './record_run.js'
import { Refusals } from './refusals.js'
import { SoloSource } from './solo_source.js'
import type { PartitionSource, StreamHost } from './source.js'
import { type ConsumerStats, type PartitionLag, partitionStats } from './stats.js'
import { namesOf, StreamTable } from './stream_table.js'

/** A topic to consume, and how to read it. */
export interface ConsumedTopic<Value, Key> {
  readonly name: string
  readonly decoder: Decoder<Value, Key>
}

/** Options of `consumer.batches`. */
export interface BatchOptions {
  /** Most messages of one batch. Default 10,000. */
  readonly messagesMax?: number | undefined
}

const batchMessagesMaxDefault = 10_000

/**
 * Reads topics, alone or as a member of a group. Iterate over it for one message at a time, or over `batches()`. It
 * starts with the first iteration, or with `start()`.
 *
 * Leaving the loop closes it, and so does every error that comes out of it: what was acknowledged is committed, the
 * group is left, and the next consumer goes on with the first message that was not acknowledged. When the signal is
 * aborted the loop ends without an error.
 *
 *     for await (const message of client.consume(orders, { group: 'billing', from: 'earliest', signal })) {
 *       await bill(message.value)
 *       message.ack()
 *     }
 */
export class Consumer<Value = unknown, Key = unknown>
  implements AsyncIterable<Message<Value, Key>, undefined>, AsyncDisposable
{
  readonly #port: BrokerPort
  readonly #settings: ConsumerSettings
  readonly #decoders: ReadonlyMap<string, Decoder<Value, Key>>
  readonly #table: StreamTable<Value, Key>
  readonly #fetcher: Fetcher<Value, Key>
  readonly #delivery: Delivery<Value, Key>
  readonly #decoding: DecodingDelivery<Value, Key>
  readonly #source: PartitionSource<Value, Key>
  readonly #refusals: Refusals<Value, Key>
  readonly #iterators = new Set<{ wake(): void }>()
  readonly #abort = new AbortController()
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => {
    this.close().catch(noop)
  }
  #pausedAll = false
  #started: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #ended: { readonly error?: unknown } | undefined
  #failure: { readonly error: unknown } | undefined

  /** For `client.consume`. @throws MillraceError BAD_OPTION */
  constructor(port: BrokerPort, topics: readonly ConsumedTopic<Value, Key>[], options: ConsumeOptions = {}) {
    this.#port = port
    this.#settings = consumerSettings(options, topics.length)
    this.#decoders = new Map(topics.map(({ name, decoder }) => [name, decoder]))
    this.#table = new StreamTable([...this.#decoders.keys()])
    this.#delivery = new Delivery({
      unackedMax: this.#settings.unackedMax,
      onConsumed: (stream) => this.#fetcher.consider(stream),
    })
    const ahead = topics.some(({ decoder }) => decoder.ahead)
    this.#decoding = new DecodingDelivery(this.#delivery, this.#settings.onDecodeError, ahead)
    this.#refusals = new Refusals({
      port,
      policy: this.#settings.onOutOfRange,
      onSkipped: options.onSkipped ?? noop,
      signal: this.#abort.signal,
    })
    this.#fetcher = this.#newFetcher()
    this.#source = this.#newSource(options)
    this.#signal = options.signal
    if (this.#signal?.aborted === true) this.#onAbort()
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** The partitions that it has now. */
  get assignment(): readonly TopicPartition[] {
    return namesOf(this.#table.values())
  }

  /**
   * Starts without waiting for the first iteration; resolves when the first partitions and their offsets are known, so
   * that with "latest" everything that is published afterwards will be delivered.
   * @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION, FENCED (another has this instanceId), CLOSED and others
   */
  start(): Promise<void> {
    if (this.#started === undefined) {
      this.#started = this.#closing === undefined ? this.#start() : Promise.reject(closed())
      this.#started.catch(noop)
    }
    return this.#started
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Message<Value, Key>, undefined> {
    return this.#iterate(() => this.#decoding.next())
  }

  /** Iterates by batch: messages of one partition that stood next to each other. The fastest way to read. */
  batches(options: BatchOptions = {}): AsyncIterableIterator<MessageBatch<Value, Key>, undefined> {
    const { messagesMax = batchMessagesMaxDefault } = options
    if (!Number.isSafeInteger(messagesMax) || messagesMax < 1) {
      throw new MillraceError('BAD_OPTION', `the option "messagesMax" is ${messagesMax}, expected at least 1`)
    }
    return this.#iterate(() => this.#decoding.nextBatch(messagesMax))
  }

  /**
   * Commits what is acknowledged so far; resolves when it is durable. Not needed for progress, which is committed in the
   * background anyway. Without a group it does nothing.
   * @throws MillraceError FENCED when a partition has moved to another member before
   */
  commit(): Promise<void> {
    return this.#source.commit()
  }

  /** Delivers nothing of these partitions (or of all) until `resume`. @throws MillraceError UNKNOWN_PARTITION */
  pause(partitions?: readonly PartitionRef[]): void {
    if (partitions === undefined) this.#pausedAll = true
    for (const stream of this.#select(partitions)) stream.paused = true
  }

  /** Ends `pause`. @throws MillraceError UNKNOWN_PARTITION */
  resume(partitions?: readonly PartitionRef[]): void {
    if (partitions === undefined) this.#pausedAll = false
    for (const stream of this.#select(partitions)) {
      stream.paused = false
      this.#delivery.offer(stream)
      this.#fetcher.consider(stream)
    }
    this.#wake()
  }

  /**
   * Goes on at another position of a partition that this consumer has. What is buffered of it is forgotten, later
   * acknowledgements of messages delivered before count no more, and in a group the new position is committed.
   * @throws MillraceError UNKNOWN_PARTITION, BAD_OPTION, CLOSED
   */
  async seek(target: {
    readonly topic?: string | undefined
    readonly partition: number
    readonly offset: StartPosition
  }): Promise<void> {
    const { topic, partition, offset: at } = target
    checkStart('offset', at)
    const ref = topic === undefined ? partition : { topic, partition }
    const stream = this.#table.find(ref)
    const [offset] = typeof at === 'number' ? [at] : await this.#find([stream], at)
    // While the offset was looked for the partition may have moved away.
    if (this.#table.find(ref) !== stream || offset === undefined) return this.seek(target)
    stream.restart(offset)
    this.#source.moved(stream)
    this.#fetcher.consider(stream)
  }

  /** Offset of the next message of a partition. @throws MillraceError UNKNOWN_PARTITION, BAD_OPTION */
  position(partition: PartitionRef): number {
    return this.#table.find(partition).position
  }

  /** How far behind each partition is; asks the broker for the ends. */
  async lag(): Promise<PartitionLag[]> {
    const streams = [...this.#table.values()].filter((stream) => stream.state === 'active')
    const ends = await this.#find(streams, 'latest')
    return streams.map((stream, index) => {
      const endOffset = ends[index] ?? stream.position
      stream.endOffset = endOffset
      const from = stream.acks?.committable ?? stream.position
      const { topic, partition, position } = stream
      return { topic, partition, position, endOffset, lag: Math.max(0, endOffset - from) }
    })
  }

  /** What it is doing, from memory alone. */
  stats(): ConsumerStats {
    const streams = [...this.#table.values()]
    return {
      state: this.#state,
      memberId: this.#source.memberId,
      delivered: this.#delivery.delivered,
      skipped: this.#decoding.skipped,
      fetchedBytes: this.#fetcher.fetchedBytes,
      bufferedBytes: streams.reduce((sum, stream) => sum + stream.bufferedBytes, 0),
      openFetches: this.#fetcher.openFetches,
      commits: this.#source.commits,
      partitions: streams.map((stream) => partitionStats(stream, this.#delivery)),
    }
  }

  /**
   * Ends the loop, commits what is acknowledged and leaves the group. Hooks are not called for what is given up by it.
   * @throws MillraceError when what is acknowledged can't be committed within 5 seconds; it is closed all the same
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    this.#closing.catch(noop)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #state(): ConsumerStats['state'] {
    if (this.#ended !== undefined) return 'closed'
    if (this.#closing !== undefined) return 'closing'
    return this.#started === undefined ? 'idle' : this.#source.state
  }

  async #start(): Promise<void> {
    try {
      await this.#source.start()
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  async #close(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    try {
      if (this.#started !== undefined) await this.#source.close()
    } finally {
      this.#abort.abort(closed())
      this.#fetcher.close()
      for (const stream of [...this.#table.values()]) {
        stream.state = 'dropped'
        stream.clear()
        this.#table.delete(stream)
      }
      this.#ended = this.#failure ?? {}
      this.#wake()
    }
  }

  /** Ends everything with an error, which comes out of the loop once what is acknowledged is committed. */
  #fail(error: unknown): void {
    if (this.#closing !== undefined) return
    this.#failure = { error }
    this.close().catch(noop)
  }

  #iterate<Item extends object>(
    take: () => Item | undefined | Promise<Item | undefined>,
  ): AsyncIterableIterator<Item, undefined> {
    const source: PullSource<Item> = {
      pull: () => {
        if (this.#closing !== undefined) return undefined
        const item = take()
        if (item === undefined && this.#settings.untilEnd) this.#endIfRead()
        return item
      },
      begin: () => void this.start().catch(noop),
      ended: () => this.#ended,
      fail: (error) => this.#fail(error),
      close: () => this.close(),
    }
    const iterator = new PullIterator(source, () => this.#iterators.delete(iterator))
    this.#iterators.add(iterator)
    return iterator
  }

  #wake(): void {
    for (const iterator of this.#iterators) iterator.wake()
  }

  #endIfRead(): void {
    if (!this.#source.settled) return
    for (const stream of this.#table.values()) if (stream.state !== 'active' || !stream.finished) return
    this.close().catch((error: unknown) => {
      this.#failure ??= { error }
    })
  }

  #select(partitions: readonly PartitionRef[] | undefined): Iterable<PartitionStream<Value, Key>> {
    return partitions === undefined ? this.#table.values() : partitions.map((ref) => this.#table.find(ref))
  }

  #find(streams: readonly PartitionStream<Value, Key>[], at: StartPosition): Promise<number[]> {
    const queries = streams.map(({ topic, topicId, partition }) => ({ topic, topicId, partition, at }))
    return findOffsets(this.#port, queries, this.#abort.signal)
  }

  #newStream(
    topic: Omit<TopicInfo, 'partitions'>,
    partition: number,
    epoch: number,
  ): PartitionStream<Value, Key> {
    const decoder = this.#decoders.get(topic.name)
    if (decoder === undefined) {
      throw new MillraceError(
        'INTERNAL',
        `the broker assigned topic "${topic.name}", which was not asked for`,
      )
    }
    const stream = new PartitionStream<Value, Key>({
      topic: topic.name,
      topicId: topic.topicId,
      partition,
      epoch,
      decoder,
      onAck: this.#settings.group === undefined ? undefined : (acked) => this.#acked(acked),
    })
    stream.paused = this.#pausedAll
    return stream
  }

  #newFetcher(): Fetcher<Value, Key> {
    const { bufferBytesMax, fetchBytesMax, fetchWaitMs } = this.#settings
    const { limits } = this.#port
    return new Fetcher({
      bufferBytesMax,
      fetchBytesMax: Math.min(fetchBytesMax, Math.floor(limits.frameBytesMax / 2)),
      fetchWaitMs: Math.min(fetchWaitMs, limits.fetchWaitMsMax),
      streams: () => this.#table.values(),
      ownerOf: ({ topic, partition }) => this.#port.ownerOf(topic, partition),
      send: (owner, request, signal) => this.#port.toOwner(owner, commands.fetch, request, { signal }),
      onMessages: (stream) => {
        if (this.#delivery.offer(stream)) this.#wake()
      },
      onRefused: (stream, error) => this.#refusals.handle(stream, error),
      onFailed: (error) => this.#fail(error),
    })
  }

  #newSource(options: ConsumeOptions): PartitionSource<Value, Key> {
    const { group, partitions, from, untilEnd, partitionsRefreshMs } = this.#settings
    const topics = [...this.#decoders.keys()]
    const table = this.#table
    const host: StreamHost<Value, Key> = {
      locate: (starts) => this.#locate(starts),
      activate: (streams) => this.#activate(streams),
      changed: () => this.#changed(),
      suspend: (suspended) => {
        this.#delivery.suspended = suspended
        if (!suspended) this.#wake()
      },
      fail: (error) => this.#fail(error),
    }
    if (group !== undefined) {
      return new GroupSource({
        port: this.#port,
        group,
        topics,
        settings: this.#settings,
        hooks: options,
        table,
        host,
        newStream: (grant) => this.#newStream({ ...grant, name: grant.topic }, grant.partition, grant.epoch),
      })
    }
    return new SoloSource({
      port: this.#port,
      table,
      topics,
      partitions,
      from,
      follow: !untilEnd,
      partitionsRefreshMs,
      newStream: (topic, partition) => this.#newStream(topic, partition, 0),
      host,
      signal: this.#abort.signal,
    })
  }

  async #locate(starts: ReadonlyMap<PartitionStream<Value, Key>, StartPosition>): Promise<void> {
    const streams = [...starts.keys()]
    const queries = [...starts].map(([{ topic, topicId, partition }, at]) => ({
      topic,
      topicId,
      partition,
      at,
    }))
    const offsets = await findOffsets(this.#port, queries, this.#abort.signal)
    const ends = this.#settings.untilEnd ? await this.#find(streams, 'latest') : []
    for (const [index, stream] of streams.entries()) {
      if (stream.state !== 'starting') continue
      stream.restart(offsets[index] ?? 0)
      stream.stopAt = ends[index] ?? Number.POSITIVE_INFINITY
      stream.endOffset = ends[index]
    }
  }

  #activate(streams: readonly PartitionStream<Value, Key>[]): void {
    for (const stream of streams) if (stream.state === 'starting') stream.state = 'active'
    this.#changed()
  }

  #changed(): void {
    this.#fetcher.streamsChanged()
    this.#wake()
  }

  #acked(stream: PartitionStream<Value, Key>): void {
    this.#source.acked(stream)
    if (!stream.queued && this.#delivery.offer(stream)) this.#wake()
  }
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the consumer was closed')
}

function noop(): void {}
