import { MillraceError, type RecordInput, recordBytesBound } from '../protocol/index.js'
import type { Cluster, TopicInfo } from './cluster.js'
import type { BatchWatcher, Receipt } from './producer/batch.js'
import type { Producer } from './producer/producer.js'
import type { Topic } from './topic.js'

/** A message to publish. */
export interface MessageInput<Value, Key> {
  /** Decides the partition: messages of one key keep their order. */
  readonly key?: Key | null | undefined
  /** null: a message without a value. */
  readonly value: Value | null
  /** Text is written as UTF-8. */
  readonly headers?: Readonly<Record<string, string | Uint8Array>> | undefined
  /** Overrides what the key decides. */
  readonly partition?: number | undefined
  /** ms since 1970; default now. */
  readonly timestamp?: number | undefined
}

/** How a bulk publish went. */
export interface BulkReceipt {
  readonly topic: string
  readonly count: number
}

/** A bulk publish gives the event loop a turn after this many bytes, so that batches leave while it goes on. */
const turnBytes = 128 * 1024

/** Turns messages into records of partitions and hands them to the producer. */
export class Publisher {
  readonly #cluster: Cluster
  readonly #producer: Producer
  /** For each topic id the partition that messages without a key go to until its batch is full. */
  readonly #sticky = new Map<number, number>()

  constructor(cluster: Cluster, producer: Producer) {
    this.#cluster = cluster
    this.#producer = producer
  }

  /** Publishes one message; resolves when it is durable. */
  publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    signal?: AbortSignal,
  ): Promise<Receipt> {
    try {
      signal?.throwIfAborted()
      const info = this.#cluster.known(topic.name)
      const record = this.#record(topic, message)
      if (info === undefined || record instanceof Promise)
        return this.#publishLater(topic, message, record, signal)
      const partition = this.#partition(topic, info, message, record)
      const space = this.#producer.space(boundOf(record))
      if (space !== undefined) return this.#publishLater(topic, message, record, signal, space)
      return this.#producer.publish(info, partition, record)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Publishes many messages without a promise for each; resolves when all are durable. */
  async publishMany<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    messages: Iterable<MessageInput<Input, Key>> | AsyncIterable<MessageInput<Input, Key>>,
    signal?: AbortSignal,
  ): Promise<BulkReceipt> {
    signal?.throwIfAborted()
    let info = await this.#cluster.topic(topic.name, signal === undefined ? {} : { signal })
    const bulk = new Bulk()
    let count = 0
    let turn = 0
    const add = (message: MessageInput<Input, Key>, record: RecordInput): void => {
      const partition = this.#partition(topic, info, message, record)
      turn += this.#producer.add(info, partition, record, bulk)
      bulk.added++
      count++
    }
    const addSlowly = async (
      message: MessageInput<Input, Key>,
      made: RecordInput | Promise<RecordInput>,
    ): Promise<void> => {
      const record = await made
      await this.#producer.space(boundOf(record))
      signal?.throwIfAborted()
      info = this.#cluster.known(topic.name) ?? (await this.#cluster.topic(topic.name))
      add(message, record)
    }
    const step = (message: MessageInput<Input, Key>): Promise<unknown> | undefined => {
      const record = this.#record(topic, message)
      if (record instanceof Promise || this.#producer.isFullFor(boundOf(record)))
        return addSlowly(message, record)
      add(message, record)
      if (turn < turnBytes) return undefined
      turn = 0
      signal?.throwIfAborted()
      bulk.throwIfFailed()
      return new Promise((resolve) => setImmediate(resolve))
    }
    try {
      if (Symbol.asyncIterator in messages) {
        for await (const message of messages) await step(message)
      } else {
        for (const message of messages) {
          const wait = step(message)
          if (wait !== undefined) await wait
        }
      }
    } catch (error) {
      // What was handed over is on its way all the same: the caller learns of the failure once its fate is known.
      await bulk.ended().catch(() => {})
      throw error
    }
    await bulk.ended()
    return { topic: topic.name, count }
  }

  async #publishLater<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    made: RecordInput | Promise<RecordInput>,
    signal?: AbortSignal,
    space?: Promise<void>,
  ): Promise<Receipt> {
    const record = await made
    await (space ?? this.#producer.space(boundOf(record)))
    signal?.throwIfAborted()
    const info = await this.#cluster.topic(topic.name, signal === undefined ? {} : { signal })
    return this.#producer.publish(info, this.#partition(topic, info, message, record), record)
  }

  #record<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
  ): RecordInput | Promise<RecordInput> {
    const { headers, timestamp = Date.now() } = message
    const key = message.key === undefined || message.key === null ? null : encodeKey(topic, message.key)
    if (message.value === null) return { key, value: null, headers, timestamp }
    const value = topic.value.encode(message.value)
    if (!(value instanceof Promise)) return { key, value, headers, timestamp }
    return value.then((encoded) => ({ key, value: encoded, headers, timestamp }))
  }

  /** @throws MillraceError UNKNOWN_PARTITION, VALUE_TOO_LARGE */
  #partition<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    info: TopicInfo,
    message: MessageInput<Input, Key>,
    record: RecordInput,
  ): number {
    this.#checkSize(topic.name, record)
    const { partition } = message
    if (partition !== undefined) {
      if (Number.isSafeInteger(partition) && partition >= 0 && partition < info.partitions) return partition
      throw new MillraceError(
        'UNKNOWN_PARTITION',
        `topic "${topic.name}" has no partition ${partition}, expected 0 to ${info.partitions - 1}`,
      )
    }
    if (record.key !== null && record.key !== undefined) {
      return topic.partitioner(
        typeof record.key === 'string' ? Buffer.from(record.key) : record.key,
        info.partitions,
      )
    }
    return this.#stickyPartition(info)
  }

  #stickyPartition(info: TopicInfo): number {
    let partition = this.#sticky.get(info.topicId)
    if (partition === undefined || partition >= info.partitions)
      partition = Math.floor(Math.random() * info.partitions)
    else if (this.#producer.startsBatch(info, partition)) partition = (partition + 1) % info.partitions
    this.#sticky.set(info.topicId, partition)
    return partition
  }

  #checkSize(topic: string, record: RecordInput): void {
    const batchBytesMax = this.#cluster.limits.batchBytesMax
    const roughBytes = (record.value?.length ?? 0) + (record.key?.length ?? 0)
    if (roughBytes * 3 + 1024 < batchBytesMax && record.headers === undefined) return
    const bytes = boundOf(record, exactBytes) + 64
    if (bytes <= batchBytesMax) return
    throw new MillraceError(
      'VALUE_TOO_LARGE',
      `a message for topic "${topic}" takes ${bytes} bytes, the broker allows at most ${batchBytesMax}`,
    )
  }
}

