import type { PartitionQueue } from './partition_queue.js'

/** Queues with unsent messages, in the order of their turns. There may be thousands. */
export class ReadyQueues {
  readonly #all = new Line()
  /** The queues with a full batch at the time of `add`, so that no caller has to search for them. */
  readonly #full = new Line()

  /** Upper bound of the number of queues; with `fullOnly` only queues with a full batch. */
  size(fullOnly: boolean): number {
    return fullOnly ? this.#full.size : this.#all.size
  }

  /** Call it when a queue has a new message, and when it can send again. */
  add(queue: PartitionQueue): void {
    if (!queue.standsInLine) {
      queue.standsInLine = true
      this.#all.push(queue)
    }
    if (!queue.standsInFullLine && queue.ready(true)) {
      queue.standsInFullLine = true
      this.#full.push(queue)
    }
  }

  /** Takes the queue whose turn it is, which may have nothing to send by now; `add` it again if it has more. */
  shift(fullOnly: boolean): PartitionQueue | undefined {
    const queue = (fullOnly ? this.#full : this.#all).shift()
    if (queue === undefined) return undefined
    if (fullOnly) queue.standsInFullLine = false
    else queue.standsInLine = false
    return queue
  }

  /** Undoes `shift`: the queue has the next turn. */
  putBack(queue: PartitionQueue, fullOnly: boolean): void {
    if (fullOnly) queue.standsInFullLine = true
    else queue.standsInLine = true
    const line = fullOnly ? this.#full : this.#all
    line.unshift(queue)
  }

  clear(): void {
    while (this.shift(false) !== undefined);
    while (this.shift(true) !== undefined);
  }
}

class Line {
  #queues: (PartitionQueue | undefined)[] = []
  #head = 0

  get size(): number {
    return this.#queues.length - this.#head
  }

  push(queue: PartitionQueue): void {
    this.#queues.push(queue)
  }

  /** Puts back the queues taken by `shift`. */
  unshift(queue: PartitionQueue): void {
    if (this.#head > 0) this.#queues[--this.#head] = queue
    else this.#queues.unshift(queue)
  }

  shift(): PartitionQueue | undefined {
    const queue = this.#queues[this.#head]
    if (queue === undefined) return undefined
    this.#queues[this.#head++] = undefined
    if (this.#head > 64 && this.#head * 2 > this.#queues.length) {
      this.#queues = this.#queues.slice(this.#head)
      this.#head = 0
    }
    return queue
  }
}
