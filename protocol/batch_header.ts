import { crc32 } from 'node:zlib'
import { bytesText } from './amount_text.js'
import { MillraceError } from './errors.js'
import { limits } from './limits.js'

/**
 * The header of a record batch, little-endian. These numbers are part of the wire and disk formats, and never change.
 *
 *     0  u32  batchBytes      size of the batch, this header included
 *     4  u32  checksum        CRC-32 (IEEE 802.3, as in zlib) of bytes 16 to the end
 *     8  u64  baseOffset      offset of the first record; written by the broker, hence outside the checksum
 *    16  u8   version         1
 *    17  u8   compression     codec of the records, see compression.ts
 *    18  u16  flags           0
 *    20  u32  recordCount     at least 1
 *    24  u64  firstTimestamp  ms since 1970 of the first record
 *    32  u64  lastTimestamp   ms since 1970, the largest of the batch
 *    40  u64  producerId      0: not idempotent
 *    48  u32  producerEpoch
 *    52  u32  baseSequence    sequence of the first record within the partition, modulo 2^32
 *    56  u32  recordsBytes    size of the records once decompressed
 *    60  u32  reserved        0
 *    64       records         see record_batch.ts
 *
 * u64 fields hold safe integers (below 2^53).
 */
export const batchHeaderBytes = 64
export const batchVersion = 1
/** First byte that the checksum of a batch covers; the last one is the end of the batch. */
export const batchChecksumFrom = 16

export interface BatchHeader {
  readonly batchBytes: number
  readonly checksum: number
  readonly baseOffset: number
  readonly version: number
  readonly compression: number
  readonly flags: number
  readonly recordCount: number
  readonly firstTimestamp: number
  readonly lastTimestamp: number
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly recordsBytes: number
}

/** Reads the header at `at`, which must have 64 bytes after it. Checks nothing: see `checkBatch`. */
export function readBatchHeader(bytes: Uint8Array, at = 0): BatchHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, batchHeaderBytes)
  return {
    batchBytes: view.getUint32(0, true),
    checksum: view.getUint32(4, true),
    baseOffset: readU64(view, 8),
    version: view.getUint8(16),
    compression: view.getUint8(17),
    flags: view.getUint16(18, true),
    recordCount: view.getUint32(20, true),
    firstTimestamp: readU64(view, 24),
    lastTimestamp: readU64(view, 32),
    producerId: readU64(view, 40),
    producerEpoch: view.getUint32(48, true),
    baseSequence: view.getUint32(52, true),
    recordsBytes: view.getUint32(56, true),
  }
}

/** The fields that the writer of a batch chooses; sizes and checksum follow from the bytes. */
export type BatchHeaderFields = Omit<BatchHeader, 'batchBytes' | 'checksum' | 'version' | 'flags'>

/** Writes the header of a batch whose records are already at byte 64, then seals it with its checksum. */
export function writeBatchHeader(batch: Uint8Array, fields: BatchHeaderFields): void {
  const view = new DataView(batch.buffer, batch.byteOffset, batchHeaderBytes)
  view.setUint32(0, batch.length, true)
  writeU64(view, 8, fields.baseOffset)
  view.setUint8(16, batchVersion)
  view.setUint8(17, fields.compression)
  view.setUint16(18, 0, true)
  view.setUint32(20, fields.recordCount, true)
  writeU64(view, 24, fields.firstTimestamp)
  writeU64(view, 32, fields.lastTimestamp)
  writeU64(view, 40, fields.producerId)
  view.setUint32(48, fields.producerEpoch, true)
  view.setUint32(52, fields.baseSequence, true)
  view.setUint32(56, fields.recordsBytes, true)
  view.setUint32(60, 0, true)
  view.setUint32(4, batchChecksum(batch), true)
}

/** Sets the offset that the broker assigns to the first record; the checksum stays valid. */
export function stampBaseOffset(batch: Uint8Array, at: number, offset: number): void {
  writeU64(new DataView(batch.buffer, batch.byteOffset + at, batchHeaderBytes), 8, offset)
}

/** Returns the checksum in the header of the batch at `at`. */
export function readBatchChecksum(bytes: Uint8Array, at = 0): number {
  return new DataView(bytes.buffer, bytes.byteOffset + at, batchHeaderBytes).getUint32(4, true)
}

/** Computes the CRC-32 of the bytes that the checksum of a batch covers. */
export function batchChecksum(batch: Uint8Array): number {
  return crc32(batch.subarray(batchChecksumFrom))
}

/**
 * Checks a batch as far as possible without its records, and returns its header.
 * @param bytes exactly one batch
 * @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE
 */
export function checkBatch(bytes: Uint8Array, batchBytesMax: number = limits.batchBytesMax): BatchHeader {
  if (bytes.length <= batchHeaderBytes) {
    throw badBatch(`it has ${bytes.length} bytes, expected more than ${batchHeaderBytes}`)
  }
  if (bytes.length > batchBytesMax) {
    throw new MillraceError(
      'BATCH_TOO_LARGE',
      `the record batch has ${bytesText(bytes.length)}, expected at most ${bytesText(batchBytesMax)}`,
    )
  }
  const header = readBatchHeader(bytes)
  const problem = headerProblem(header, bytes.length)
  if (problem !== undefined) throw badBatch(problem)
  const checksum = batchChecksum(bytes)
  if (checksum !== header.checksum) {
    throw badBatch(
      `its checksum field is ${hex(header.checksum)}, the checksum of its bytes is ${hex(checksum)}`,
    )
  }
  return header
}

function headerProblem(header: BatchHeader, length: number): string | undefined {
  if (header.batchBytes !== length)
    return `its batchBytes field is ${header.batchBytes}, but it has ${length} bytes`
  if (header.version !== batchVersion) return `version ${header.version} is unknown, expected ${batchVersion}`
  if (header.flags !== 0) return `flags ${hex(header.flags)} are unknown, expected 0`
  if (header.recordCount < 1 || header.recordCount > limits.batchRecordsMax) {
    return `its recordCount field is ${header.recordCount}, expected 1 to ${limits.batchRecordsMax}`
  }
  if (header.recordsBytes > limits.batchRecordsBytesMax) {
    return `its recordsBytes field is ${bytesText(header.recordsBytes)}, expected at most ${bytesText(limits.batchRecordsBytesMax)}`
  }
  if (header.compression === 0 && header.recordsBytes !== length - batchHeaderBytes) {
    return `its recordsBytes field is ${header.recordsBytes}, but its records have ${length - batchHeaderBytes} bytes`
  }
  for (const name of ['firstTimestamp', 'lastTimestamp', 'producerId', 'baseOffset'] as const) {
    if (!Number.isSafeInteger(header[name])) return `its ${name} field is too large, expected less than 2^53`
  }
  if (header.lastTimestamp < header.firstTimestamp) return 'its lastTimestamp is before its firstTimestamp'
  return undefined
}

function badBatch(problem: string): MillraceError {
  return new MillraceError('BAD_BATCH', `the record batch is malformed: ${problem}`)
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}

function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true)
}

function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true)
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
}
