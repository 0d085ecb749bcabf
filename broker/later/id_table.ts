import { hash } from 'node:crypto'

/** The first 128 bits of the SHA-256 of an id, as four numbers of 32 bits. */
export type IdDigest = readonly [number, number, number, number]

/**
 * Digest of an id of a topic. The chance that two ids of one topic have the same digest is about count² / 2^129: 10^-27
 * for a million of them.
 */
export function digestOf(topicId: number, id: string): IdDigest {
  const text = hash('sha256', `${topicId}/${id}`, 'binary')
  return [wordOf(text, 0), wordOf(text, 4), wordOf(text, 8), wordOf(text, 12)]
}

/** Data of an id. */
export interface IdFields {
  /** Arrival time, in seconds since 1970. */
  readonly second: number
  readonly partition: number
  /** Offset of its message, or a negative value with a special meaning. */
  readonly offset: number
}

const capacityMin = 1_024
const words = 4

/**
 * Data of ids, by digest, in typed arrays: 44 to 88 bytes for each id, whatever its length, without objects for the
 * garbage collector. Ids are in slots, which form linked lists; a slot keeps its id until it is freed.
 *
 * The index is a hash table with linear probing, at most half full; a removal shifts the following entries back (Knuth,
 * TAOCP 3, 6.4, algorithm R).
 */
export class IdTable {
  #digests = new Uint32Array(capacityMin * words)
  #seconds = new Uint32Array(capacityMin)
  #partitions = new Uint32Array(capacityMin)
  #offsets = new Float64Array(capacityMin)
  /** Next slot of a list, or of the free list; -1: none. */
  #nexts = new Int32Array(capacityMin)
  /** Slot + 1; 0: empty. */
  #index = new Int32Array(capacityMin * 2)
  #used = 0
  #free = -1
  #size = 0

  /** Number of ids that can be found. */
  get size(): number {
    return this.#size
  }

  /** The slot of an id; -1 if the id is unknown. */
  find(digest: IdDigest): number {
    const mask = this.#index.length - 1
    for (let at = digest[0] & mask; ; at = (at + 1) & mask) {
      const slot = (this.#index[at] as number) - 1
      if (slot < 0 || this.#is(slot, digest)) return slot
    }
  }

  /** Adds an unknown id in front of the list that begins with `next`. Returns its slot. */
  add(digest: IdDigest, { second, partition, offset }: IdFields, next: number): number {
    const slot = this.#take()
    this.#digests.set(digest, slot * words)
    this.#seconds[slot] = second
    this.#partitions[slot] = partition
    this.#offsets[slot] = offset
    this.#nexts[slot] = next
    this.#insert(slot)
    this.#size++
    return slot
  }

  second(slot: number): number {
    return this.#seconds[slot] as number
  }

  partition(slot: number): number {
    return this.#partitions[slot] as number
  }

  offset(slot: number): number {
    return this.#offsets[slot] as number
  }

  digest(slot: number): IdDigest {
    const at = slot * words
    const digests = this.#digests
    return [
      digests[at] as number,
      digests[at + 1] as number,
      digests[at + 2] as number,
      digests[at + 3] as number,
    ]
  }

  /** The next slot of the list; -1: none. */
  next(slot: number): number {
    return this.#nexts[slot] as number
  }

  place(slot: number, partition: number, offset: number): void {
    this.#partitions[slot] = partition
    this.#offsets[slot] = offset
  }

  /** Hides the id from `find`. The slot stays in its list, with this offset. */
  hide(slot: number, offset: number): void {
    this.#offsets[slot] = offset
    const index = this.#index
    const mask = index.length - 1
    let hole = this.#home(slot)
    while (index[hole] !== slot + 1) hole = (hole + 1) & mask
    for (let at = (hole + 1) & mask; index[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home((index[at] as number) - 1)
      // An entry may move into the hole if its home position is not after the hole.
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      index[hole] = index[at] as number
      hole = at
    }
    index[hole] = 0
    this.#size--
  }

  /** Frees a hidden slot. */
  free(slot: number): void {
    this.#nexts[slot] = this.#free
    this.#free = slot
  }

  #is(slot: number, digest: IdDigest): boolean {
    const at = slot * words
    const digests = this.#digests
    return (
      digests[at] === digest[0] &&
      digests[at + 1] === digest[1] &&
      digests[at + 2] === digest[2] &&
      digests[at + 3] === digest[3]
    )
  }

  #home(slot: number): number {
    return (this.#digests[slot * words] as number) & (this.#index.length - 1)
  }

  #insert(slot: number): void {
    const index = this.#index
    const mask = index.length - 1
    let at = this.#home(slot)
    while (index[at] !== 0) at = (at + 1) & mask
    index[at] = slot + 1
  }

  #take(): number {
    const slot = this.#free
    if (slot >= 0) {
      this.#free = this.#nexts[slot] as number
      return slot
    }
    if (this.#used === this.#seconds.length) this.#grow()
    return this.#used++
  }

  #grow(): void {
    const capacity = this.#seconds.length * 2
    this.#digests = grown(this.#digests, new Uint32Array(capacity * words))
    this.#seconds = grown(this.#seconds, new Uint32Array(capacity))
    this.#partitions = grown(this.#partitions, new Uint32Array(capacity))
    this.#offsets = grown(this.#offsets, new Float64Array(capacity))
    this.#nexts = grown(this.#nexts, new Int32Array(capacity))
    const slots = this.#index.filter((entry) => entry !== 0)
    this.#index = new Int32Array(capacity * 2)
    for (const entry of slots) this.#insert(entry - 1)
  }
}

function grown<T extends Uint32Array | Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from)
  return to
}

/** Four characters of one byte each. */
function wordOf(text: string, at: number): number {
  return (
    ((text.charCodeAt(at) << 24) |
      (text.charCodeAt(at + 1) << 16) |
      (text.charCodeAt(at + 2) << 8) |
      text.charCodeAt(at + 3)) >>>
    0
  )
}
