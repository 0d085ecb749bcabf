import { limits, MillraceError, type RecordInput, recordBytesMax } from '../protocol/index.js'
import { unlessAborted } from './abort.js'
import { BulkPublish, type BulkPublishOptions, type BulkReceipt } from './bulk_publish.js'
import { type Cluster, isKnownPartition, type TopicInfo } from './cluster.js'
import { type EachMessage, EachPublisher } from './later/index.js'
import { Pacer } from './pacer.js'
import type { BatchWatcher, Receipt } from './producer/batch.js'
import type { Producer } from './producer/producer.js'
import type { ProducerSettings } from './producer/settings.js'
import { checkSize, deliverAtMsOf, type MessageInput, partitionFor, recordOf } from './record.js'
import type { Topic } from './topic.js'
import { Turns } from './turns.js'
import { undisturbed } from './warnings.js'

/** Calls of `publish` that wait for metadata, an asynchronous schema or room in the buffer. */
const waitingMax = 100_000

/** Calls of `publishMany` that read messages in one turn of the event loop. */
const bulkPublishesPerTurn = 4

/** Weight of an individually published message in a turn of a bulk publish. */
const eachBytes = 256

/** The partition of a record, and an upper bound of its size. */
interface Placed {
  readonly info: TopicInfo
  readonly record: RecordInput
  readonly partition: number
  readonly bytes: number
}

/**
 * Turns messages into records of partitions and gives them to the producer, in the order of the calls for each topic.
 */
export class Publisher {
  readonly #cluster: Cluster
  readonly #producer: Producer
  readonly #turns = new Turns()
  readonly #pacer = new Pacer(bulkPublishesPerTurn)
  readonly #each: EachPublisher
  /** `publish` calls whose message has to wait. */
  readonly #waiting = new Set<Promise<Receipt>>()
  #closed = false

  constructor(cluster: Cluster, producer: Producer) {
    this.#cluster = cluster
    this.#producer = producer
    this.#each = new EachPublisher(cluster)
  }

