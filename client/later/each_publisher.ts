import { randomBytes } from 'node:crypto'
import {
  commands,
  errorOf,
  errorTable,
  limits,
  MillraceError,
  RecordBatchBuilder,
  type RecordInput,
  type ReplyOf,
  recordBytesMax,
} from '../../protocol/index.js'
import type { Cluster, TopicInfo } from '../cluster.js'
import type { Receipt } from '../producer/batch.js'
import { partitionFor } from '../record.js'
import type { Topic } from '../topic.js'

type EachResult = ReplyOf<typeof commands.publishEach>['results'][number]

type AnyTopic = Topic<unknown, unknown, unknown>

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
  /** The topic and the explicit partition of the call; they place the message again if its topic was created again. */
  readonly source: Pick<AnyTopic, 'partitioner'>
  readonly wanted: number | undefined
  /** The message is sent once this resolves; undefined: at once. */
  readonly after?: Promise<void> | undefined
}

interface Pending extends EachMessage {
  /** Whether the broker has refused an earlier place of the message. */
  readonly isMoved: boolean
  readonly partition: number
  readonly id: string
  readonly isIdMadeUp: boolean
  readonly bytes: number
  /** Its key, if it has one and no delay. */
  readonly key: string | undefined
  /** Whether it waits for `after`. */
  isHeld: boolean
  resolve(receipt: Receipt): void
  reject(error: unknown): void
}

/** The unsent messages of one partition, oldest first. */
interface Lane {
  readonly key: string
  readonly topicId: number
  readonly partition: number
  readonly waiting: Pending[]
  /** Whether it has no turn, because its first message is held. */
  isHeld: boolean
}

/** The messages of one partition in a request. */
interface Part {
  readonly lane: Lane
  readonly messages: readonly Pending[]
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
 *
 * A partition is in at most one request at a time, with all repeats of that request, so that the messages of a partition
 * stay in the order of the calls. Its next messages gather meanwhile.
 */
export class EachPublisher {
  readonly #cluster: Cluster
  /** Prefix of generated ids. */
  readonly #prefix = `~${randomBytes(9).toString('base64url')}`
  #ids = 0
  /** Partitions with unsent messages or with a request in flight. */
  readonly #lanes = new Map<string, Lane>()
  /** The number of unacknowledged messages of each key, and what waits for the last of them. */
  readonly #keys = new Map<string, { count: number; readonly whenFree: (() => void)[] }>()
  /** The lanes with unsent messages and without a request in flight, in the order of their turns. */
  #ready: Lane[] = []
  #bytes = 0
  #inFlight = 0
  #anyPartition = 0
  #isPlanned = false
  #moving: Promise<void> = Promise.resolve()
  readonly #whenRoom: (() => void)[] = []
  #whenIdle: (() => void)[] = []
  #closed: MillraceError | undefined

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  get hasRoom(): boolean {
    return this.#bytes < bytesMax
  }

  /** Resolves when there is room for more. */
  async room(): Promise<void> {
    while (!this.hasRoom && this.#closed === undefined)
      await new Promise<void>((resolve) => this.#whenRoom.push(resolve))
  }

  /** Whether there is an unacknowledged message of this key without a delay. */
  hasKey(topic: string, key: RecordInput['key']): boolean {
    return this.#keys.size > 0 && this.#keys.has(keyText(topic, key) ?? '')
  }

  /** Resolves when there is no such message; another one may come at once. */
  async keyFree(topic: string, key: RecordInput['key']): Promise<void> {
    const entry = this.#keys.get(keyText(topic, key) ?? '')
    if (entry !== undefined) await new Promise<void>((resolve) => entry.whenFree.push(resolve))
  }

  /** Resolves when the message is durable. */
  publish(message: EachMessage): Promise<Receipt> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const bytes = recordBytesMax(message.record) + overheadBytes
    const id = message.id ?? this.#prefix + (this.#ids++).toString(36)
    const partition = message.partition ?? this.#anyPartition % message.topic.partitions
    const isIdMadeUp = message.id === undefined
    const { after, topic, record, deliverAtMs } = message
    const lane = this.#lane(topic.topicId, partition)
    const key = deliverAtMs === 0 ? keyText(topic.name, record.key) : undefined
    const isHeld = after !== undefined
    this.#bytes += bytes
    this.#addKey(key)
    return new Promise((resolve, reject) => {
      const state = { isMoved: false, isHeld, resolve, reject }
      const pending = { ...message, partition, id, isIdMadeUp, bytes, key, ...state }
      lane.waiting.push(pending)
      after?.then(() => this.#release(lane, pending))
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
    const unsent = [...this.#lanes.values()].flatMap(({ waiting }) => waiting.splice(0))
    this.#lanes.clear()
    this.#ready = []
    for (const message of unsent) message.reject(error)
    this.#freed(unsent)
  }

  #lane(topicId: number, partition: number): Lane {
    const key = `${topicId}/${partition}`
    let lane = this.#lanes.get(key)
    if (lane === undefined) {
      lane = { key, topicId, partition, waiting: [], isHeld: false }
      this.#lanes.set(key, lane)
      this.#ready.push(lane)
    }
    return lane
  }

  #release(lane: Lane, message: Pending): void {
    message.isHeld = false
    if (!lane.isHeld || this.#closed !== undefined) return
    lane.isHeld = false
    this.#ready.push(lane)
    this.#plan()
  }

  #addKey(key: string | undefined): void {
    if (key === undefined) return
    const entry = this.#keys.get(key)
    if (entry === undefined) this.#keys.set(key, { count: 1, whenFree: [] })
    else entry.count++
  }

  #removeKey(key: string | undefined): void {
    const entry = key === undefined ? undefined : this.#keys.get(key)
    if (key === undefined || entry === undefined || --entry.count > 0) return
    this.#keys.delete(key)
    for (const resolve of entry.whenFree) resolve()
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      this.#anyPartition++
      while (this.#ready.length > 0 && this.#inFlight < requestsInFlightMax) {
        const parts = this.#take()
        if (parts.length > 0) void this.#send(parts)
      }
    })
  }

