import type { Pacer } from './pacer.js'
import type { BatchWatcher } from './producer/batch.js'
import type { Turns } from './turns.js'

/** The result of a bulk publish. */
export interface BulkReceipt {
  readonly topic: string
  readonly count: number
}

/** Options of `publishMany`. */
export interface BulkPublishOptions {
  /** Ends the call; messages read before it may still be published. */
  readonly signal?: AbortSignal | undefined
  /** Called with the count of messages that are durable so far, each time it grows. */
  readonly onAcknowledged?: ((count: number) => void) | undefined
}

/** Adds a message to the producer; returns its bytes. `nowMs` is the time, ms since 1970. */
type Hand<Message> = (message: Message, watcher: BatchWatcher, nowMs: number) => number | Promise<number>

/** A clock read for every message costs more than its place in the batch. */
const messagesPerClockRead = 64
/** A bulk publish gives the event loop a turn after this many bytes, so that batches leave during the call. */
const turnBytes = 128 * 1024

/** One call of `publishMany`: reads messages as fast as the producer accepts them, and counts acknowledgements. */
export class BulkPublish<Message> implements BatchWatcher {
  readonly #topic: string
  readonly #turns: Turns
  readonly #pacer: Pacer
  readonly #signal: AbortSignal | undefined
  readonly #hand: Hand<Message>
  readonly #onAcknowledged: ((count: number) => void) | undefined
  #added = 0
  #done = 0
  #acknowledged = 0
  #error: unknown
  #whenDone: (() => void) | undefined

  constructor(
    topic: string,
    turns: Turns,
    pacer: Pacer,
    signal: AbortSignal | undefined,
    hand: Hand<Message>,
    onAcknowledged?: (count: number) => void,
  ) {
    this.#onAcknowledged = onAcknowledged
    this.#topic = topic
    this.#turns = turns
    this.#pacer = pacer
    this.#signal = signal
    this.#hand = hand
  }

  /** Resolves when all are acknowledged; rejects with the first error once the result of all is known. */
  async run(messages: Iterable<Message> | AsyncIterable<Message>): Promise<BulkReceipt> {
    try {
      if (Symbol.asyncIterator in messages) await this.#takeAllLater(messages)
      else await this.#takeAll(messages)
    } catch (error) {
      this.#error ??= error
      // Messages that the producer has are still in progress.
      if (!this.#signal?.aborted) await this.#ended().catch(() => {})
      throw error
    }
    await this.#ended()
    return { topic: this.#topic, count: this.#added }
  }

  batchDone(records: number, error: unknown): void {
    this.#done += records
    this.#error ??= error
    if (error === undefined) {
      this.#acknowledged += records
      this.#onAcknowledged?.(this.#acknowledged)
    }
    if (this.#done >= this.#added) this.#whenDone?.()
  }

  async #takeAll(messages: Iterable<Message>): Promise<void> {
    const iterator = messages[Symbol.iterator]()
    let isDone = false
    try {
      // Takes the first messages at once, or right behind the waiting ones, so that later calls come after them.
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

  /** Returns whether the source has ended. */
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
    // It stands behind the waiting messages; but other calls need not wait for a source that may be slow.
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
