import type { Partition } from '../partition/partition.js'
import type { DeliveryState } from './delivery_state.js'
import { Fifo } from './fifo.js'
import type { QueueMessage } from './queue_message.js'
import { readRecordsMax } from './read_records.js'

/** Limit of the messages of one partition in memory: most of them wait behind busy keys or for their due time. */
const liveMax = 100_000

interface KeyLine {
  active: QueueMessage
  readonly waiting: Fifo<QueueMessage>
}

/** One partition in a queue group: its messages in memory, and which of them wait behind others. */
export class Lane {
  readonly partition: Partition
  readonly state: DeliveryState
  /** Whether this is the dead-letter topic: only redriven messages are delivered. */
  readonly isDead: boolean
  /** Unfinished messages, by offset. */
  readonly live = new Map<number, QueueMessage>()
  /** Next offset to read. */
  scanOffset: number
  /** [first, count] of lost messages that still have to be recorded as finished. */
  lost: number[] = []
  /** The topic is deleted. */
  isClosed = false
  readonly #keys = new Map<string, KeyLine>()
  #blocked = 0
  #isFull = false

  constructor(partition: Partition, state: DeliveryState, isDead: boolean) {
    this.partition = partition
    this.state = state
    this.isDead = isDead
    this.scanOffset = state.next
  }

  get hasMore(): boolean {
    return !this.isDead && this.scanOffset < this.partition.endOffset
  }

  /** Whether more messages may be read. A full lane first makes room for a whole read: a read of a few costs as much. */
  get hasRoom(): boolean {
    return !this.#isFull
  }

  /** Limit of the next read, in messages. */
  get readMax(): number {
    return Math.min(readRecordsMax, liveMax - this.live.size)
  }

  /** Number of messages that wait behind another message of their key. */
  get blocked(): number {
    return this.#blocked
  }

  /** Adds a message; returns whether it must wait behind another message of its key. */
  add(message: QueueMessage): boolean {
    this.live.set(message.offset, message)
    if (this.live.size >= liveMax) this.#isFull = true
    if (message.key === undefined) return false
    const line = this.#keys.get(message.key)
    if (line === undefined) {
      this.#keys.set(message.key, { active: message, waiting: new Fifo() })
      return false
    }
    message.state = 'blocked'
    line.waiting.push(message)
    this.#blocked++
    return true
  }

  /** Finishes a message; returns the message that waited behind it, if any. */
  remove(message: QueueMessage): QueueMessage | undefined {
    this.live.delete(message.offset)
    if (this.live.size <= liveMax - readRecordsMax) this.#isFull = false
    if (message.key === undefined) return undefined
    const line = this.#keys.get(message.key)
    if (line?.active !== message) return undefined
    const next = line.waiting.shift()
    if (next === undefined) {
      this.#keys.delete(message.key)
      return undefined
    }
    this.#blocked--
    line.active = next
    return next
  }

  close(): void {
    this.isClosed = true
    this.live.clear()
    this.#keys.clear()
    this.#blocked = 0
  }

  /** The message with the most messages waiting behind it. */
  get worstBlocker(): { readonly message: QueueMessage; readonly blocked: number } | undefined {
    let worst: { message: QueueMessage; blocked: number } | undefined
    for (const { active, waiting } of this.#keys.values())
      if (waiting.size > (worst?.blocked ?? 0)) worst = { message: active, blocked: waiting.size }
    return worst
  }
}
