/** Stores pages in the state; they become durable with the next checkpoint. */
export interface RedrivenStore {
  putPage(page: number, value: Uint8Array): void
  delPage(page: number): void
}

/** Number of offsets per page: one bit each. */
export const redrivenPageOffsets = 4_096
const pageBytes = redrivenPageOffsets / 8

interface Page {
  /** Undefined: all letters of the page were redriven. */
  bits: Uint8Array | undefined
  count: number
}

/** Stored for a page with only redriven letters. */
const full = new Uint8Array(0)

/**
 * The redriven dead letters of a group, by offset in their log. They are bits in pages: a million of them need 128 KiB
 * of memory, and a checkpoint writes only changed pages.
 */
export class RedrivenLetters {
  readonly #pages = new Map<number, Page>()
  readonly #changed = new Set<number>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Pages in memory. */
  get pages(): number {
    return this.#pages.size
  }

  has(offset: number): boolean {
    const page = this.#pages.get(Math.floor(offset / redrivenPageOffsets))
    if (page === undefined) return false
    return page.bits === undefined || isSet(page.bits, offset % redrivenPageOffsets)
  }

  add(offset: number): void {
    const number = Math.floor(offset / redrivenPageOffsets)
    let page = this.#pages.get(number)
    if (page === undefined) {
      page = { bits: new Uint8Array(pageBytes), count: 0 }
      this.#pages.set(number, page)
    }
    const at = offset % redrivenPageOffsets
    if (page.bits === undefined || isSet(page.bits, at)) return
    page.bits[at >> 3] = (page.bits[at >> 3] as number) | (1 << (at & 7))
    page.count++
    this.#size++
    this.#changed.add(number)
    if (page.count === redrivenPageOffsets) page.bits = undefined
  }

  /** Number of redriven letters from `offset` on. */
  countFrom(offset: number): number {
    if (offset === 0) return this.#size
    const first = Math.floor(offset / redrivenPageOffsets)
    let count = 0
    for (const [number, page] of this.#pages) if (number > first) count += page.count
    for (let at = offset; at < (first + 1) * redrivenPageOffsets; at++) if (this.has(at)) count++
    return count
  }

  /** Loads a stored page. */
  load(number: number, value: Uint8Array): void {
    const known = this.#pages.get(number)
    if (known !== undefined) this.#size -= known.count
    const bits = value.length === 0 ? undefined : Uint8Array.from(value)
    let count = redrivenPageOffsets
    if (bits !== undefined) {
      count = 0
      for (let at = 0; at < redrivenPageOffsets; at++) if (isSet(bits, at)) count++
    }
    this.#pages.set(number, { bits, count })
    this.#size += count
  }

  /** Writes changed pages to the state, and removes letters before `startOffset`, which retention dropped. */
  save(store: RedrivenStore, startOffset: number): void {
    for (const [number, { count }] of this.#pages) {
      if ((number + 1) * redrivenPageOffsets > startOffset) continue
      this.#pages.delete(number)
      this.#changed.delete(number)
      this.#size -= count
      store.delPage(number)
    }
    for (const number of this.#changed) store.putPage(number, this.#pages.get(number)?.bits?.slice() ?? full)
    this.#changed.clear()
  }

  /** Removes everything, also from the state. */
  drop(store: RedrivenStore): void {
    for (const number of this.#pages.keys()) store.delPage(number)
    this.#pages.clear()
    this.#changed.clear()
    this.#size = 0
  }
}

function isSet(bits: Uint8Array, at: number): boolean {
  return ((bits[at >> 3] as number) & (1 << (at & 7))) !== 0
}
