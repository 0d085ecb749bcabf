import { MillraceError } from '../../protocol/index.js'
import { channels, traceHandle } from '../diagnostics.js'
import { checkOptions } from '../options.js'
import { isConnectionError, undisturbed, Warnings } from '../warnings.js'
import type { BrokerPort } from './broker_port.js'
import { ConsumerEngine } from './consumer_engine.js'
import { DecodingDelivery } from './decoding.js'
import { deferred } from './deferred.js'
import type { Message } from './message.js'
import type { BatchOf } from './message_batch.js'
import {
  type ConsumeOptions,
  checkStart,
  consumerSettings,
  type PartitionRef,
  type StartPosition,
  type TopicPartition,
} from './options.js'
import type { PartitionStream } from './partition_stream.js'
import { PullIterator, type PullSource } from './pull_iterator.js'
import type { Decoder } from './record_run.js'
import { Runner, type RunOptions, runSettings } from './runner.js'
import { type ConsumerStats, type PartitionLag, partitionStats } from './stats.js'
import { namesOf } from './stream_table.js'

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

type Taken<One> = One | undefined | Promise<One | undefined>

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
export class Consumer<Value = unknown, Key = unknown, Item extends Message = Message<Value, Key>>
  implements AsyncIterable<Item, undefined>, AsyncDisposable
{
  readonly #engine: ConsumerEngine<Value, Key>
  readonly #decoding: DecodingDelivery<Value, Key>
  readonly #iterators = new Set<{ wake(): void }>()
  readonly #group: string | undefined
  readonly #signal: AbortSignal | undefined
  readonly #unackedMax: number
  readonly #killing = new AbortController()
  readonly #done = deferred<void>()
  #runner: Runner<Value, Key> | undefined
  readonly #onAbort = (): void => {
    this.#closeOnce().catch(noop)
  }
  #started: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #ended: { readonly error?: unknown } | undefined
  #failure: { readonly error: unknown } | undefined

  /** For `client.consume`. @throws MillraceError BAD_OPTION */
  constructor(port: BrokerPort, topics: readonly ConsumedTopic<Value, Key>[], options: ConsumeOptions = {}) {
    const settings = consumerSettings(options, topics.length)
    this.#engine = new ConsumerEngine({
      port,
      settings,
      hooks: options,
      onRetry: retriesOf(options, topics),
      decoders: new Map(topics.map(({ name, decoder }) => [name, decoder])),
      onReady: () => this.#wake(),
      onFailed: (error) => this.#fail(error),
    })
    const ahead = topics.some(({ decoder }) => decoder.ahead)
    this.#decoding = new DecodingDelivery(this.#engine.delivery, settings.onDecodeError, ahead)
    this.#unackedMax = settings.unackedMax
    this.#group = settings.group
    this.#signal = options.signal
    if (this.#signal?.aborted === true) this.#onAbort()
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** The partitions that it has now. */
  get assignment(): readonly TopicPartition[] {
    return namesOf(this.#engine.table.values())
  }

  /**
   * Starts without waiting for the first iteration; resolves when the first partitions and their offsets are known, so
   * that with "latest" everything that is published afterwards will be delivered.
   * @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION, FENCED (another has this instanceId), CLOSED and others
   */
  start(): Promise<void> {
    // A promise of its own: one that nobody handles must show, although the consumer itself handles the error too.
    return this.#startOnce().then(noop)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined> {
    return this.#iterate(
      () => this.#decoding.next() as Taken<Item>,
      (message) => ({ message }),
    )
  }

  /** Iterates by batch: messages of one partition that stood next to each other. The fastest way to read. */
  batches(options: BatchOptions = {}): AsyncIterableIterator<BatchOf<Item>, undefined> {
    checkOptions('consumer.batches', options, { messagesMax: true })
    const { messagesMax = batchMessagesMaxDefault } = options
    if (!Number.isSafeInteger(messagesMax) || messagesMax < 1) {
      throw new MillraceError('BAD_OPTION', `the option "messagesMax" is ${messagesMax}, expected at least 1`)
    }
    return this.#iterate(
      () => this.#decoding.nextBatch(messagesMax) as Taken<BatchOf<Item>>,
      (batch) => ({ batch }),
    )
  }

  /**
   * Calls the handler for each message, for up to `concurrency` messages at the same time, and acknowledges a message when
   * its handler resolves. The order within each partition (or key, with `order: 'key'`) is kept. A partition that moves to
   * another member, and `close`, wait until its running handlers have ended: none of their messages comes again.
   *
   * A handler that throws ends the consumer, as it ends a loop: the other handlers finish, what is acknowledged is
   * committed, and the promise rejects with the error. Its message is not acknowledged: the next consumer starts with it.
   * A handler that waits for `close()` of its own consumer would wait for itself, until `finishTimeoutMs` is over.
   *
   *     await client.consume(orders, { group: 'billing', signal }).run(({ value }) => bill(value), { concurrency: 20 })
   *
   * @returns a promise that resolves when the consumer is closed: by `close`, its signal or `until: 'end'`
   * @throws what a handler throws; MillraceError BAD_OPTION, also when the consumer is iterated over already, and all that
   * iterating throws
   */
  async run(handler: (message: Item) => unknown, options: RunOptions = {}): Promise<void> {
    const settings = runSettings(options)
    if (this.#runner !== undefined || this.#iterators.size > 0)
      throw new MillraceError('BAD_OPTION', 'the consumer has a handler or is iterated over already')
    const next = (): Taken<Message<Value, Key>> => this.#decoding.next()
    const runner = new Runner<Value, Key>(
      {
        take: () => (this.#closing === undefined ? this.#take(next, (message) => ({ message })) : undefined),
        isSuspended: () => this.#engine.delivery.suspended,
        offer: (stream) => void this.#engine.delivery.offer(stream),
        handled: (stream) => this.#engine.handled(stream),
        idle: () => {
          if (this.#closing === undefined && this.#engine.finished) this.#closeOnce().catch(noop)
        },
        failed: (error) => {
          if (this.#closing === undefined) this.#fail(error)
          else this.#failure ??= { error }
        },
      },
      (message) => this.#handle(message, () => handler(message as unknown as Item)),
      settings,
      this.#unackedMax,
    )
    this.#runner = runner
    this.#engine.useHandlers()
    this.#iterators.add(runner)
    if (this.#closing === undefined) this.#startOnce().catch(noop)
    runner.wake()
    await this.#done.promise
  }

  /**
   * Commits what is acknowledged so far; resolves when it is durable. Not needed for progress, which is committed in the
   * background anyway. Without a group it does nothing.
   * @throws MillraceError FENCED when a partition has moved to another member before
   */
  commit(): Promise<void> {
    return this.#engine.source.commit()
  }

  /** Delivers nothing of these partitions (or of all) until `resume`. @throws MillraceError UNKNOWN_PARTITION */
  pause(partitions?: readonly PartitionRef[]): void {
    if (partitions === undefined) this.#engine.pauseNew = true
    for (const stream of this.#select(partitions)) stream.paused = true
  }

  /** Ends `pause`. @throws MillraceError UNKNOWN_PARTITION */
  resume(partitions?: readonly PartitionRef[]): void {
    if (partitions === undefined) this.#engine.pauseNew = false
    for (const stream of this.#select(partitions)) {
      stream.paused = false
      this.#engine.resume(stream)
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
    checkOptions('consumer.seek', target, { topic: true, partition: true, offset: true })
    const { topic, partition, offset: at } = target
    checkStart('offset', at)
    const ref = topic === undefined ? partition : { topic, partition }
    const stream = this.#engine.table.find(ref)
    const [offset] = typeof at === 'number' ? [at] : await this.#engine.find([stream], at)
    // While the offset was looked for the partition may have moved away.
    if (this.#engine.table.find(ref) !== stream || offset === undefined) return this.seek(target)
    this.#engine.move(stream, offset)
  }

  /** Offset of the next message of a partition. @throws MillraceError UNKNOWN_PARTITION, BAD_OPTION */
  position(partition: PartitionRef): number {
    return this.#engine.table.find(partition).position
  }

  /** How far behind each partition is; asks the broker for the ends. */
  async lag(): Promise<PartitionLag[]> {
    const streams = [...this.#engine.table.values()].filter((stream) => stream.state === 'active')
    const ends = await this.#engine.find(streams, 'latest')
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
    const streams = [...this.#engine.table.values()]
    return {
      state: this.#state,
      memberId: this.#engine.source.memberId,
      delivered: this.#engine.delivery.delivered,
      skipped: this.#decoding.skipped,
      running: this.#runner?.running ?? 0,
      fetchedBytes: this.#engine.fetcher.fetchedBytes,
      bufferedBytes: streams.reduce((sum, stream) => sum + stream.bufferedBytes, 0),
      openFetches: this.#engine.fetcher.openFetches,
      commits: this.#engine.source.commits,
      partitions: streams.map((stream) => partitionStats(stream, this.#engine.delivery)),
    }
  }

  /**
   * Ends the loop, commits what is acknowledged and leaves the group. Hooks are not called for what is given up by it.
   * @throws MillraceError when what is acknowledged can't be committed within `closeTimeoutMs`; it is closed all the same
   */
  close(): Promise<void> {
    return this.#closeOnce().then(noop)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Ends it without waiting for handlers of `run`. @internal */
  kill(): void {
    this.#killing.abort()
  }

  get #state(): ConsumerStats['state'] {
    if (this.#ended !== undefined) return 'closed'
    if (this.#closing !== undefined) return 'closing'
    return this.#started === undefined ? 'idle' : this.#engine.source.state
  }

  #startOnce(): Promise<void> {
    if (this.#started === undefined) {
      this.#started = this.#closing === undefined ? this.#start() : Promise.reject(closed())
      this.#started.catch(noop)
    }
    return this.#started
  }

  #closeOnce(): Promise<void> {
    this.#closing ??= this.#close()
    this.#closing.catch(noop)
    return this.#closing
  }

  async #start(): Promise<void> {
    try {
      await this.#engine.source.start()
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  async #close(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    try {
      if (this.#runner !== undefined) await this.#runner.finish(this.#killing.signal)
      if (this.#started !== undefined) await this.#engine.source.close()
    } catch (error) {
      this.#failure ??= { error }
      throw error
    } finally {
      this.#engine.close()
      const ended: { readonly error?: unknown } = this.#failure ?? {}
      this.#ended = ended
      if ('error' in ended) this.#done.reject(ended.error)
      else this.#done.resolve()
      this.#wake()
    }
  }

  /** Ends everything with an error, which comes out of the loop once what is acknowledged is committed. */
  #fail(error: unknown): void {
    if (this.#closing !== undefined) return
    this.#failure = { error }
    this.#closeOnce().catch(noop)
  }

  /** @param traced what the channel for received messages gets of an item */
  #iterate<One extends object>(
    take: () => Taken<One>,
    traced: (item: One) => object,
  ): AsyncIterableIterator<One, undefined> {
    if (this.#runner !== undefined)
      throw new MillraceError('BAD_OPTION', 'the consumer has a handler: messages go there')
    const source: PullSource<One> = {
      pull: () => {
        if (this.#closing !== undefined) return undefined
        const item = this.#take(take, traced)
        if (item === undefined && this.#engine.finished) this.#closeOnce().catch(noop)
        return item
      },
      begin: () => void this.#startOnce().catch(noop),
      ended: () => this.#ended,
      fail: (error) => this.#fail(error),
      close: () => this.#closeOnce(),
    }
    const iterator = new PullIterator(source, () => this.#iterators.delete(iterator))
    this.#iterators.add(iterator)
    return iterator
  }

  #handle(message: Message<Value, Key>, handle: () => unknown): unknown {
    return channels.handle.hasSubscribers ? traceHandle(this.#group, message, handle) : handle()
  }

  #take<One extends object>(take: () => Taken<One>, traced: (item: One) => object): Taken<One> {
    return channels.receive.hasSubscribers ? this.#traceReceive(take(), traced) : take()
  }

  #traceReceive<One extends object>(taken: Taken<One>, traced: (item: One) => object): Taken<One> {
    if (taken instanceof Promise) return taken.then((item) => this.#traceReceive(item, traced))
    if (taken !== undefined) channels.receive.publish({ group: this.#group, ...traced(taken) })
    return taken
  }

  #wake(): void {
    for (const iterator of this.#iterators) iterator.wake()
  }

  #select(partitions: readonly PartitionRef[] | undefined): Iterable<PartitionStream<Value, Key>> {
    return partitions === undefined
      ? this.#engine.table.values()
      : partitions.map((ref) => this.#engine.table.find(ref))
  }
}

/** Where a consumer reports what it tries again. */
function retriesOf(
  { group, onError }: ConsumeOptions,
  topics: readonly { readonly name: string }[],
): (error: unknown) => void {
  if (onError !== undefined) return undisturbed(onError)
  const names = topics.map(({ name }) => `"${name}"`).join(', ')
  const subject = `a consumer of ${names}${group === undefined ? '' : ` in group "${group}"`}`
  const warnings = new Warnings(subject, 'give client.consume the option "onError" to get them all')
  return (error) => {
    if (!isConnectionError(error)) warnings.warn(error, ' tries again')
  }
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the consumer was closed')
}

function noop(): void {}
