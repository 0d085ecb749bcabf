/** Runs work on one name in the order of the calls; work on different names runs concurrently. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Whether work on `name` is in progress. */
  has(name: string): boolean {
    return this.#last.size > 0 && this.#last.has(name)
  }

  /** Calls `work` after all earlier work on this name: at once, if there is none. */
  take<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name)
    const done = before === undefined ? work() : before.then(work)
    const settled = done
      .then(noop, noop)
      .then(() => void (this.#last.get(name) === settled && this.#last.delete(name)))
    this.#last.set(name, settled)
    return done
  }
}

function noop(): void {}
