import type { Partition } from '../partition/partition.js'
import type { DeliveryState } from './delivery_state.js'
import { Fifo } from './fifo.js'
import type { QueueMessage } from './queue_message.js'

/** Messages of one partition that are in memory, at most: behind keys that are held up or waiting to be due, mostly. */
const liveMax = 100_000

interface KeyLine {
  active: QueueMessage
  readonly waiting: Fifo<QueueMessage>
}

/** One partition as a queue group works on it: what of it is in memory, and who waits for whom. */
export class Lane {
  readonly partition: Partition
  readonly state: DeliveryState
  /** Of the group's dead letters: only what was redriven is delivered. */
  readonly isDead: boolean
  /** Messages that are not done, by offset. */
  readonly live = new Map<number, QueueMessage>()
  /** What is read next. */
  scanOffset: number
  /** [first, count] of what can't be read any more and is to be noted as done. */
  lost: number[] = []
  /** Its topic is gone. */
  isClosed = false
  readonly #keys = new Map<string, KeyLine>()
  #blocked = 0

  constructor(partition: Partition, state: DeliveryState, isDead: boolean) {
    this.partition = partition
    this.state = state
    this.isDead = isDead
    this.scanOffset = state.next
  }

  get hasMore(): boolean {
    return !this.isDead && this.scanOffset < this.partition.endOffset
  }

  /** Whether more messages may be read. */
  get hasRoom(): boolean {
    return this.live.size < liveMax
  }

  /** Messages that wait behind another of their key. */
  get blocked(): number {
    return this.#blocked
  }

  /** Takes a message up; returns whether it has to wait behind another of its key. */
  add(message: QueueMessage): boolean {
    this.live.set(message.offset, message)
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

  /** A message is done; returns the one that waited behind it, if any. */
  remove(message: QueueMessage): QueueMessage | undefined {
    this.live.delete(message.offset)
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

  /** The message that most others wait behind. */
  get worstBlocker(): { readonly message: QueueMessage; readonly blocked: number } | undefined {
    let worst: { message: QueueMessage; blocked: number } | undefined
    for (const { active, waiting } of this.#keys.values())
      if (waiting.size > (worst?.blocked ?? 0)) worst = { message: active, blocked: waiting.size }
    return worst
  }
}