/** Counts the messages of a bulk publish that are not acknowledged. */
class Bulk implements BatchWatcher {
  added = 0
  #done = 0
  #error: unknown
  #waiting: (() => void) | undefined

  batchDone(records: number, error: unknown): void {
    this.#done += records
    this.#error ??= error
    if (this.#done >= this.added) this.#waiting?.()
  }

  throwIfFailed(): void {
    if (this.#error !== undefined) throw this.#error
  }

  /** Resolves when all are acknowledged; rejects with the first error once the fate of all is known. */
  async ended(): Promise<void> {
    while (this.#done < this.added) await new Promise<void>((resolve) => (this.#waiting = resolve))
    this.throwIfFailed()
  }
}

function encodeKey<Input, Output, Key>(topic: Topic<Input, Output, Key>, key: Key): Uint8Array | string {
  try {
    return topic.key.encode(key)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MillraceError(
      'ENCODE_FAILED',
      `the key does not fit the codec "${topic.key.name}": ${reason}`,
      { cause },
    )
  }
}

type Measure = (part: Uint8Array | string) => number
const exactBytes: Measure = (part) => (typeof part === 'string' ? Buffer.byteLength(part) : part.length)
const roughBytes: Measure = (part) => part.length

/** Bytes that a record will take, about or (with `exactBytes`) at most. */
function boundOf({ key, value, headers }: RecordInput, measure: Measure = roughBytes): number {
  let headersBytes = 0
  if (headers !== undefined) {
    for (const [name, part] of Object.entries(headers)) headersBytes += measure(name) + measure(part) + 16
  }
  return recordBytesBound(measure(key ?? ''), measure(value ?? ''), headersBytes)
}
