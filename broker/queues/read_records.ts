import {
  batchHeaderBytes,
  checkBatch,
  isMillraceError,
  limits,
  type MillraceError,
  RecordCursor,
  readBatchHeader,
  readRecordHeaders,
  splitBatches,
} from '../../protocol/index.js'
import type { LogReadResult, PartitionLog } from '../../storage/index.js'

/** Limit of one read. */
const readBytesMax = 256 * 1024
/**
 * After this number of decompressed bytes, the remaining batches of a read are left for the next one: 256 KiB of
 * compressed batches can need gigabytes of memory and seconds of the event loop.
 */
const unpackedBytesMax = 4 * 1024 * 1024

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

/** Messages of a batch that its publisher packed wrongly: the stored bytes are those of the publisher. */
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

/**
 * Reads some records from `offset` on; none at the end of the log. Skips dropped and damaged offsets, and returns them.
 * @throws MillraceError STORAGE_FAILED
 */
export async function readSome(
  reader: RecordReader,
  log: PartitionLog,
  offset: number,
): Promise<RecordsRead> {
  if (offset >= log.endOffset) return { records: [], nextOffset: offset }
  const read = { log, offset, bytesMax: readBytesMax }
  const result = reader.readTail(read) ?? ((await reader.read([read]))[0] as LogReadResult)
  if (result.error !== undefined) return passedOver(log, offset, result.error, result.damaged?.to)
  try {
    return decode(result, offset)
  } finally {
    for (const memory of result.memory ?? []) memory.release()
  }
}

/** Reads these records, in ascending order; the result omits unreadable ones. @throws MillraceError STORAGE_FAILED */
export async function readEach(
  reader: RecordReader,
  log: PartitionLog,
  offsets: readonly number[],
): Promise<Map<number, ReadRecord>> {
  const wanted = new Set(offsets)
  const found = new Map<number, ReadRecord>()
  let from = 0
  for (const offset of offsets) {
    if (offset < from) continue
    const { records, nextOffset } = await readSome(reader, log, offset)
    for (const record of records) if (wanted.has(record.offset)) found.set(record.offset, record)
    from = nextOffset
  }
  return found
}

function passedOver(
  log: PartitionLog,
  offset: number,
  error: MillraceError,
  damagedTo: number | undefined,
): RecordsRead {
  if (error.code === 'OFFSET_OUT_OF_RANGE' && offset < log.startOffset)
    return { records: [], nextOffset: log.startOffset, lost: [offset, log.startOffset] }
  if (error.code === 'CORRUPT' && damagedTo !== undefined && damagedTo > offset)
    return { records: [], nextOffset: damagedTo, lost: [offset, damagedTo] }
  throw error
}

/** The memory of the chunks is reused, so records to keep are copied. */
function decode({ chunks, memory }: LogReadResult, offset: number): RecordsRead {
  const isShared = (memory?.length ?? 0) > 0
  const records: ReadRecord[] = []
  let nextOffset = offset
  let unpackedBytes = 0
  for (const chunk of chunks) {
    for (const batch of splitBatches(isShared ? Buffer.from(chunk) : chunk)) {
      const { baseOffset, recordCount, recordsBytes, lastTimestamp } = readBatchHeader(batch)
      const end = baseOffset + recordCount
      unpackedBytes += Math.max(recordsBytes, batch.length - batchHeaderBytes)
      if (unpackedBytes > unpackedBytesMax && nextOffset > offset) return { records, nextOffset }
      const found = recordsOf(batch, offset)
      if (found.records !== undefined) {
        for (const record of found.records) records.push(record)
        nextOffset = end
        continue
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
  | { readonly records: readonly ReadRecord[] }
  /** The broker does not open compressed batches before it stores them. */
  | { readonly records?: undefined; readonly problem: string }

function recordsOf(batch: Uint8Array, fromOffset: number): Found {
  const records: ReadRecord[] = []
  try {
    const cursor = new RecordCursor(batch, limits.batchRecordsBytesMax)
    while (cursor.next()) if (cursor.offset >= fromOffset) records.push(recordAt(cursor))
    return { records }
  } catch (error) {
    if (isMillraceError(error, 'BAD_BATCH', 'BATCH_TOO_LARGE')) return { problem: error.message }
    throw error
  }
}

/** Whether the bytes of a batch differ from those that its publisher sealed. */
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
