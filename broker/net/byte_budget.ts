/**
 * Counts bytes against a limit that may be overshot by one entry: whoever adds asks `isOver` first, so a single
 * entry larger than the limit still gets through, alone.
 */
export class ByteBudget {
  readonly limitBytes: number
  readonly #waiting = new Set<() => void>()
  #usedBytes = 0
  #wakePlanned = false

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get isOver(): boolean {
    return this.#usedBytes >= this.limitBytes
  }

  add(bytes: number): void {
    this.#usedBytes += bytes
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    if (this.#waiting.size === 0 || this.isOver || this.#wakePlanned) return
    this.#wakePlanned = true
    queueMicrotask(() => this.#wake())
  }

  /** Calls back once, in the order of asking, when there is room; at most one entry for each function. */
  whenRoom(callback: () => void): void {
    this.#waiting.add(callback)
  }

  forget(callback: () => void): void {
    this.#waiting.delete(callback)
  }

  /** Everyone who waited is asked again until the budget is used up; who finds no room waits anew. */
  #wake(): void {
    this.#wakePlanned = false
    for (const callback of [...this.#waiting]) {
      if (this.isOver) return
      this.#waiting.delete(callback)
      callback()
    }
  }
}
