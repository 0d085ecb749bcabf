import { type BatchHeader, batchHeaderBytes, checkBatch, writeBatchHeader } from './batch_header.js'
import { type Compression, compress, compressionNumbers, decompress } from './compression.js'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'
import { unzigzag, writeVarint, zigzag } from './varint.js'

/**
 * The records of a batch, one after the other. Lengths are varints (varint.ts), all bytes below are of one record:
 *
 *     timestampDelta   zigzag varint, ms after the batch's firstTimestamp
 *     keyLength + 1    varint, 0: no key        then the key
 *     valueLength + 1  varint, 0: no value      then the value
 *     headerCount      varint                   then for each header:
 *         nameLength   varint                   then the name, UTF-8
 *         valueLength  varint                   then the value
 *
 * The offset of a record is the batch's base offset plus its index.
 */
export interface RecordInput {
  /** Text is written as UTF-8. */
  readonly key?: Uint8Array | string | null | undefined
  readonly value: Uint8Array | string | null
  readonly headers?: Readonly<Record<string, Uint8Array | string>> | undefined
  /** ms since 1970. */
  readonly timestamp: number
}

export interface ProducerStamp {
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
}

const noProducer: ProducerStamp = { producerId: 0, producerEpoch: 0, baseSequence: 0 }
const compressionAt = 17
const perRecordBytesMax = 32
const initialBytes = 1024
/** Up to this length a loop over characters beats the call into native code. */
const shortText = 32

/** Collects records and turns them into one sealed batch. Written by hand since it runs for every message. */
export class RecordBatchBuilder {
  #buffer: Buffer
  #at = batchHeaderBytes
  #count = 0
  #firstTimestamp = 0
  #lastTimestamp = 0

  /** @param bytesHint what the batch will probably take; it grows when that is too little */
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
   * Adds a record and returns the bytes it took.
   * @throws MillraceError LIMIT_EXCEEDED when it has more than `recordHeadersMax` headers
   */
  append(record: RecordInput): number {
    const { key = null, value, headers, timestamp } = record
    const from = this.#at
    if (this.#count === 0) {
      this.#firstTimestamp = timestamp
      this.#lastTimestamp = timestamp
    } else if (timestamp > this.#lastTimestamp) {
      this.#lastTimestamp = timestamp
    }
    this.#reserve(perRecordBytesMax)
    this.#at = writeVarint(this.#buffer, this.#at, zigzag(timestamp - this.#firstTimestamp))
    this.#writeBytes(key, 1)
    this.#writeBytes(value, 1)
    if (headers === undefined) {
      this.#reserve(1)
      this.#buffer[this.#at++] = 0
    } else {
      this.#writeHeaders(headers, from)
    }
    this.#count++
    return this.#at - from
  }

  /**
   * Seals the batch; the builder must not be used after it. `baseOffset` is 0: the broker stamps it.
   * Compression that does not make the records smaller is left out.
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
      // A later record may be older than the first: the header's first timestamp stays what deltas are counted from.
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
        `a record has ${names.length} headers, at most ${limits.recordHeadersMax} are allowed`,
      )
    }
    this.#reserve(perRecordBytesMax)
    this.#at = writeVarint(this.#buffer, this.#at, names.length)
    for (const name of names) {
      this.#writeBytes(name, 0)
      this.#writeBytes(headers[name] as Uint8Array | string, 0)
    }
  }

  /** Length (plus `nullable` so that 0 can mean null) and bytes. */
  #writeBytes(bytes: Uint8Array | string | null, nullable: 0 | 1): void {
    if (bytes === null) {
      this.#reserve(1)
      this.#buffer[this.#at++] = 0
    } else if (typeof bytes === 'string') {
      this.#writeText(bytes, nullable)
    } else {
      this.#reserve(bytes.length + 8)
      const at = writeVarint(this.#buffer, this.#at, bytes.length + nullable)
      this.#buffer.set(bytes, at)
      this.#at = at + bytes.length
    }
  }

