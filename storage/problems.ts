/** Most problems that are kept; the first tell where it began. */
const problemsMax = 100

/** What is wrong with the stored data, in words for people; each problem once. */
export class Problems {
  readonly #texts = new Set<string>()

  /** Returns whether it was new. */
  note(text: string): boolean {
    if (this.#texts.has(text) || this.#texts.size >= problemsMax) return false
    this.#texts.add(text)
    return true
  }

  get texts(): string[] {
    return [...this.#texts]
  }
}
