import { Fifo } from './fifo.js'
import type { QueueMessage } from './queue_message.js'

const levels = 10
/** One in so many deliveries comes from the lowest level that has messages, even if there are many above it. */
const lowestEvery = 8

/** Ready messages, by priority and then in order of arrival. */
export class ReadyLine {
  readonly #levels = Array.from({ length: levels }, () => new Fifo<QueueMessage>())
  #size = 0
  #taken = 0

  get size(): number {
    return this.#size
  }

  push(message: QueueMessage): void {
    this.#level(message).push(message)
    this.#size++
  }

  /** Returns messages to the front of their levels, in their order. */
  putBack(messages: readonly QueueMessage[]): void {
    for (const level of this.#levels) {
      const some = messages.filter((message) => this.#level(message) === level)
      if (some.length > 0) level.putBack(some)
    }
    this.#size += messages.length
    // Returned messages do not count: otherwise requests for few messages could return the lowest level's message
    // forever.
    this.#taken -= messages.length
  }

  /** Takes the next message; lower levels cannot starve. */
  shift(): QueueMessage | undefined {
    if (this.#size === 0) return undefined
    this.#size--
    this.#taken++
    const found =
      this.#taken % lowestEvery === 0
        ? this.#levels.find(({ size }) => size > 0)
        : this.#levels.findLast(({ size }) => size > 0)
    return found?.shift()
  }

  #level({ priority }: QueueMessage): Fifo<QueueMessage> {
    return this.#levels[priority] as Fifo<QueueMessage>
  }
}
