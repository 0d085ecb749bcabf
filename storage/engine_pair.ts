import type { Engine, EngineFactory } from './engine.js'

/** The two databases of a shard, which open and close together. */
export class EnginePair {
  readonly #factory: EngineFactory
  #journal: Engine
  #state: Engine

  private constructor(factory: EngineFactory, journal: Engine, state: Engine) {
    this.#factory = factory
    this.#journal = journal
    this.#state = state
  }

  /** @throws the error of the factory; nothing is open then */
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
   * Closes both and opens them again. If that fails, call it again. They stay open for readers until the disk
   * accepts writes again, because they could not be opened otherwise.
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
