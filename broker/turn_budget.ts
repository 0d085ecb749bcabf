/**
 * Bytes that may be worked on within one turn of the event loop. What comes in meanwhile (greetings, heartbeats, publishes)
 * is looked at only between turns, so work that finds its data in memory or at once would keep it waiting for seconds.
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

  /** Counts work that is done in this turn; may overshoot the limit once. */
  add(bytes: number): void {
    if (bytes === 0) return
    this.#usedBytes += bytes
    void this.next()
  }

  /** Resolves in the next turn: look again then, others may have been quicker. */
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
