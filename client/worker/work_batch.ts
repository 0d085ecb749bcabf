import { MillraceError } from '../../protocol/index.js'
import { acknowledged, outcomeOf } from './handling.js'
import type { Outcome } from './settler.js'
import type { WorkMessage } from './work_message.js'

/** Messages that one call of a `client.workBatch` handler handles together. */
export class WorkBatch<Item extends object = WorkMessage> {
  /** In delivery order; at least one. Their values are decoded. */
  readonly messages: readonly Item[]
  readonly #members: ReadonlySet<object>
  // The type does not name Item, so that a batch of one topic is assignable to a batch of any topic.
  readonly #settle: (message: object, outcome: Outcome) => void

  /** @internal */
  constructor(messages: readonly Item[], settle: (message: Item, outcome: Outcome) => void) {
    this.messages = messages
    this.#members = new Set(messages)
    this.#settle = (message, outcome) => settle(message as Item, outcome)
  }

  /**
   * Acknowledges one message now, independently of the rest. It has no effect on a message that is settled already or
   * that this worker has lost.
   * @throws MillraceError BAD_OPTION if the message does not belong to the batch
   */
  ack(message: Item): void {
    this.#check(message)
    this.#settle(message, acknowledged)
  }

  /**
   * Ends the attempt of one message with an error, as if a handler of `client.work` had thrown it: `Reject` makes a
   * dead letter, `RetryAfter` sets the delay. The rest of the batch is not affected.
   * @throws MillraceError BAD_OPTION if the message does not belong to the batch
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

/** A batch with a running handler, and its start time in ms of the monotonic clock. */
export interface BatchSlot {
  readonly startedMs: number
}

/** Decides when a batch starts and how large it is, and counts the running handlers. */
export class BatchSlots {
  readonly #settings: BatchSettings
  readonly #concurrency: number
  readonly #onDue: () => void
  /** Oldest first. */
  readonly #running = new Set<BatchSlot>()
  #timer: NodeJS.Timeout | undefined
  /** Whether the waiting messages have waited long enough for a full batch. */
  #isDue = false

  /** @param onDue called when a batch that is not full may start */
  constructor(settings: BatchSettings, concurrency: number, onDue: () => void) {
    this.#settings = settings
    this.#concurrency = concurrency
    this.#onDue = onDue
  }

  /** Size of the next batch; 0 if none may start now. */
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

  /**
   * Frees the slots of handlers that started at `ms` or before, which have timed out. Returns whether there were any.
   */
  expire(ms: number): boolean {
    const before = this.#running.size
    for (const slot of this.#running) {
      if (slot.startedMs > ms) break
      this.#running.delete(slot)
    }
    return this.#running.size < before
  }

  /** Resets the wait for a full batch. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isDue = false
  }
}
