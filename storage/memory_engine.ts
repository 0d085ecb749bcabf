import type { Engine, EngineEntry, EngineFactory, EngineOp, EngineSnapshot, RangeOptions } from './engine.js'
import { SortedBytesMap } from './sorted_bytes_map.js'

/** An engine without a disk: for tests, and for brokers that need no durability. */
export class MemoryEngine implements Engine {
  readonly #entries = new SortedBytesMap<Uint8Array>()

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#entries.get(key)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return keys.map((key) => this.#entries.get(key))
  }

  async range(options: RangeOptions): Promise<EngineEntry[]> {
    return this.#entries.range(options)
  }

  snapshot(): EngineSnapshot {
    const entries = new SortedBytesMap<Uint8Array>()
    for (const [key, value] of this.#entries.entries()) entries.set(key, value)
    return { range: async (options) => entries.range(options), close: async () => {} }
  }

  async commit(ops: readonly EngineOp[]): Promise<void> {
    for (const op of ops) {
      // Copies, as a database does: the caller may reuse its buffers.
      if (op.type === 'put') this.#entries.set(op.key, Uint8Array.from(op.value))
      else this.#entries.delete(op.key)
    }
  }

  async compact(): Promise<void> {}

  async close(): Promise<void> {}
}

/** Engines that keep their data over close and open, like a disk. */
export function memoryEngines(): EngineFactory {
  const engines = { journal: new MemoryEngine(), state: new MemoryEngine() }
  return { open: async (name) => engines[name] }
}
