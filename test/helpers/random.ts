/**
 * A seeded generator (sfc32): the same seed gives the same numbers on every machine. Not for secrets.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  /** @param seed 32-bit unsigned integer */
  constructor(readonly seed: number) {
    this.#a = seed >>> 0
    this.#b = 0x9e3779b9
    this.#c = 0x243f6a88
    for (let i = 0; i < 15; i++) this.uint32()
  }

  /** A number from 0 to 2^32 - 1. */
  uint32(): number {
    const result = (this.#a + this.#b + this.#counter) >>> 0
    this.#counter = (this.#counter + 1) >>> 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) >>> 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) >>> 0
    return result
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.float() * (max - min + 1))
  }

  /** A number from 0 up to but not including 1. */
  float(): number {
    return this.uint32() / 2 ** 32
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.float() < probability
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error('there is nothing to pick from')
    return items[this.int(0, items.length - 1)] as T
  }

  /** Random bytes, which no codec can compress. */
  bytes(lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes)
    for (let i = 0; i < lengthBytes; i++) bytes[i] = this.uint32() >>> 24
    return bytes
  }

  /** The items in another order, as a new array. */
  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items]
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.int(0, i)
      const moved = result[i] as T
      result[i] = result[j] as T
      result[j] = moved
    }
    return result
  }
}

/** A seed for a run that differs from the last one; the environment variable MILLRACE_TEST_SEED repeats one. */
export function freshSeed(): number {
  const wanted = process.env.MILLRACE_TEST_SEED
  return wanted === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(wanted) >>> 0
}
