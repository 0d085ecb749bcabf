/**
 * Counts bytes against a limit that may be overshot by one entry: whoever adds asks `isOver` first, so a single
 * entry larger than the limit still gets through, alone. A part of the limit can be kept for those who hold little:
 * the others ask `isTight`.
 */
export class ByteBudget {
  readonly limitBytes: number
  readonly #reserveBytes: number
  readonly #waiting = new Set<() => void>()
  readonly #waitingForReserve = new Set<() => void>()
  #usedBytes = 0
  #wakePlanned = false

  constructor(limitBytes: number, reserveBytes = 0) {
    this.limitBytes = limitBytes
    this.#reserveBytes = reserveBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get isOver(): boolean {
    return this.#usedBytes >= this.limitBytes
  }

  /** Whether nothing but the reserve is left. */
  get isTight(): boolean {
    return this.#usedBytes >= this.limitBytes - this.#reserveBytes
  }

  /** What is left besides the reserve; 0 when `isTight`. */
  get freeBytes(): number {
    return Math.max(0, this.limitBytes - this.#reserveBytes - this.#usedBytes)
  }

  add(bytes: number): void {
    this.#usedBytes += bytes
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    const isAwaited = this.#waitingForReserve.size > 0 || (this.#waiting.size > 0 && !this.isTight)
    if (!isAwaited || this.isOver || this.#wakePlanned) return
    this.#wakePlanned = true
    queueMicrotask(() => this.#wake())
  }

  /** Calls back once, in the order of asking, when there is room besides the reserve; at most one entry for each function. */
  whenRoom(callback: () => void): void {
    this.#waiting.add(callback)
  }

  /** The same for those who may use the reserve; they come first. */
  whenReserveHasRoom(callback: () => void): void {
    this.#waitingForReserve.add(callback)
  }

  forget(callback: () => void): void {
    this.#waiting.delete(callback)
    this.#waitingForReserve.delete(callback)
  }

  /** Everyone who waited is asked again until the budget is used up; who finds no room waits anew. */
  #wake(): void {
    this.#wakePlanned = false
    for (const callback of [...this.#waitingForReserve]) {
      if (this.isOver) return
      this.#waitingForReserve.delete(callback)
      callback()
    }
    for (const callback of [...this.#waiting]) {
      if (this.isTight) return
      this.#waiting.delete(callback)
      callback()
    }
  }
}
