import { batchHeaderBytes, writeBatchHeader } from './batch_header.js'
import { type Compression, compress, compressionNumbers } from './compression.js'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'
import { noProducer, type ProducerStamp, type RecordInput } from './record_batch.js'
import { writeVarint, zigzag } from './varint.js'

const initialBytes = 1024
/** Upper bound of the bytes of a record besides its key, value and headers. */
const perRecordBytesMax = 32
/** The same for a header. */
const perHeaderBytesMax = 16
/** Up to this length a loop over characters is faster than the call into native code. */
const shortText = 32
/** Below this length the builder assumes three bytes for each character and does not measure the text. */
const unmeasuredText = 128

/** Collects records and seals them into one batch. Hand-written code, because it runs for every message. */
export class RecordBatchBuilder {
  #buffer: Buffer
  #at = batchHeaderBytes
  #count = 0
  #firstTimestamp = 0
  #lastTimestamp = 0

  /** @param bytesHint expected size of the batch; the buffer grows if this is too little */
  constructor(bytesHint: number = initialBytes) {
    this.#buffer = Buffer.allocUnsafe(Math.max(bytesHint, initialBytes))
  }

  /** Records added so far. */
  get recordCount(): number {
    return this.#count
  }

  /** Bytes of the batch so far, header included, before compression. */
  get bytes(): number {
    return this.#at
  }

  /**
   * Adds a record and returns its size in bytes.
   * @param bytesMax the result of `recordBytesMax` for it
   * @throws MillraceError LIMIT_EXCEEDED if it has more than `recordHeadersMax` headers
   */
  append(record: RecordInput, bytesMax: number = recordBytesMax(record)): number {
    const { key = null, value, headers, timestamp } = record
    const from = this.#at
    if (this.#count === 0) {
      this.#firstTimestamp = timestamp
      this.#lastTimestamp = timestamp
    } else if (timestamp > this.#lastTimestamp) {
      this.#lastTimestamp = timestamp
    }
    this.#reserve(bytesMax)
    this.#at = writeVarint(this.#buffer, this.#at, zigzag(timestamp - this.#firstTimestamp))
    this.#writeBytes(key, 1)
    this.#writeBytes(value, 1)
    if (headers === undefined) this.#buffer[this.#at++] = 0
    else this.#writeHeaders(headers, from)
    const bytes = this.#at - from
    if (bytes > bytesMax) {
      this.#at = from
      throw new MillraceError('INTERNAL', `a record has ${bytes} bytes, expected at most ${bytesMax}`)
    }
    this.#count++
    return bytes
  }

  /**
   * Seals the batch; do not use the builder after it. `baseOffset` is 0: the broker sets it.
   * The batch stays uncompressed if compression does not make the records smaller.
   */
  finish(compression: Compression = 'none', producer: ProducerStamp = noProducer): Uint8Array {
    const recordsBytes = this.#at - batchHeaderBytes
    let batch: Buffer = this.#buffer.subarray(0, this.#at)
    let number: number = compressionNumbers.none
    if (compression !== 'none') {
      const packed = compress(compression, batch.subarray(batchHeaderBytes))
      if (packed.length < recordsBytes) {
        number = compressionNumbers[compression]
        batch = Buffer.allocUnsafe(batchHeaderBytes + packed.length)
        batch.set(packed, batchHeaderBytes)
      }
    }
    writeBatchHeader(batch, {
      baseOffset: 0,
      compression: number,
      recordCount: this.#count,
      // A later record may be older than the first: deltas always count from the first timestamp.
      firstTimestamp: this.#firstTimestamp,
      lastTimestamp: this.#lastTimestamp,
      recordsBytes,
      ...producer,
    })
    return batch
  }

  #writeHeaders(headers: Readonly<Record<string, Uint8Array | string>>, recordFrom: number): void {
    const names = Object.keys(headers)
    if (names.length > limits.recordHeadersMax) {
      this.#at = recordFrom
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `a record has ${names.length} headers, expected at most ${limits.recordHeadersMax}`,
      )
    }
    this.#at = writeVarint(this.#buffer, this.#at, names.length)
    for (const name of names) {
      this.#writeBytes(name, 0)
      this.#writeBytes(headers[name] as Uint8Array | string, 0)
    }
  }

  /** Writes the length (plus `nullable`, so that 0 can mean null) and the bytes. */
  #writeBytes(bytes: Uint8Array | string | null, nullable: 0 | 1): void {
    if (bytes === null) {
      this.#buffer[this.#at++] = 0
    } else if (typeof bytes === 'string') {
      this.#writeText(bytes, nullable)
    } else {
      const at = writeVarint(this.#buffer, this.#at, bytes.length + nullable)
      this.#buffer.set(bytes, at)
      this.#at = at + bytes.length
    }
  }

  #writeText(text: string, nullable: 0 | 1): void {
    if (text.length < shortText && this.#writeShortAscii(text, nullable)) return
    const bytes = Buffer.byteLength(text)
    const at = writeVarint(this.#buffer, this.#at, bytes + nullable)
    this.#at = at + this.#buffer.write(text, at, bytes, 'utf8')
  }

  #writeShortAscii(text: string, nullable: 0 | 1): boolean {
    const buffer = this.#buffer
    let at = this.#at
    buffer[at++] = text.length + nullable
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 0x7f) return false
      buffer[at++] = unit
    }
    this.#at = at
    return true
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes
    if (needed <= this.#buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    grown.set(this.#buffer.subarray(0, this.#at))
    this.#buffer = grown
  }
}

/** Returns an upper bound of the bytes of a record in a batch; cheap, because it runs for every message. */
export function recordBytesMax({ key, value, headers }: RecordInput): number {
  let bytes = perRecordBytesMax + partBytesMax(key ?? '') + partBytesMax(value ?? '')
  if (headers !== undefined) {
    for (const name in headers)
      bytes += perHeaderBytesMax + partBytesMax(name) + partBytesMax(headers[name] ?? '')
  }
  return bytes
}

function partBytesMax(part: Uint8Array | string): number {
  if (typeof part !== 'string') return part.length
  return part.length < unmeasuredText ? part.length * 3 : Buffer.byteLength(part)
}
