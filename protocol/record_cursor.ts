import { type BatchHeader, batchHeaderBytes, checkBatch } from './batch_header.js'
import { decompress } from './compression.js'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'
import { unzigzag } from './varint.js'

/**
 * Walks the records of one batch without an object for each. After `next()` returned true the fields give
 * the positions of the parts of the current record in `records`. The cursor checks every length against the available
 * bytes.
 */
export class RecordCursor {
  readonly header: BatchHeader
  /** The decompressed records; views into it stay valid after the cursor has moved on. */
  readonly records: Uint8Array
  /** Index of the current record in its batch, -1 before the first `next()`. */
  index = -1
  timestamp = 0
  /** -1 without a key. */
  keyStart = -1
  keyEnd = -1
  /** -1 without a value. */
  valueStart = -1
  valueEnd = -1
  headerCount = 0
  headersStart = 0
  /** Start of the current record. */
  recordStart = 0
  /** Start of the record after its timestamp: see `RecordBody`. */
  bodyStart = 0
  #at = 0
  readonly #memory: ArrayBufferLike
  readonly #memoryFrom: number

  /**
   * @param batch exactly one batch; its checksum is verified
   * @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE
   */
  constructor(batch: Uint8Array, batchBytesMax: number = limits.frameBytesMax) {
    this.header = checkBatch(batch, batchBytesMax)
    this.records = decompress(
      this.header.compression,
      batch.subarray(batchHeaderBytes),
      this.header.recordsBytes,
    )
    this.#memory = this.records.buffer
    this.#memoryFrom = this.records.byteOffset
  }

  /** Returns a view of `records`. It runs for every message, and in Node 20 it is twice as fast as `subarray`. */
  view(start: number, end: number): Uint8Array {
    return new Uint8Array(this.#memory, this.#memoryFrom + start, end - start)
  }

  /** End of the body of the current record. */
  get bodyEnd(): number {
    return this.#at
  }

  /** Offset of the current record. */
  get offset(): number {
    return this.header.baseOffset + this.index
  }

  /** End of the current record. */
  get recordEnd(): number {
    return this.#at
  }

  /**
   * Moves to the next record; false after the last.
   * @throws MillraceError BAD_BATCH
   */
  next(): boolean {
    const { recordCount } = this.header
    if (this.index + 1 >= recordCount) return false
    this.index++
    this.recordStart = this.#at
    this.timestamp = this.header.firstTimestamp + unzigzag(this.#varint())
    this.bodyStart = this.#at
    const keyLength = this.#varint() - 1
    this.keyStart = keyLength < 0 ? -1 : this.#at
    this.keyEnd = keyLength < 0 ? -1 : this.#skip(keyLength)
    const valueLength = this.#varint() - 1
    this.valueStart = valueLength < 0 ? -1 : this.#at
    this.valueEnd = valueLength < 0 ? -1 : this.#skip(valueLength)
    this.headerCount = this.#varint()
    this.headersStart = this.#at
    if (this.headerCount > 0) this.#skipHeaders()
    // With the last record, not after it: a reader that counts does not ask for more.
    if (this.index + 1 === recordCount && this.#at !== this.records.length) throw this.#tooLong()
    return true
  }

  /**
   * Moves before a record that the cursor has read already: `next()` reads it again.
   * @param index index of the record in its batch
   * @param recordStart its `recordStart`
   */
  seek(index: number, recordStart: number): void {
    this.index = index - 1
    this.#at = recordStart
  }

  #skipHeaders(): void {
    if (this.headerCount > limits.recordHeadersMax) {
      throw this.#bad(
        `record ${this.index} has ${this.headerCount} headers, expected at most ${limits.recordHeadersMax}`,
      )
    }
    for (let i = 0; i < this.headerCount * 2; i++) this.#skip(this.#varint())
  }

  #skip(length: number): number {
    this.#at += length
    if (this.#at > this.records.length) throw this.#pastEnd()
    return this.#at
  }

  /**
   * Most varints have one byte. The rare case is a separate function, so that this one is small enough for inlining.
   */
  #varint(): number {
    const first = this.records[this.#at]
    if (first === undefined || first >= 0x80) return this.#longVarint()
    this.#at++
    return first
  }

  #longVarint(): number {
    const records = this.records
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const byte = records[this.#at++]
      if (byte === undefined) throw this.#pastEnd()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break
        return value
      }
      scale *= 0x80
    }
    throw this.#bad(`a number of record ${this.index} is too large, expected less than 2^53`)
  }

  #tooLong(): MillraceError {
    return this.#bad(
      `${this.records.length - this.#at} bytes follow the last of ${this.header.recordCount} records`,
    )
  }

  #pastEnd(): MillraceError {
    return this.#bad(`record ${this.index} continues past the end of the batch`)
  }

  #bad(problem: string): MillraceError {
    return new MillraceError(
      'BAD_BATCH',
      `the record batch at offset ${this.header.baseOffset} is malformed: ${problem}`,
    )
  }
}

/** Reads the headers of a record from the position and count of a cursor. A repeated name keeps its last value. */
export function readRecordHeaders(
  records: Uint8Array,
  start: number,
  count: number,
): Record<string, Uint8Array> {
  const headers: Record<string, Uint8Array> = Object.create(null) as Record<string, Uint8Array>
  let at = start
  for (let i = 0; i < count; i++) {
    const name = Buffer.from(part()).toString('utf8')
    headers[name] = part()
  }
  return headers

  function part(): Uint8Array {
    let length = 0
    let scale = 1
    for (;;) {
      const byte = records[at++] as number
      length += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 0x80
    }
    at += length
    return records.subarray(at - length, at)
  }
}
