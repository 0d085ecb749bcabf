/** A queue between one writer, which waits while it is full, and one reader, which waits while it is empty. */
export class Channel<Item> implements AsyncIterable<Item> {
  readonly #itemsMax: number
  #items: Item[] = []
  #ended = false
  #failure: { readonly error: unknown } | undefined
  #wakeReader: (() => void) | undefined
  #wakeWriter: (() => void) | undefined

  /** @param itemsMax number of items at which the writer waits */
  constructor(itemsMax = 1_000) {
    this.#itemsMax = itemsMax
  }

  /** Adds an item; resolves when there is room for the next one. @throws the error of `fail` */
  async push(item: Item): Promise<void> {
    this.#throwFailure()
    this.#items.push(item)
    this.#wakeReader?.()
    while (this.#items.length >= this.#itemsMax) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve
      })
      this.#throwFailure()
    }
  }

  /** Ends the input; the reader still gets the items that are left. */
  end(): void {
    this.#ended = true
    this.#wakeReader?.()
  }

  /** Ends the reader: the writer gets the error. */
  fail(error: unknown): void {
    this.#failure = { error }
    this.#items = []
    this.#wakeWriter?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, undefined> {
    for (;;) {
      const items = this.#items
      this.#items = []
      this.#wakeWriter?.()
      yield* items
      if (this.#items.length > 0) continue
      if (this.#ended) return
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve
      })
    }
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}
