import { MillraceError } from '../../protocol/index.js'

/** The source of an iterator. */
export interface PullSource<Item> {
  /** The next item; undefined if there is none now, a promise if it takes time. May throw. */
  pull(): Item | undefined | Promise<Item | undefined>
  /** Called before the first item. */
  begin(): void
  /** Undefined while items may come; then the result. */
  ended(): { readonly error?: unknown } | undefined
  /** An item failed: ends everything. */
  fail(error: unknown): void
  /** The loop was left: closes everything. */
  close(): Promise<void>
}

interface Waiter<Item> {
  readonly resolve: (result: IteratorResult<Item, undefined>) => void
  readonly reject: (error: unknown) => void
}

/** Limit of waiting calls of `next`. */
const waitersMax = 100_000

/**
 * A hand-written async iterator: while items are buffered `next` returns a resolved promise, which an async
 * generator cannot. Leaving the loop closes the source.
 */
export class PullIterator<Item extends object> implements AsyncIterableIterator<Item, undefined> {
  readonly #source: PullSource<Item>
  readonly #onDone: () => void
  #waiters: Waiter<Item>[] = []
  /**
   * Whether a pull is in progress: one that takes time, or one that calls the application, which may call `next`
   * again. Items keep their order, so there is only one pull at a time.
   */
  #pulling = false

  /** @param onDone called when the loop was left */
  constructor(source: PullSource<Item>, onDone: () => void) {
    this.#source = source
    this.#onDone = onDone
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** The next item; done when the consumer has ended. Rejects with the error that ended it, if any. */
  next(): Promise<IteratorResult<Item, undefined>> {
    if (this.#waiters.length === 0 && !this.#pulling && this.#source.ended() === undefined) {
      this.#source.begin()
      const item = this.#tryPull()
      if (item instanceof Promise) void this.#wait(item)
      else if (item !== undefined) {
        if (this.#waiters.length > 0) this.wake()
        return Promise.resolve({ value: item, done: false })
      }
    }
    if (this.#waiters.length >= waitersMax) {
      return Promise.reject(
        new MillraceError(
          'LIMIT_EXCEEDED',
          `${waitersMax} calls of next() already wait, which is the maximum`,
        ),
      )
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      if (this.#source.ended() !== undefined) this.wake()
    })
  }

  /** Closes the consumer; commits acknowledged messages. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    await this.#source.close()
    this.#onDone()
    return { value: undefined, done: true }
  }

  /** Serves waiting calls of `next`; call it when there may be items or the source has ended. */
  wake(): void {
    while (this.#waiters.length > 0 && !this.#pulling) {
      const end = this.#source.ended()
      if (end !== undefined) {
        this.#endWaiters(end)
        return
      }
      const item = this.#tryPull()
      if (item instanceof Promise) void this.#wait(item)
      else if (item !== undefined) this.#waiters.shift()?.resolve({ value: item, done: false })
      else if (this.#source.ended() === undefined) return
    }
  }

  #tryPull(): Item | undefined | Promise<Item | undefined> {
    this.#pulling = true
    try {
      return this.#source.pull()
    } catch (error) {
      this.#source.fail(error)
      return undefined
    } finally {
      this.#pulling = false
    }
  }

  /** Never rejects. */
  async #wait(pending: Promise<Item | undefined>): Promise<void> {
    this.#pulling = true
    try {
      const item = await pending
      if (item !== undefined) this.#waiters.shift()?.resolve({ value: item, done: false })
    } catch (error) {
      this.#source.fail(error)
    }
    this.#pulling = false
    this.wake()
  }

  #endWaiters(end: { readonly error?: unknown }): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const { resolve, reject } of waiters) {
      if ('error' in end) reject(end.error)
      else resolve({ value: undefined, done: true })
    }
  }
}
