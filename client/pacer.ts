/**
 * Shares turns of the event loop out: a few of those who wait go on in each of them, in the order in which they asked, so
 * that together they don't keep it from its sockets.
 */
export class Pacer {
  readonly #perTurn: number
  #waiting: (() => void)[] = []
  #isPlanned = false

  /** @param perTurn how many go on in one turn */
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
