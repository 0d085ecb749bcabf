/**
 * Counts bytes against a limit that one entry may exceed: a caller checks `isOver` first, so a single
 * entry larger than the limit can still pass, alone. A part of the limit can be reserved for callers that hold little:
 * the others check `isTight`.
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

  /** Whether only the reserve is left. */
  get isTight(): boolean {
    return this.#usedBytes >= this.limitBytes - this.#reserveBytes
  }

  /** Room without the reserve; 0 if `isTight`. */
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

  /**
   * Calls back once, in the order of the calls, when there is room besides the reserve; at most one entry for each
   * function.
   */
  whenRoom(callback: () => void): void {
    this.#waiting.add(callback)
  }

  /** The same for callers that may use the reserve; they come first. */
  whenReserveHasRoom(callback: () => void): void {
    this.#waitingForReserve.add(callback)
  }

  forget(callback: () => void): void {
    this.#waiting.delete(callback)
    this.#waitingForReserve.delete(callback)
  }

  /** Calls every waiting function until the budget is used up; those without room wait again. */
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
