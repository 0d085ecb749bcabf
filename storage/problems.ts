/** Most problems that are kept; the first ones show the cause. */
const problemsMax = 100

/** Problems of the stored data, in words for humans; each problem once. */
export class Problems {
  readonly #texts = new Set<string>()

  /** Returns whether the problem was new. */
  note(text: string): boolean {
    if (this.#texts.has(text) || this.#texts.size >= problemsMax) return false
    this.#texts.add(text)
    return true
  }

  get texts(): string[] {
    return [...this.#texts]
  }
}
