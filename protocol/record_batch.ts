import { type BatchHeader, batchHeaderBytes, checkBatch, writeBatchHeader } from './batch_header.js'
import { type Compression, compress, compressionNumbers } from './compression.js'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'
import { RecordCursor } from './record_cursor.js'
import { writeVarint, zigzag } from './varint.js'

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
  /** Text is encoded as UTF-8. */
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

/** The producer fields of a batch without an idempotent producer. */
export const noProducer: ProducerStamp = { producerId: 0, producerEpoch: 0, baseSequence: 0 }
const compressionAt = 17

/**
 * Joins encoded records, without base offset and producer.
 * @param firstTimestamp first timestamp of their batch, the base of their timestamp deltas
 * @param lastTimestamp their largest timestamp
 */
export function batchOfRecords(
  records: readonly Uint8Array[],
  firstTimestamp: number,
  lastTimestamp: number,
  compression: Compression = 'none',
): Buffer {
  let recordsBytes = 0
  for (const { length } of records) recordsBytes += length
  let batch = Buffer.allocUnsafe(batchHeaderBytes + recordsBytes)
  let at = batchHeaderBytes
  for (const record of records) {
    batch.set(record, at)
    at += record.length
  }
  if (compression !== 'none') {
    const packed = compress(compression, batch.subarray(batchHeaderBytes))
    batch = Buffer.concat([batch.subarray(0, batchHeaderBytes), packed])
  }
  writeBatchHeader(batch, {
    baseOffset: 0,
    compression: compressionNumbers[compression],
    recordCount: records.length,
    firstTimestamp,
    lastTimestamp: Math.max(firstTimestamp, lastTimestamp),
    recordsBytes,
    ...noProducer,
  })
  return batch
}

/** An encoded record without its timestamp, so that it can go into another batch with another time. */
export interface RecordBody {
  /** The bytes from `bodyStart` to `bodyEnd` of a cursor. */
  readonly body: Uint8Array
  /** ms since 1970. */
  readonly timestamp: number
}

/** Seals records from other batches into one batch, without compression and producer. */
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
 * Checks a batch as the broker does before it stores it: header and checksum, and for an uncompressed batch the number
 * and lengths of its records. It does not open a compressed batch: readers do that.
 * @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE
 */
export function checkBatchForStorage(
  batch: Uint8Array,
  batchBytesMax: number = limits.batchBytesMax,
): BatchHeader {
  if (batch[compressionAt] !== compressionNumbers.none) return checkBatch(batch, batchBytesMax)
  const cursor = new RecordCursor(batch, batchBytesMax)
  const { lastTimestamp } = cursor.header
  while (cursor.next())
    if (cursor.timestamp > lastTimestamp || cursor.timestamp < 0) throw badTimestamp(cursor)
  return cursor.header
}

function badTimestamp({ index, timestamp, header }: RecordCursor): MillraceError {
  return new MillraceError(
    'BAD_BATCH',
    `the record batch is malformed: record ${index} has timestamp ${timestamp}, expected 0 to the lastTimestamp of the batch, ${header.lastTimestamp}`,
  )
}

/** Splits consecutive whole batches, as in the reply to `fetch`, into single batches. */
export function splitBatches(run: Uint8Array): Uint8Array[] {
  const batches: Uint8Array[] = []
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  let at = 0
  while (at < run.length) {
    const bytes = at + batchHeaderBytes <= run.length ? view.getUint32(at, true) : 0
    if (bytes <= batchHeaderBytes || at + bytes > run.length) {
      throw new MillraceError(
        'BAD_BATCH',
        `a sequence of record batches is incomplete at byte ${at} of ${run.length}`,
      )
    }
    batches.push(run.subarray(at, at + bytes))
    at += bytes
  }
  return batches
}
