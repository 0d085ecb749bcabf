import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  batchHeaderBytes,
  checkBatch,
  compressionNumbers,
  isMillraceError,
  limits,
  type MillraceError,
  type RecordCursor,
  readBatchHeader,
  readRecordHeaders,
  splitBatches,
} from '../../protocol/index.js'
import type { LogReadResult, PartitionLog } from '../../storage/index.js'
import { OpenBatch, OpenBatches } from './open_batches.js'

/** Limit of one read. */
const readBytesMax = 256 * 1024
/**
 * After this number of decompressed bytes, the remaining batches of a read are left for the next one: 256 KiB of
 * compressed batches can need gigabytes of memory and seconds of the event loop.
 */
const unpackedBytesMax = 4 * 1024 * 1024
/** Limit of the records of one read: a batch of 4 KB can have a million of them, and each becomes an object. */
export const readRecordsMax = 2_000

const openBatchesOf = new WeakMap<RecordReader, OpenBatches>()

/** A record in its batch. */
export interface StoredRecord {
  /** Base of its timestamp. */
  readonly firstTimestamp: number
  readonly bytes: Uint8Array
}

/** A record of a log, with the fields that queue groups use. */
export interface ReadRecord extends StoredRecord {
  readonly offset: number
  readonly timestamp: number
  readonly key: Uint8Array | undefined
  readonly value: Uint8Array | undefined
  readonly headers: Readonly<Record<string, Uint8Array>> | undefined
}

export interface RecordsRead {
  readonly records: readonly ReadRecord[]
  /** Offset of the next read. */
  readonly nextOffset: number
  /**
   * Offsets before `nextOffset` that cannot be read, [first, end): retention dropped them, or the storage is damaged.
   */
  readonly lost?: readonly [first: number, end: number]
  /** A batch before `nextOffset` that cannot be opened. */
  readonly unreadable?: UnreadableBatch
}

/** Messages of a malformed batch: its publisher wrote it wrongly, and the stored bytes are unchanged. */
export interface UnreadableBatch {
  readonly first: number
  /** Offset after the last message. */
  readonly end: number
  /** Latest timestamp, according to the header. */
  readonly timestamp: number
  readonly problem: string
}

/** The functions of the shard that reading uses. */
export interface RecordReader {
  readTail(read: { log: PartitionLog; offset: number; bytesMax: number }): LogReadResult | undefined
  read(
    reads: readonly { log: PartitionLog; offset: number; bytesMax: number }[],
  ): Promise<readonly LogReadResult[]>
}

/** The records of a read. */
interface Wanted {
  /** First offset. */
  readonly offset: number
  /** Offset after the last one. */
  readonly end: number
  readonly recordsMax: number
  /** If set, other offsets are skipped. */
  readonly only?: ReadonlySet<number>
}

/**
 * Reads some records from `offset` on; none at the end of the log. `nextOffset` can be inside a batch. Skips dropped and
 * damaged offsets, and returns them.
 * @param recordsMax at least 1, at most `readRecordsMax`
 * @throws MillraceError STORAGE_FAILED
 */
export function readSome(
  reader: RecordReader,
  log: PartitionLog,
  offset: number,
  recordsMax: number = readRecordsMax,
): Promise<RecordsRead> {
  return read(reader, log, { offset, end: Number.POSITIVE_INFINITY, recordsMax })
}

/** Reads these records, in ascending order; the result omits unreadable ones. @throws MillraceError STORAGE_FAILED */
export async function readEach(
  reader: RecordReader,
  log: PartitionLog,
  offsets: readonly number[],
): Promise<Map<number, ReadRecord>> {
  const only = new Set(offsets)
  const end = (offsets.at(-1) ?? -1) + 1
  const found = new Map<number, ReadRecord>()
  let from = 0
  for (const offset of offsets) {
    if (offset < from) continue
    const wanted = { offset, end, recordsMax: readRecordsMax, only }
    const { records, nextOffset } = await read(reader, log, wanted)
    for (const record of records) found.set(record.offset, record)
    from = nextOffset
  }
  return found
}

async function read(reader: RecordReader, log: PartitionLog, wanted: Wanted): Promise<RecordsRead> {
  const { offset } = wanted
  if (offset >= log.endOffset) return { records: [], nextOffset: offset }
  const batches = openBatchesOf.get(reader)
  const batch = batches?.find(log, offset)
  if (batch !== undefined && offset >= log.startOffset) {
    // A caller in a loop must leave time for other work: this read waits for nothing else.
    await nextTurn()
    const part = readOpen(batch, wanted)
    if (part.nextOffset === batch.end) batches?.drop(batch)
    return part
  }
  const logRead = { log, offset, bytesMax: readBytesMax }
  const result = reader.readTail(logRead) ?? ((await reader.read([logRead]))[0] as LogReadResult)
  if (result.error !== undefined) return passedOver(log, offset, result.error, result.damaged?.to)
  try {
    return decode(result, wanted, (batch) => keepOpen(reader, log, batch))
  } finally {
    for (const memory of result.memory ?? []) memory.release()
  }
}

function keepOpen(reader: RecordReader, log: PartitionLog, batch: OpenBatch): void {
  let batches = openBatchesOf.get(reader)
  if (batches === undefined) {
    batches = new OpenBatches()
    openBatchesOf.set(reader, batches)
  }
  batches.keep(log, batch)
}

