import { Fifo } from './fifo.js'
import type { QueueMessage } from './queue_message.js'

const levels = 10
/** One in so many messages is of the lowest level that has some, however many there are above it. */
const lowestEvery = 8

/** Messages that can be leased, by priority and then in the order in which they came. */
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

  /** Puts messages back to the front of their levels, in their order. */
  putBack(messages: readonly QueueMessage[]): void {
    for (const level of this.#levels) {
      const some = messages.filter((message) => this.#level(message) === level)
      if (some.length > 0) level.putBack(some)
    }
    this.#size += messages.length
    // They were not taken after all: else one who takes few at a time could always put the lowest back.
    this.#taken -= messages.length
  }

  /** Takes the next; none that stands in a lower level waits for ever. */
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
