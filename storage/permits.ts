interface Waiting {
  readonly count: number
  readonly grant: () => void
}

/** A semaphore with several permits. It serves requests in their order, so that a large request never starves. */
export class Permits {
  readonly #max: number
  readonly #waiting: Waiting[] = []
  #free: number

  constructor(max: number) {
    this.#max = max
    this.#free = max
  }

  /**
   * Resolves when the caller holds `count` permits, and must release them.
   * @throws RangeError for more than there are
   */
  async acquire(count: number): Promise<void> {
    if (count > this.#max)
      throw new RangeError(`${count} permits were requested, expected at most ${this.#max}`)
    if (this.#waiting.length === 0 && count <= this.#free) {
      this.#free -= count
      return
    }
    await new Promise<void>((grant) => {
      this.#waiting.push({ count, grant })
    })
  }

  release(count: number): void {
    this.#free += count
    for (
      let next = this.#waiting[0];
      next !== undefined && next.count <= this.#free;
      next = this.#waiting[0]
    ) {
      this.#free -= next.count
      this.#waiting.shift()
      next.grant()
    }
  }
}
