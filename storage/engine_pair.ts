import type { Engine, EngineFactory } from './engine.js'

/** The two databases of a shard, which are opened and closed together. */
export class EnginePair {
  readonly #factory: EngineFactory
  #journal: Engine
  #state: Engine

  private constructor(factory: EngineFactory, journal: Engine, state: Engine) {
    this.#factory = factory
    this.#journal = journal
    this.#state = state
  }

  /** @throws what the factory throws; nothing is open then */
  static async open(factory: EngineFactory): Promise<EnginePair> {
    const journal = await factory.open('journal')
    try {
      return new EnginePair(factory, journal, await factory.open('state'))
    } catch (error) {
      await journal.close()
      throw error
    }
  }

  get journal(): Engine {
    return this.#journal
  }

  get state(): Engine {
    return this.#state
  }

  /**
   * Closes both and opens them anew. When that fails, it can be called again. They stay open, for readers, until the disk
   * takes writes again: they can't be opened otherwise.
   */
  async reopen(): Promise<void> {
    await this.#factory.tryWriting?.()
    await this.close()
    this.#journal = await this.#factory.open('journal')
    this.#state = await this.#factory.open('state')
  }

  /** May be called more than once. */
  async close(): Promise<void> {
    await this.#journal.close()
    await this.#state.close()
  }
}
