import { MillraceError } from '../../protocol/index.js'
import { onAbort } from '../abort.js'
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

/** A topic to consume, and its decoders. */
export interface ConsumedTopic<Value, Key> {
  readonly name: string
  readonly decoder: Decoder<Value, Key>
}

/** Options of `consumer.batches`. */
export interface BatchOptions {
  /** Upper limit of messages in one batch. Default 10,000. */
  readonly messagesMax?: number | undefined
}

type Taken<One> = One | undefined | Promise<One | undefined>

const batchMessagesMaxDefault = 10_000

/**
 * Reads topics, alone or as a member of a group. Iterate over it for one message at a time, or over `batches()`. It
 * starts with the first iteration, or with `start()`.
 *
 * When you leave the loop, the consumer closes. It also closes when the loop throws. Closing commits the acknowledged
 * messages and leaves the group. The next consumer continues with the first message that was not acknowledged. When the
 * signal is aborted, the loop ends without an error.
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
  #unwatchSignal: (() => void) | undefined
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
    this.#decoding = new DecodingDelivery(
      this.#engine.delivery,
      settings.onDecodeError,
      ahead,
      () => this.#closing !== undefined,
    )
    this.#unackedMax = settings.unackedMax
    this.#group = settings.group
    this.#signal = options.signal
    if (this.#signal?.aborted === true) this.#onAbort()
    if (this.#signal !== undefined) this.#unwatchSignal = onAbort(this.#signal, this.#onAbort)
  }

  /** The partitions that it reads now. */
  get assignment(): readonly TopicPartition[] {
    return namesOf(this.#engine.table.values())
  }

  /**
   * Starts without waiting for the first iteration; resolves when the first partitions and their offsets are known.
   * With "latest", the consumer delivers everything that is published after that.
   * @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION, FENCED (another member has this instanceId), CLOSED and
   * others
   */
  start(): Promise<void> {
    // A new promise for each call: Node must report a rejection that the caller does not handle, although the consumer
    // itself handles the error too.
    return this.#startOnce().then(noop)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined> {
    return this.#iterate(
      () => this.#decoding.next() as Taken<Item>,
      (message) => ({ message }),
    )
  }

  /** Iterates by batch: consecutive messages of one partition. The fastest way to read. */
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
   * Calls the handler for each message, for up to `concurrency` messages at the same time, and acknowledges a message
   * when its handler resolves. The messages of each partition (or key, with `order: 'key'`) are handled in order.
   * Before a partition moves to another member, and in `close`, the consumer waits for its running handlers, so that
   * none of their messages is delivered again.
   *
   * A handler that throws ends the consumer, like an error in a loop: the other handlers finish, the acknowledged
   * messages are committed, and the promise rejects with the error. The message of that handler is not acknowledged:
   * the next consumer starts with it. A handler must not wait for `close()` of its own consumer: it would wait for
   * itself until `finishTimeoutMs` is over.
   *
   *     await client.consume(orders, { group: 'billing', signal }).run(({ value }) => bill(value), { concurrency: 20 })
   *
   * @returns a promise that resolves when the consumer is closed: by `close`, its signal or `until: 'end'`
   * @throws the error of a handler; every error of iterating; MillraceError BAD_OPTION, also if the consumer is
   * iterated over already
   */
  async run(handler: (message: Item) => unknown, options: RunOptions = {}): Promise<void> {
    const settings = runSettings(options)
    if (this.#runner !== undefined || this.#iterators.size > 0)
      throw new MillraceError('BAD_OPTION', 'the consumer already has a handler or a loop')
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
   * Commits the messages acknowledged so far; resolves when the commit is durable. You do not need it for progress: the
   * consumer commits in the background. Without a group it does nothing.
   * @throws MillraceError FENCED if a partition has moved to another member before
   */
  commit(): Promise<void> {
    return this.#engine.source.commit()
  }

  /** Delivers no messages of these partitions (default: all) until `resume`. @throws MillraceError UNKNOWN_PARTITION */
  pause(partitions?: readonly PartitionRef[]): void {
    if (partitions === undefined) this.#engine.pauseNew = true
    for (const stream of this.#select(partitions)) stream.paused = true
  }

  /** Resumes delivery after `pause`. @throws MillraceError UNKNOWN_PARTITION */
  resume(partitions?: readonly PartitionRef[]): void {
    if (partitions === undefined) this.#engine.pauseNew = false
    for (const stream of this.#select(partitions)) {
      stream.paused = false
      this.#engine.resume(stream)
    }
    this.#wake()
  }

  /**
   * Continues at another position of a partition of this consumer. It discards buffered messages of the partition,
   * ignores later acknowledgements of messages delivered before, and in a group commits the new position.
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
    // The partition may have moved away during the request for the offset.
    if (this.#engine.table.find(ref) !== stream || offset === undefined) return this.seek(target)
    this.#engine.move(stream, offset)
  }

  /** Offset of the next message of a partition. @throws MillraceError UNKNOWN_PARTITION, BAD_OPTION */
  position(partition: PartitionRef): number {
    return this.#engine.table.find(partition).position
  }

  /** The lag of each partition; asks the broker for the end offsets. */
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

  /** The state of the consumer, without a request to the broker. */
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
   * Ends the loop, commits acknowledged messages and leaves the group. It does not call hooks for the partitions that
   * it gives up.
   * @throws MillraceError if the commit does not succeed within `closeTimeoutMs`; the consumer is closed even then
   */
  close(): Promise<void> {
    return this.#closeOnce().then(noop)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Ends the consumer without waiting for handlers of `run`. @internal */
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
    this.#unwatchSignal?.()
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

  /** Ends the consumer with an error; the loop throws it after the commit of acknowledged messages. */
  #fail(error: unknown): void {
    if (this.#closing !== undefined) return
    this.#failure = { error }
    this.#closeOnce().catch(noop)
  }

  /** @param traced converts an item to the data for the channel of received messages */
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

/** The callback for errors that the consumer retries. */
function retriesOf(
  { group, onError }: ConsumeOptions,
  topics: readonly { readonly name: string }[],
): (error: unknown) => void {
  if (onError !== undefined) return undisturbed(onError)
  const names = topics.map(({ name }) => `"${name}"`).join(', ')
  const subject = `a consumer of ${names}${group === undefined ? '' : ` in group "${group}"`}`
  const warnings = new Warnings(subject, 'set the option "onError" of client.consume to receive all of them')
  return (error) => {
    if (!isConnectionError(error)) warnings.warn(error, ' retries after an error')
  }
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the consumer was closed')
}

function noop(): void {}