  /** Publishes one message; resolves when it is durable. */
  publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    signal?: AbortSignal,
  ): Promise<Receipt> {
    try {
      signal?.throwIfAborted()
      this.#checkOpen()
      const deliverAtMs = deliverAtMsOf(message)
      if (deliverAtMs !== undefined)
        return unlessAborted(this.#publishEach(topic, message, deliverAtMs, signal), signal)
      const nowMs = Date.now()
      const info = this.#cluster.known(topic.name, nowMs)
      const made = recordOf(topic, message, nowMs)
      if (isUsable(info, message) && !(made instanceof Promise) && !this.#turns.has(topic.name)) {
        const bytes = recordBytesMax(made)
        const partition = this.#place(topic, info, message, made, bytes)
        if (this.#producer.hasRoom(bytes) && !this.#each.hasKey(info.name, made.key))
          return unlessAborted(this.#producer.publish(info, partition, made, bytes), signal)
      }
      return unlessAborted(this.#publishInTurn(topic, message, made, signal), signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Publishes many messages without a promise for each; resolves when all are durable. Messages that it reads from
   * `messages`
   * before it returns come before messages of later calls.
   */
  publishMany<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    messages: Iterable<MessageInput<Input, Key>> | AsyncIterable<MessageInput<Input, Key>>,
    { signal, onAcknowledged }: BulkPublishOptions = {},
  ): Promise<BulkReceipt> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    const bulk = new BulkPublish<MessageInput<Input, Key>>(
      topic.name,
      this.#turns,
      this.#pacer,
      signal,
      (message, watcher, nowMs) => this.#hand(topic, message, watcher, nowMs, signal),
      onAcknowledged && undisturbed(onAcknowledged),
    )
    return unlessAborted(bulk.run(messages), signal)
  }

  /** Resolves when all earlier messages are acknowledged or have failed. */
  async flush(): Promise<void> {
    await Promise.all([this.#producer.flush([...this.#waiting]), this.#each.flush()])
  }

  /** Abandons unacknowledged messages. */
  end(): void {
    this.#each.close(new MillraceError('CLOSED', 'the client was closed before the message was acknowledged'))
  }

  /** Stops reading: messages of `publish` calls continue, `publishMany` stops at its current position. */
  close(): void {
    this.#closed = true
  }

  /** Adds one message of a bulk publish; returns its bytes. */
  #hand<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    watcher: BatchWatcher,
    nowMs: number,
    signal: AbortSignal | undefined,
  ): number | Promise<number> {
    this.#checkOpen()
    const deliverAtMs = deliverAtMsOf(message)
    if (deliverAtMs !== undefined) return this.#handEach(topic, message, deliverAtMs, watcher, nowMs, signal)
    const info = this.#cluster.known(topic.name, nowMs)
    const made = recordOf(topic, message, nowMs)
    if (isUsable(info, message) && !(made instanceof Promise)) {
      const bytes = recordBytesMax(made)
      const partition = this.#place(topic, info, message, made, bytes)
      if (this.#producer.hasRoom(bytes) && !this.#each.hasKey(info.name, made.key))
        return this.#producer.add(info, partition, made, bytes, watcher)
    }
    return this.#whenPossible(topic, message, made, 'wait', signal, ({ info, partition, record, bytes }) =>
      this.#producer.add(info, partition, record, bytes, watcher),
    )
  }

  /** Publishes a message with an id or a delay: it has its own request entry. */
  #publishEach<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    deliverAtMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Receipt> {
    const nowMs = Date.now()
    const made = recordOf(topic, message, nowMs)
    const info = this.#cluster.known(topic.name, nowMs)
    if (isUsable(info, message) && !(made instanceof Promise) && !this.#turns.has(topic.name))
      return this.#each.publish(this.#placeEach(topic, info, message, made, deliverAtMs))
    return this.#inTurn(topic.name, made, async () => {
      const placed = await this.#placeEachLater(topic, message, made, deliverAtMs, signal)
      return handedOver(this.#each.publish(placed))
    })
  }

  /** Adds one message with an id or a delay of a bulk publish; returns its weight. */
  #handEach<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    deliverAtMs: number,
    watcher: BatchWatcher,
    nowMs: number,
    signal: AbortSignal | undefined,
  ): number | Promise<number> {
    const add = (placed: EachMessage): number => {
      this.#each.publish(placed).then(
        () => watcher.batchDone(1, undefined),
        (error: unknown) => watcher.batchDone(1, error),
      )
      return eachBytes
    }
    const made = recordOf(topic, message, nowMs)
    const info = this.#cluster.known(topic.name, nowMs)
    if (isUsable(info, message) && !(made instanceof Promise) && this.#each.hasRoom)
      return add(this.#placeEach(topic, info, message, made, deliverAtMs))
    return this.#placeEachLater(topic, message, made, deliverAtMs, signal).then(async (placed) => {
      await this.#each.room()
      return add(placed)
    })
  }

  async #placeEachLater<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    made: RecordInput | Promise<RecordInput>,
    deliverAtMs: number,
    signal: AbortSignal | undefined,
  ): Promise<EachMessage> {
    signal?.throwIfAborted()
    const record = await made
    const info = await this.#cluster.topicWith(topic.name, message.partition, signal)
    return this.#placeEach(topic, info, message, record, deliverAtMs)
  }

  /** @throws MillraceError UNKNOWN_PARTITION, VALUE_TOO_LARGE, ENCODE_FAILED */
  #placeEach<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    info: TopicInfo,
    message: MessageInput<Input, Key>,
    record: RecordInput,
    deliverAtMs: number,
  ): EachMessage {
    checkSize(topic.name, record, recordBytesMax(record), this.#cluster.limits.batchBytesMax)
    const partition = partitionFor(topic, info, message, record)
    const { id } = message
    if (id !== undefined && (id.length === 0 || Buffer.byteLength(id) > limits.messageIdBytesMax))
      throw new MillraceError(
        'ENCODE_FAILED',
        `the id of a message must have 1 to ${limits.messageIdBytesMax} bytes`,
      )
    const isKeyed = record.key !== null && record.key !== undefined
    const after =
      deliverAtMs === 0 && isKeyed && partition !== undefined
        ? this.#producer.settled(info, partition)
        : undefined
    const wanted = message.partition
    return { topic: info, partition, record, deliverAtMs, id, source: topic, wanted, after }
  }

  #publishInTurn<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    made: RecordInput | Promise<RecordInput>,
    signal: AbortSignal | undefined,
  ): Promise<Receipt> {
    const { onFull } = this.#producer.settings
    return this.#inTurn(topic.name, made, () =>
      this.#whenPossible(topic, message, made, onFull, signal, ({ info, partition, record, bytes }) =>
        handedOver(this.#producer.publish(info, partition, record, bytes)),
      ),
    )
  }

  /** Calls `work`, which hands over one message, after all earlier work on the topic. */
  #inTurn(
    topic: string,
    made: RecordInput | Promise<RecordInput>,
    work: () => Promise<HandedOver>,
  ): Promise<Receipt> {
    // It may fail before its turn comes.
    if (made instanceof Promise) made.catch(noop)
    if (this.#waiting.size >= waitingMax) {
      const problem = `${waitingMax} messages already wait for the buffer, which is the maximum`
      return Promise.reject(new MillraceError('BUFFER_FULL', problem))
    }
    const receipt = this.#turns.take(topic, work).then((handed) => handed.receipt)
    this.#waiting.add(receipt)
    const done = () => void this.#waiting.delete(receipt)
    receipt.then(done, done)
    return receipt
  }

  /** Calls `add` once the record is encoded, the topic is known, there is room, and its key has no message with an id. */
  async #whenPossible<Input, Output, Key, Result>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    made: RecordInput | Promise<RecordInput>,
    onFull: ProducerSettings['onFull'],
    signal: AbortSignal | undefined,
    add: (placed: Placed) => Result,
  ): Promise<Result> {
    signal?.throwIfAborted()
    const record = made instanceof Promise ? await made : made
    await this.#cluster.topicWith(topic.name, message.partition, signal)
    const bytes = recordBytesMax(record)
    await this.#producer.reserve(bytes, onFull)
    try {
      while (this.#each.hasKey(topic.name, record.key))
        await unlessAborted(this.#each.keyFree(topic.name, record.key), signal)
      signal?.throwIfAborted()
      const info = this.#cluster.known(topic.name) ?? (await this.#cluster.topic(topic.name, { signal }))
      return add({ info, record, partition: this.#place(topic, info, message, record, bytes), bytes })
    } finally {
      this.#producer.unreserve(bytes)
    }
  }

  /**
   * Returns the partition of a record of at most `bytes`.
   * @throws MillraceError UNKNOWN_PARTITION, VALUE_TOO_LARGE
   */
  #place<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    info: TopicInfo,
    message: MessageInput<Input, Key>,
    record: RecordInput,
    bytes: number,
  ): number {
    checkSize(topic.name, record, bytes, this.#cluster.limits.batchBytesMax)
    return partitionFor(topic, info, message, record) ?? this.#producer.anyPartition(info, bytes)
  }

  #checkOpen(): void {
    if (this.#closed) throw new MillraceError('CLOSED', 'the client is closed')
  }
}

/** A message that has left its turn; the receipt is inside an object, so that the turn does not wait for it. */
interface HandedOver {
  readonly receipt: Promise<Receipt>
}

function handedOver(receipt: Promise<Receipt>): HandedOver {
  receipt.catch(noop)
  return { receipt }
}

/** Whether the cache is enough for a message: an explicit partition may be newer than the cache. */
function isUsable(
  info: TopicInfo | undefined,
  message: Pick<MessageInput<unknown, unknown>, 'partition'>,
): info is TopicInfo {
  return info !== undefined && isKnownPartition(info, message.partition)
}

function noop(): void {}
