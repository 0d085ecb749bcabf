/**
 * Bytes of work within one turn of the event loop. The broker reads sockets (hello, heartbeats, publishes)
 * only between turns, so work on data that is ready at once could delay them for seconds.
 */
export class TurnBudget {
  readonly #bytesMax: number
  #usedBytes = 0
  #nextTurn: Promise<void> | undefined

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get isUsedUp(): boolean {
    return this.#usedBytes >= this.#bytesMax
  }

  /** Counts work of this turn; it may exceed the limit once. */
  add(bytes: number): void {
    if (bytes === 0) return
    this.#usedBytes += bytes
    void this.next()
  }

  /** Resolves in the next turn: check again then, because other callers may have used the budget. */
  next(): Promise<void> {
    this.#nextTurn ??= new Promise((resolve) =>
      setImmediate(() => {
        this.#usedBytes = 0
        this.#nextTurn = undefined
        resolve()
      }),
    )
    return this.#nextTurn
  }
}
