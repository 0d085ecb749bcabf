import type { QueueMessage } from './queue_message.js'

const timerMsMax = 60_000

/** Delayed messages, each with a due time of the monotonic clock. */
export class Delays {
  /** A binary heap: the earliest message is the first. */
  readonly #heap: { readonly dueMs: number; readonly message: QueueMessage }[] = []
  readonly #due: (messages: QueueMessage[]) => void
  #timer: NodeJS.Timeout | undefined
  #timerDueMs = Number.POSITIVE_INFINITY

  /** @param due receives the messages that are due */
  constructor(due: (messages: QueueMessage[]) => void) {
    this.#due = due
  }

  get size(): number {
    return this.#heap.length
  }

  /** @param delayMs delay from now */
  add(message: QueueMessage, delayMs: number): void {
    const dueMs = performance.now() + delayMs
    const heap = this.#heap
    let at = heap.length
    heap.push({ dueMs, message })
    for (let parent = (at - 1) >> 1; at > 0 && this.#at(parent) > dueMs; parent = (at - 1) >> 1) {
      this.#swap(at, parent)
      at = parent
    }
    if (dueMs < this.#timerDueMs) this.#arm()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#heap.length = 0
  }

  #fire(): void {
    this.#timerDueMs = Number.POSITIVE_INFINITY
    const nowMs = performance.now()
    const messages: QueueMessage[] = []
    while (this.#heap.length > 0 && this.#at(0) <= nowMs) messages.push(this.#shift())
    if (this.#heap.length > 0) this.#arm()
    if (messages.length > 0) this.#due(messages)
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#timerDueMs = this.#at(0)
    const delayMs = Math.min(Math.max(1, Math.ceil(this.#timerDueMs - performance.now())), timerMsMax)
    this.#timer = setTimeout(() => this.#fire(), delayMs).unref()
  }

  #shift(): QueueMessage {
    const heap = this.#heap
    this.#swap(0, heap.length - 1)
    const { message } = heap.pop() as { message: QueueMessage }
    for (let at = 0; ; ) {
      const left = at * 2 + 1
      if (left >= heap.length) return message
      const least = left + 1 < heap.length && this.#at(left + 1) < this.#at(left) ? left + 1 : left
      if (this.#at(at) <= this.#at(least)) return message
      this.#swap(at, least)
      at = least
    }
  }

  #at(index: number): number {
    return (this.#heap[index] as { dueMs: number }).dueMs
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    const item = heap[a] as (typeof heap)[number]
    heap[a] = heap[b] as (typeof heap)[number]
    heap[b] = item
  }
}
