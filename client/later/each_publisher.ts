import { randomBytes } from 'node:crypto'
import {
  commands,
  errorOf,
  limits,
  MillraceError,
  RecordBatchBuilder,
  type RecordInput,
  type ReplyOf,
  recordBytesMax,
} from '../../protocol/index.js'
import type { Cluster, TopicInfo } from '../cluster.js'
import type { Receipt } from '../producer/batch.js'

type EachResult = ReplyOf<typeof commands.publishEach>['results'][number]

/** An individually published message: with an id, or delayed. */
export interface EachMessage {
  readonly topic: TopicInfo
  /** undefined: any. */
  readonly partition: number | undefined
  readonly record: RecordInput
  /** ms since 1970; 0: at once. */
  readonly deliverAtMs: number
  /** Its id for deduplication; a generated one if it has none, so that a repeat is harmless. */
  readonly id: string | undefined
}

interface Pending extends EachMessage {
  readonly id: string
  readonly isIdMadeUp: boolean
  readonly bytes: number
  resolve(receipt: Receipt): void
  reject(error: unknown): void
}

const requestBytesMax = 1024 * 1024
const requestsInFlightMax = 4
/** Most unacknowledged messages, and their memory. */
const bytesMax = 32 * 1024 * 1024
const overheadBytes = 500

/**
 * Publishes messages with individual results: those of one turn of the event loop together. It repeats requests with an
 * unknown outcome, which is harmless, because every message has an id. The broker refuses a repeat that comes so late
 * that it may have forgotten the id.
 */
export class EachPublisher {
  readonly #cluster: Cluster
  /** Prefix of generated ids. */
  readonly #prefix = `~${randomBytes(9).toString('base64url')}`
  #ids = 0
  #pending: Pending[] = []
  #bytes = 0
  #inFlight = 0
  #anyPartition = 0
  #isPlanned = false
  readonly #whenRoom: (() => void)[] = []
  #whenIdle: (() => void)[] = []
  #closed: MillraceError | undefined

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Resolves when there is room for more. */
  async room(): Promise<void> {
    while (this.#bytes >= bytesMax && this.#closed === undefined)
      await new Promise<void>((resolve) => this.#whenRoom.push(resolve))
  }

  /** Resolves when the message is durable. */
  publish(message: EachMessage): Promise<Receipt> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const bytes = recordBytesMax(message.record) + overheadBytes
    const id = message.id ?? this.#prefix + (this.#ids++).toString(36)
    this.#bytes += bytes
    return new Promise((resolve, reject) => {
      this.#pending.push({ ...message, id, isIdMadeUp: message.id === undefined, bytes, resolve, reject })
      this.#plan()
    })
  }

  /** Resolves when all earlier messages are acknowledged or have failed. */
  async flush(): Promise<void> {
    if (this.#bytes === 0) return
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve))
  }

  /** Fails unacknowledged messages. */
  close(error: MillraceError): void {
    this.#closed = error
    const pending = this.#pending.splice(0)
    for (const message of pending) message.reject(error)
    this.#freed(pending)
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      while (this.#pending.length > 0 && this.#inFlight < requestsInFlightMax) void this.#send(this.#take())
    })
  }

  #take(): Pending[] {
    let bytes = 0
    let count = 0
    for (const message of this.#pending) {
      if (count >= limits.publishEachMessagesMax || (count > 0 && bytes + message.bytes > requestBytesMax))
        break
      bytes += message.bytes
      count++
    }
    return this.#pending.splice(0, count)
  }

  async #send(messages: readonly Pending[]): Promise<void> {
    this.#inFlight++
    const { ordered, partitions, batches, payload } = this.#request(messages)
    try {
      const request = {
        batches,
        messages: ordered.map(({ deliverAtMs, id }) => [deliverAtMs, id] as const),
      }
      const { results } = await this.#cluster.call(commands.publishEach, request, {
        repeatable: true,
        repeatedBody: (body, repeatedAfterMs) => ({ ...body, repeatedAfterMs }),
        payload,
      })
      for (const [index, message] of ordered.entries())
        settle(message, partitions[index] as number, results[index])
    } catch (error) {
      for (const message of messages) message.reject(this.#closed ?? error)
    }
    this.#inFlight--
    this.#freed(messages)
    if (this.#pending.length > 0) this.#plan()
  }

  /** One batch for each partition; messages are in the order of the batches. */
  #request(messages: readonly Pending[]): {
    readonly ordered: readonly Pending[]
    readonly partitions: readonly number[]
    readonly batches: (readonly [number, number, number])[]
    readonly payload: readonly Uint8Array[]
  } {
    const byPartition = new Map<string, { partition: number; messages: Pending[] }>()
    this.#anyPartition++
    for (const message of messages) {
      const { topicId, partitions } = message.topic
      const partition = message.partition ?? this.#anyPartition % partitions
      const key = `${topicId}/${partition}`
      const known = byPartition.get(key)
      if (known === undefined) byPartition.set(key, { partition, messages: [message] })
      else known.messages.push(message)
    }
    const ordered: Pending[] = []
    const partitions: number[] = []
    const batches: (readonly [number, number, number])[] = []
    const payload: Uint8Array[] = []
    for (const { partition, messages: some } of byPartition.values()) {
      const builder = new RecordBatchBuilder()
      for (const message of some) {
        builder.append(message.record)
        ordered.push(message)
        partitions.push(partition)
      }
      const bytes = builder.finish()
      batches.push([(some[0] as Pending).topic.topicId, partition, bytes.length])
      payload.push(bytes)
    }
    return { ordered, partitions, batches, payload }
  }

  #freed(messages: readonly Pending[]): void {
    for (const { bytes } of messages) this.#bytes -= bytes
    if (this.#bytes < bytesMax) for (const resolve of this.#whenRoom.splice(0)) resolve()
    if (this.#bytes > 0) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}

function settle(message: Pending, partition: number, result: EachResult | undefined): void {
  const { topic, record, id, isIdMadeUp, resolve, reject } = message
  if (result === undefined) {
    reject(new MillraceError('INTERNAL', 'the reply of the broker lacks a result'))
    return
  }
  const [error, told = 'appended', offset, first, text] = result
  // Nobody else has a generated id: this request was sent twice.
  const status = isIdMadeUp && told === 'duplicate' ? (offset < 0 ? 'delayed' : 'appended') : told
  if (error !== 0) reject(errorOf({ error, message: text }))
  else
    resolve({
      topic: topic.name,
      partition: first ?? partition,
      offset,
      timestamp: record.timestamp,
      id,
      status,
    })
}
