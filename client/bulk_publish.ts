import type { Pacer } from './pacer.js'
import type { BatchWatcher } from './producer/batch.js'
import type { Turns } from './turns.js'

/** How a bulk publish went. */
export interface BulkReceipt {
  readonly topic: string
  readonly count: number
}

/** Hands a message over; returns its bytes. `nowMs` is the time, ms since 1970. */
type Hand<Message> = (message: Message, watcher: BatchWatcher, nowMs: number) => number | Promise<number>

/** A clock that is read for every message costs more than the message's place in its batch. */
const messagesPerClockRead = 64
/** A bulk publish gives the event loop a turn after this many bytes, so that batches leave while it goes on. */
const turnBytes = 128 * 1024

/** One call of `publishMany`: takes messages as fast as they can be handed over, and counts what is acknowledged. */
export class BulkPublish<Message> implements BatchWatcher {
  readonly #topic: string
  readonly #turns: Turns
  readonly #pacer: Pacer
  readonly #signal: AbortSignal | undefined
  readonly #hand: Hand<Message>
  #added = 0
  #done = 0
  #error: unknown
  #whenDone: (() => void) | undefined

  constructor(
    topic: string,
    turns: Turns,
    pacer: Pacer,
    signal: AbortSignal | undefined,
    hand: Hand<Message>,
  ) {
    this.#topic = topic
    this.#turns = turns
    this.#pacer = pacer
    this.#signal = signal
    this.#hand = hand
  }

  /** Resolves when all are acknowledged; rejects with the first error once the fate of all is known. */
  async run(messages: Iterable<Message> | AsyncIterable<Message>): Promise<BulkReceipt> {
    try {
      if (Symbol.asyncIterator in messages) await this.#takeAllLater(messages)
      else await this.#takeAll(messages)
    } catch (error) {
      this.#error ??= error
      // What was handed over is on its way all the same.
      if (!this.#signal?.aborted) await this.#ended().catch(() => {})
      throw error
    }
    await this.#ended()
    return { topic: this.#topic, count: this.#added }
  }

  batchDone(records: number, error: unknown): void {
    this.#done += records
    this.#error ??= error
    if (this.#done >= this.#added) this.#whenDone?.()
  }

  async #takeAll(messages: Iterable<Message>): Promise<void> {
    const iterator = messages[Symbol.iterator]()
    let isDone = false
    try {
      // The first ones at once, or right behind what waits already, so that later calls come after them.
      isDone = await this.#turns.take(this.#topic, () => this.#takeSome(iterator))
      while (!isDone) {
        await this.#pacer.next()
        isDone = await this.#takeSome(iterator)
      }
    } catch (error) {
      iterator.return?.()
      throw error
    }
  }

  /** Returns whether there are no more. */
  async #takeSome(iterator: Iterator<Message>): Promise<boolean> {
    this.#check()
    let nowMs = 0
    for (let bytes = 0, taken = 0; bytes < turnBytes; taken++) {
      const next = iterator.next()
      if (next.done) return true
      if (taken % messagesPerClockRead === 0) nowMs = Date.now()
      const handed = this.#hand(next.value, this, nowMs)
      bytes += typeof handed === 'number' ? handed : await handed
      this.#added++
    }
    return false
  }

  async #takeAllLater(messages: AsyncIterable<Message>): Promise<void> {
    // Behind what waits already; but others need not wait for a source that may be slow.
    await this.#turns.take(this.#topic, () => Promise.resolve())
    let bytes = 0
    for await (const message of messages) {
      this.#check()
      const handed = this.#hand(message, this, Date.now())
      bytes += typeof handed === 'number' ? handed : await handed
      this.#added++
      if (bytes < turnBytes) continue
      bytes = 0
      await this.#pacer.next()
    }
  }

  #check(): void {
    this.#signal?.throwIfAborted()
    if (this.#error !== undefined) throw this.#error
  }

  async #ended(): Promise<void> {
    while (this.#done < this.#added) await new Promise<void>((resolve) => (this.#whenDone = resolve))
    if (this.#error !== undefined) throw this.#error
  }
}