function passedOver(
  log: PartitionLog,
  offset: number,
  error: MillraceError,
  damagedTo: number | undefined,
): RecordsRead {
  if (error.code === 'OFFSET_OUT_OF_RANGE' && offset < log.startOffset)
    return { records: [], nextOffset: log.startOffset, lost: [offset, log.startOffset] }
  // The topic was deleted during the read: nobody waits for its messages.
  if (log.dropped) return { records: [], nextOffset: log.endOffset, lost: [offset, log.endOffset] }
  if (error.code === 'CORRUPT' && damagedTo !== undefined && damagedTo > offset)
    return { records: [], nextOffset: damagedTo, lost: [offset, damagedTo] }
  throw error
}

/**
 * The memory of the chunks is reused, so records to keep are copied.
 * @param keep receives a large batch that was read only in part
 */
function decode(
  { chunks, memory }: LogReadResult,
  wanted: Wanted,
  keep: (batch: OpenBatch) => void,
): RecordsRead {
  const { offset, recordsMax } = wanted
  const isShared = (memory?.length ?? 0) > 0
  const records: ReadRecord[] = []
  let nextOffset = offset
  let unpackedBytes = 0
  for (const chunk of chunks) {
    for (const batch of splitBatches(isShared ? Buffer.from(chunk) : chunk)) {
      const { baseOffset, recordCount, recordsBytes, lastTimestamp } = readBatchHeader(batch)
      if (baseOffset >= wanted.end) return { records, nextOffset }
      const end = baseOffset + recordCount
      unpackedBytes += Math.max(recordsBytes, batch.length - batchHeaderBytes)
      if (unpackedBytes > unpackedBytesMax && nextOffset > offset) return { records, nextOffset }
      // Leave a batch whole for the next read, if its records may be too many for this one.
      if (records.length > 0 && records.length + recordCount > recordsMax) return { records, nextOffset }
      const found = recordsOf(batch, wanted)
      if (found.records !== undefined) {
        for (const record of found.records) records.push(record)
        nextOffset = found.nextOffset
        if (nextOffset === end) continue
        if (recordCount > readRecordsMax) keep(found.batch)
        return { records, nextOffset }
      }
      // Return the batch in a separate result, so that the records before it are not lost with it.
      if (records.length > 0) return { records, nextOffset }
      const first = Math.max(baseOffset, offset)
      if (isDamaged(batch)) return { records, nextOffset: end, lost: [first, end] }
      const { problem } = found
      return { records, nextOffset: end, unreadable: { first, end, timestamp: lastTimestamp, problem } }
    }
  }
  return { records, nextOffset }
}

type Found =
  | (RecordsRead & { readonly batch: OpenBatch })
  /** The broker does not open compressed batches before it stores them. */
  | { readonly records?: undefined; readonly problem: string }

/**
 * Reads the wanted records of a batch. It walks a compressed batch to its end, so that the batch is unreadable as a whole
 * or not at all, also if its records are read in parts. Admission has checked the records of an uncompressed one.
 */
function recordsOf(bytes: Uint8Array, wanted: Wanted): Found {
  const records: ReadRecord[] = []
  try {
    const batch = new OpenBatch(bytes)
    const { cursor } = batch
    let nextOffset = batch.end
    const isChecked = cursor.header.compression === compressionNumbers.none
    while (batch.next()) {
      const { offset } = cursor
      if (offset < wanted.offset || offset >= nextOffset) continue
      if (isOver(wanted, offset, records.length)) {
        nextOffset = offset
        if (isChecked) break
      } else if (isWanted(wanted, offset)) records.push(recordAt(cursor))
    }
    return { records, nextOffset, batch }
  } catch (error) {
    if (isMillraceError(error, 'BAD_BATCH', 'BATCH_TOO_LARGE')) return { problem: error.message }
    throw error
  }
}

/** Reads a part of a batch that is open. */
function readOpen(batch: OpenBatch, wanted: Wanted): RecordsRead {
  const records: ReadRecord[] = []
  const { cursor } = batch
  batch.moveBefore(wanted.offset)
  while (batch.next()) {
    const { offset } = cursor
    if (isOver(wanted, offset, records.length)) return { records, nextOffset: offset }
    if (isWanted(wanted, offset)) records.push(recordAt(cursor))
  }
  return { records, nextOffset: batch.end }
}

function isOver({ end, recordsMax }: Wanted, offset: number, count: number): boolean {
  return offset >= end || count >= recordsMax
}

function isWanted({ only }: Wanted, offset: number): boolean {
  return only === undefined || only.has(offset)
}

/** Whether the bytes of a batch differ from the bytes that its publisher wrote. */
function isDamaged(batch: Uint8Array): boolean {
  try {
    checkBatch(batch, limits.batchRecordsBytesMax)
    return false
  } catch (error) {
    if (isMillraceError(error, 'BAD_BATCH', 'BATCH_TOO_LARGE')) return true
    throw error
  }
}

function recordAt(cursor: RecordCursor): ReadRecord {
  const { records, keyStart, valueStart, headerCount } = cursor
  return {
    offset: cursor.offset,
    timestamp: cursor.timestamp,
    firstTimestamp: cursor.header.firstTimestamp,
    bytes: records.subarray(cursor.recordStart, cursor.recordEnd),
    key: keyStart < 0 ? undefined : records.subarray(keyStart, cursor.keyEnd),
    value: valueStart < 0 ? undefined : records.subarray(valueStart, cursor.valueEnd),
    headers: headerCount === 0 ? undefined : readRecordHeaders(records, cursor.headersStart, headerCount),
  }
}
