import sortedBtree from 'sorted-btree'
import type { RangeOptions } from './engine.js'

const BTree = sortedBtree.default

/** A map with byte keys in order. */
export class SortedBytesMap<V> {
  // Latin-1 text keeps one character for each byte, so a comparison of text compares bytes.
  readonly #tree = new BTree<string, V>(undefined, (a, b) => (a < b ? -1 : a > b ? 1 : 0))

  get size(): number {
    return this.#tree.size
  }

  get(key: Uint8Array): V | undefined {
    return this.#tree.get(textOf(key))
  }

  set(key: Uint8Array, value: V): void {
    this.#tree.set(textOf(key), value)
  }

  delete(key: Uint8Array): void {
    this.#tree.delete(textOf(key))
  }

  /** Entries of a range in key order, ascending or descending. */
  range({ gte, lt, limit, reverse = false }: RangeOptions): [Uint8Array, V][] {
    const found: [Uint8Array, V][] = []
    const from = textOf(gte)
    const to = textOf(lt)
    const entries = reverse ? this.#tree.entriesReversed(to) : this.#tree.entries(from)
    for (const [key, value] of entries) {
      if (reverse ? key < from : key >= to) break
      if (key >= to) continue
      found.push([Buffer.from(key, 'latin1'), value])
      if (found.length >= limit) break
    }
    return found
  }

  *entries(): Iterable<[Uint8Array, V]> {
    for (const [key, value] of this.#tree.entries()) yield [Buffer.from(key, 'latin1'), value]
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}