  #writeText(text: string, nullable: 0 | 1): void {
    if (text.length < shortText && this.#writeShortAscii(text, nullable)) return
    const bytes = Buffer.byteLength(text)
    this.#reserve(bytes + 8)
    const at = writeVarint(this.#buffer, this.#at, bytes + nullable)
    this.#at = at + this.#buffer.write(text, at, bytes, 'utf8')
  }

  #writeShortAscii(text: string, nullable: 0 | 1): boolean {
    this.#reserve(shortText + 1)
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

/**
 * Puts records together that are encoded already, uncompressed, without base offset and producer.
 * @param firstTimestamp of the batch that they are from: what their timestamps are counted from
 * @param lastTimestamp the largest of them
 */
export function batchOfRecords(
  records: readonly Uint8Array[],
  firstTimestamp: number,
  lastTimestamp: number,
): Buffer {
  let recordsBytes = 0
  for (const { length } of records) recordsBytes += length
  const batch = Buffer.allocUnsafe(batchHeaderBytes + recordsBytes)
  let at = batchHeaderBytes
  for (const record of records) {
    batch.set(record, at)
    at += record.length
  }
  writeBatchHeader(batch, {
    baseOffset: 0,
    compression: compressionNumbers.none,
    recordCount: records.length,
    firstTimestamp,
    lastTimestamp: Math.max(firstTimestamp, lastTimestamp),
    recordsBytes,
    ...noProducer,
  })
  return batch
}

/** Bytes that a record takes in a batch at most, for checks before it is encoded. */
export function recordBytesBound(keyBytes: number, valueBytes: number, headersBytes: number): number {
  return keyBytes + valueBytes + headersBytes + perRecordBytesMax
}

/**
 * Walks the records of one batch without building an object for each: after `next()` returned true the fields tell
 * where the current record's parts are inside `records`. Every length is checked against what is there.
 */
export class RecordCursor {
  readonly header: BatchHeader
  /** The decompressed records; views into it stay valid after the cursor has moved on. */
  readonly records: Uint8Array
  /** Index of the current record in its batch, -1 before the first `next()`. */
  index = -1
  timestamp = 0
  /** -1 where there is no key. */
  keyStart = -1
  keyEnd = -1
  /** -1 where there is no value. */
  valueStart = -1
  valueEnd = -1
  headerCount = 0
  headersStart = 0
  /** Where the whole current record begins. */
  recordStart = 0
  /** Where the record begins behind its timestamp: see `RecordBody`. */
  bodyStart = 0
  #at = 0

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
  }

  /** Where the current record ends. */
  get bodyEnd(): number {
    return this.#at
  }

  /** Offset of the current record. */
  get offset(): number {
    return this.header.baseOffset + this.index
  }

  /** Where the whole current record ends. */
  get recordEnd(): number {
    return this.#at
  }

  /**
   * Moves to the next record; false after the last.
   * @throws MillraceError BAD_BATCH
   */
  next(): boolean {
    if (this.index + 1 >= this.header.recordCount) {
      if (this.#at !== this.records.length) {
        throw this.#bad(
          `${this.records.length - this.#at} bytes follow the last of ${this.header.recordCount} records`,
        )
      }
      return false
    }
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
    return true
  }

  #skipHeaders(): void {
    if (this.headerCount > limits.recordHeadersMax) {
      throw this.#bad(
        `record ${this.index} has ${this.headerCount} headers, at most ${limits.recordHeadersMax} are allowed`,
      )
    }
    for (let i = 0; i < this.headerCount * 2; i++) this.#skip(this.#varint())
  }

  #skip(length: number): number {
    this.#at += length
    if (this.#at > this.records.length) throw this.#bad(`record ${this.index} reaches past the end`)
    return this.#at
  }

  #varint(): number {
    const records = this.records
    const first = records[this.#at]
    if (first !== undefined && first < 0x80) {
      this.#at++
      return first
    }
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const byte = records[this.#at++]
      if (byte === undefined) throw this.#bad(`record ${this.index} reaches past the end`)
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break
        return value
      }
      scale *= 0x80
    }
    throw this.#bad(`record ${this.index} has a number that is not below 2^53`)
  }

  #bad(problem: string): MillraceError {
    return new MillraceError(
      'BAD_BATCH',
      `the record batch at offset ${this.header.baseOffset} is malformed: ${problem}`,
    )
  }
}

/** A record as it was encoded, less its timestamp: so it can be put into another batch, at another time. */
export interface RecordBody {
  /** From `bodyStart` to `bodyEnd` of a cursor. */
  readonly body: Uint8Array
  /** ms since 1970. */
  readonly timestamp: number
}

/** Seals records that were taken out of other batches into one batch, without compression and producer. */
export function sealBodies(records: readonly RecordBody[]): Uint8Array {
  const [first] = records
  if (first === undefined) throw new MillraceError('INTERNAL', 'a batch needs at least one record')
  let bytes = batchHeaderBytes
  let lastTimestamp = 0
  for (const { body, timestamp } of records) {
    bytes += body.length + 8
    if (timestamp > lastTimestamp) lastTimestamp = timestamp
  }
  const buffer = Buffer.allocUnsafe(bytes)
  let at = batchHeaderBytes
  for (const { body, timestamp } of records) {
    at = writeVarint(buffer, at, zigzag(timestamp - first.timestamp))
    buffer.set(body, at)
    at += body.length
  }
  const batch = buffer.subarray(0, at)
  writeBatchHeader(batch, {
    baseOffset: 0,
    compression: compressionNumbers.none,
    recordCount: records.length,
    firstTimestamp: first.timestamp,
    lastTimestamp,
    recordsBytes: at - batchHeaderBytes,
    ...noProducer,
  })
  return batch
}

/**
 * The headers of a record, from the position and count that a cursor gave. A name that comes twice keeps its last value.
 */
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

/**
 * Checks a batch as the broker does before it stores it: header and checksum, and, where it is not compressed, that the
 * records are as many and as long as the header says. A compressed batch is not opened: its reader finds out.
 * @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE
 */
export function checkBatchForStorage(
  batch: Uint8Array,
  batchBytesMax: number = limits.batchBytesMax,
): BatchHeader {
  if (batch[compressionAt] !== compressionNumbers.none) return checkBatch(batch, batchBytesMax)
  const cursor = new RecordCursor(batch, batchBytesMax)
  while (cursor.next());
  return cursor.header
}

/** Cuts a run of whole batches, as `fetch` answers carry them, into its batches. */
export function splitBatches(run: Uint8Array): Uint8Array[] {
  const batches: Uint8Array[] = []
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  let at = 0
  while (at < run.length) {
    const bytes = at + batchHeaderBytes <= run.length ? view.getUint32(at, true) : 0
    if (bytes <= batchHeaderBytes || at + bytes > run.length) {
      throw new MillraceError(
        'BAD_BATCH',
        `a run of record batches is cut off at byte ${at} of ${run.length}`,
      )
    }
    batches.push(run.subarray(at, at + bytes))
    at += bytes
  }
  return batches
}
