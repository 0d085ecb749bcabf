/** Reads LevelDB's encoding of numbers and byte strings from front to back (util/coding.h). */
export class Cursor {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.at = at
  }

  get atEnd(): boolean {
    return this.at >= this.#bytes.length
  }

  /** @throws RangeError if there is no number below 2^53 */
  varint(): number {
    let value = 0
    for (let factor = 1; factor < 2 ** 53; factor *= 128) {
      const byte = this.u8()
      value += (byte & 0x7f) * factor
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break
        return value
      }
    }
    throw new RangeError('a number is too large')
  }

  /** @throws RangeError */
  u8(): number {
    return this.#bytes.readUInt8(this.at++)
  }

  /** @throws RangeError */
  take(length: number): Buffer {
    if (length > this.#bytes.length - this.at) throw new RangeError('it is incomplete')
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }

  /** A length and as many bytes. @throws RangeError */
  bytes(): Buffer {
    return this.take(this.varint())
  }
}

export function encodeVarint(value: number): Buffer {
  const bytes: number[] = []
  let left = value
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) + 128)
  bytes.push(left)
  return Buffer.from(bytes)
}
