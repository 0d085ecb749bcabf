import { MillraceError } from '../../protocol/index.js'

/** What an iterator takes its items from. */
export interface PullSource<Item> {
  /** The next item; undefined when there is none now, a promise when it takes time. May throw. */
  pull(): Item | undefined | Promise<Item | undefined>
  /** Called before the first item is taken. */
  begin(): void
  /** Undefined while items may come; then how it ended. */
  ended(): { readonly error?: unknown } | undefined
  /** An item could not be taken: ends everything. */
  fail(error: unknown): void
  /** The loop was left: closes everything. */
  close(): Promise<void>
}

interface Waiter<Item> {
  readonly resolve: (result: IteratorResult<Item, undefined>) => void
  readonly reject: (error: unknown) => void
}

/** Calls of `next` that may wait at the same time. */
const waitersMax = 100_000

/**
 * An async iterator by hand: while items are buffered `next` returns a promise that is resolved already, which an async
 * generator can't. Leaving the loop closes the source.
 */
export class PullIterator<Item extends object> implements AsyncIterableIterator<Item, undefined> {
  readonly #source: PullSource<Item>
  readonly #onDone: () => void
  #waiters: Waiter<Item>[] = []
  /**
   * Whether a pull is under way: one that takes time, or one that calls the application back, which may end up here
   * again. Items are handed out in order, so nothing is pulled meanwhile.
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

  /** The next item; done when the consumer has ended. Rejects with what has ended it, if that was an error. */
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
      return Promise.reject(new MillraceError('LIMIT_EXCEEDED', `${waitersMax} calls of next() wait already`))
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      if (this.#source.ended() !== undefined) this.wake()
    })
  }

  /** Closes the consumer; commits what is acknowledged. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    await this.#source.close()
    this.#onDone()
    return { value: undefined, done: true }
  }

  /** Serves waiting calls of `next`; to be called when items may be there or the source has ended. */
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
