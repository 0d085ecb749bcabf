import { MillraceError } from '../../protocol/index.js'
import { acknowledged, outcomeOf } from './handling.js'
import type { Outcome } from './settler.js'
import type { WorkMessage } from './work_message.js'

/** Messages that a handler of `client.workBatch` handles together. */
export class WorkBatch<Item extends object = WorkMessage> {
  /** In the order in which the broker gave them; at least one. Their values are decoded. */
  readonly messages: readonly Item[]
  readonly #members: ReadonlySet<object>
  // Not of Item, so that a batch of one topic can be given where one of any topic is expected.
  readonly #settle: (message: object, outcome: Outcome) => void

  /** @internal */
  constructor(messages: readonly Item[], settle: (message: Item, outcome: Outcome) => void) {
    this.messages = messages
    this.#members = new Set(messages)
    this.#settle = (message, outcome) => settle(message as Item, outcome)
  }

  /**
   * Acknowledges one message now, whatever becomes of the rest. It does nothing for a message that is settled already or that
   * is not this worker's any more.
   * @throws MillraceError BAD_OPTION when the message does not belong to the batch
   */
  ack(message: Item): void {
    this.#check(message)
    this.#settle(message, acknowledged)
  }

  /**
   * Ends the attempt of one message with an error, as a handler of `client.work` does that throws it: `Reject` makes a dead
   * letter, `RetryAfter` sets the delay. The rest of the batch is not affected.
   * @throws MillraceError BAD_OPTION when the message does not belong to the batch
   */
  fail(message: Item, error: unknown): void {
    this.#check(message)
    this.#settle(message, outcomeOf(error))
  }

  #check(message: Item): void {
    if (!this.#members.has(message))
      throw new MillraceError('BAD_OPTION', 'the message does not belong to this batch')
  }
}

export interface BatchSettings {
  readonly messagesMax: number
  readonly waitMs: number
}

/** A batch whose handler runs, and when that began; ms of the monotonic clock. */
export interface BatchSlot {
  readonly startedMs: number
}

/** Decides when a batch starts and how large it is, and counts the handlers that run. */
export class BatchSlots {
  readonly #settings: BatchSettings
  readonly #concurrency: number
  readonly #onDue: () => void
  /** Oldest first. */
  readonly #running = new Set<BatchSlot>()
  #timer: NodeJS.Timeout | undefined
  /** Whether the messages that wait have waited for a full batch for long enough. */
  #isDue = false

  /** @param onDue called when a batch that is not full may start */
  constructor(settings: BatchSettings, concurrency: number, onDue: () => void) {
    this.#settings = settings
    this.#concurrency = concurrency
    this.#onDue = onDue
  }

  /** How many of the messages that wait make up the next batch; 0 when none may start now. */
  sizeFor(waiting: number): number {
    const { messagesMax, waitMs } = this.#settings
    if (waiting === 0 || this.#running.size >= this.#concurrency) return 0
    if (waiting >= messagesMax) return messagesMax
    if (this.#isDue || waitMs === 0) return waiting
    this.#timer ??= setTimeout(() => {
      this.#isDue = true
      this.#onDue()
    }, waitMs)
    return 0
  }

  start(nowMs: number): BatchSlot {
    this.stop()
    const slot = { startedMs: nowMs }
    this.#running.add(slot)
    return slot
  }

  end(slot: BatchSlot): void {
    this.#running.delete(slot)
  }

  /** Makes room for handlers that were started at `ms` or before: they take too long. Returns whether there were any. */
  expire(ms: number): boolean {
    const before = this.#running.size
    for (const slot of this.#running) {
      if (slot.startedMs > ms) break
      this.#running.delete(slot)
    }
    return this.#running.size < before
  }

  /** Forgets how long messages have waited. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isDue = false
  }
}