  /** The messages of one request, none if all are held; their partitions are not ready until it ends. */
  #take(): Part[] {
    const parts: Part[] = []
    let bytes = 0
    let count = 0
    for (let lane = this.#ready[0]; lane !== undefined; lane = this.#ready[0]) {
      const before = count
      lane.isHeld = lane.waiting[0]?.isHeld === true
      if (lane.isHeld) {
        this.#ready.shift()
        continue
      }
      for (const message of lane.waiting) {
        if (message.isHeld) break
        if (count >= limits.publishEachMessagesMax || (count > 0 && bytes + message.bytes > requestBytesMax))
          break
        bytes += message.bytes
        count++
      }
      if (count === before) break
      this.#ready.shift()
      parts.push({ lane, messages: lane.waiting.splice(0, count - before) })
    }
    return parts
  }

  async #send(parts: readonly Part[]): Promise<void> {
    this.#inFlight++
    const messages = parts.flatMap((part) => part.messages)
    const refused = new Set<Pending>()
    try {
      const { batches, payload } = requestOf(parts)
      const request = { batches, messages: messages.map(({ deliverAtMs, id }) => [deliverAtMs, id] as const) }
      const { results } = await this.#cluster.call(commands.publishEach, request, {
        repeatable: true,
        repeatedBody: (body, repeatedAfterMs) => ({ ...body, repeatedAfterMs }),
        payload,
      })
      for (const [index, message] of messages.entries()) {
        const result = results[index]
        if (!message.isMoved && result !== undefined && isPlaceRefused(result)) refused.add(message)
        else settle(message, result)
      }
    } catch (error) {
      for (const message of messages) message.reject(this.#closed ?? error)
    }
    this.#inFlight--
    for (const { lane } of parts) {
      if (lane.waiting.length > 0) this.#ready.push(lane)
      else this.#lanes.delete(lane.key)
    }
    this.#freed(refused.size === 0 ? messages : messages.filter((message) => !refused.has(message)))
    // One after the other, so that messages of several requests stay in order.
    if (refused.size > 0) this.#moving = this.#moving.then(() => this.#move([...refused]))
    if (this.#ready.length > 0) this.#plan()
  }

  /** The broker refused the topic id or partition of these messages: sends them once more, by newer metadata. */
  async #move(messages: readonly Pending[]): Promise<void> {
    for (const message of messages) this.#cluster.refused(message.topic)
    for (const message of messages) {
      try {
        const topic = await this.#cluster.topicWith(message.topic.name, message.wanted)
        if (this.#closed !== undefined) throw this.#closed
        const { source, wanted, record } = message
        const partition =
          partitionFor(source, topic, { partition: wanted }, record) ?? this.#anyPartition % topic.partitions
        this.#lane(topic.topicId, partition).waiting.push({ ...message, topic, partition, isMoved: true })
        this.#plan()
      } catch (error) {
        message.reject(this.#closed ?? error)
        this.#freed([message])
      }
    }
  }

  #freed(messages: readonly Pending[]): void {
    for (const { bytes, key } of messages) {
      this.#bytes -= bytes
      this.#removeKey(key)
    }
    if (this.#bytes < bytesMax) for (const resolve of this.#whenRoom.splice(0)) resolve()
    if (this.#bytes > 0) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}

function isPlaceRefused([error]: EachResult): boolean {
  return error === errorTable.UNKNOWN_TOPIC.number || error === errorTable.UNKNOWN_PARTITION.number
}

/** A topic and a key; undefined without a key. */
function keyText(topic: string, key: RecordInput['key']): string | undefined {
  if (key === null || key === undefined) return undefined
  // The same bytes are the same key, whether a codec returns them as text or not.
  const bytes =
    typeof key === 'string' ? Buffer.from(key) : Buffer.from(key.buffer, key.byteOffset, key.length)
  return `${topic}/${bytes.toString('latin1')}`
}

/** One batch for each partition. */
function requestOf(parts: readonly Part[]): {
  readonly batches: readonly (readonly [number, number, number])[]
  readonly payload: readonly Uint8Array[]
} {
  const payload = parts.map(({ messages }) => {
    const builder = new RecordBatchBuilder()
    for (const { record } of messages) builder.append(record)
    return builder.finish()
  })
  const batches = parts.map(
    ({ lane: { topicId, partition } }, index) =>
      [topicId, partition, (payload[index] as Uint8Array).length] as const,
  )
  return { batches, payload }
}

function settle(message: Pending, result: EachResult | undefined): void {
  const { topic, partition, record, id, isIdMadeUp, resolve, reject } = message
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
