/**
 * Shares the turns of the event loop: a few waiting callers continue in each turn, in the order of their calls, so
 * that together they do not block the sockets of the process.
 */
export class Pacer {
  readonly #perTurn: number
  #waiting: (() => void)[] = []
  #isPlanned = false

  /** @param perTurn number of callers that continue in one turn */
  constructor(perTurn: number) {
    this.#perTurn = perTurn
  }

  /** Resolves in a later turn of the event loop. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#plan()
    })
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      for (const resolve of this.#waiting.splice(0, this.#perTurn)) resolve()
      if (this.#waiting.length > 0) this.#plan()
    })
  }
}
