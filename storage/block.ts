import { crc32 } from 'node:zlib'
import {
  batchChecksumFrom,
  MillraceError,
  readBatchChecksum,
  readBatchHeader,
  stampBaseOffset,
} from '../protocol/index.js'
import { combineCrc32 } from './crc32.js'

/**
 * A block of the journal, little-endian. These numbers are on disk and never change.
 *
 *     0  u32  magic           "MBK1"
 *     4  u32  checksum        CRC-32 of bytes 8 to the end
 *     8  u64  position        the block's key
 *    16  u32  previousLink    link of the block at position - 1, which is its first checksum; 0 for the first block
 *    20  u32  originalLink    0; in a rewritten block, its first checksum
 *    24  u16  indexInCommit
 *    26  u16  blocksInCommit
 *    28  u32  directoryCount
 *    32  u32  operationCount
 *    36  u32  headChecksum    masked CRC-32 of bytes 8 to 36 and of the directory, so that a damaged body leaves the
 *                             head readable: ((crc >>> 15) | (crc << 17)) + 0xa282ead8
 *    40       directory       32 bytes for each partition log with batches here, in ascending order of log ids:
 *                 0  u32  logId
 *                 4  u32  bytes         size of its batches
 *                 8  u64  firstOffset
 *                16  u64  lastTimestamp   largest timestamp of its batches, ms
 *                24  u32  recordCount
 *                28  u32  from          position of its first batch, counted from the start of the block
 *             body            the batches of each log, in the order of the directory; then operations:
 *                 u8 kind, u32 bytes, payload
 */
const magic = 0x314b424d
const headBytes = 40
const directoryEntryBytes = 32
const operationHeadBytes = 5
const maskDelta = 0xa282ead8
/** From this size on, a combination of batch checksums is faster than a second pass. */
const combinedBytesMin = 16 * 1024
/** The search for a wrong bit skips heads with more entries, because its time grows with the square of their length. */
const mendedEntriesMax = 64

export interface DirectoryEntry {
  readonly logId: number
  readonly bytes: number
  readonly firstOffset: number
  readonly lastTimestamp: number
  readonly recordCount: number
  readonly from: number
}

export interface Operation {
  readonly kind: number
  readonly payload: Uint8Array
}

export interface BlockHead {
  readonly position: number
  readonly previousLink: number
  readonly link: number
  readonly indexInCommit: number
  readonly blocksInCommit: number
  readonly directory: readonly DirectoryEntry[]
}

export interface Block extends BlockHead {
  readonly operations: readonly Operation[]
  /** The whole block; directory entries point into it. */
  readonly bytes: Uint8Array
}

/** The part of a block for one log: batches with their base offsets, in order. */
export interface LogBatches {
  readonly logId: number
  readonly firstOffset: number
  readonly batches: readonly Uint8Array[]
  readonly bytes: number
}

export interface BlockPlace {
  readonly position: number
  readonly previousLink: number
  readonly indexInCommit: number
  readonly blocksInCommit: number
  /** A rewritten block keeps these from its original. */
  readonly link?: number
}

/** Size of a block in bytes. */
export function blockBytes(logs: readonly LogBatches[], operations: readonly Operation[]): number {
  let bytes = headBytes + logs.length * directoryEntryBytes
  for (const log of logs) bytes += log.bytes
  for (const operation of operations) bytes += operationHeadBytes + operation.payload.length
  return bytes
}

/**
 * Writes a block. This is the only copy of batches on their way to disk, and the copy gets their base offsets.
 * The checksums of batches, which must be right, become part of the checksum of the block: large ones are not computed
 * twice.
 * @param logs in ascending order of log ids
 * @param bytes destination with the length from `blockBytes`
 */
export function encodeBlock(
  place: BlockPlace,
  logs: readonly LogBatches[],
  operations: readonly Operation[],
  bytes: Buffer = Buffer.allocUnsafeSlow(blockBytes(logs, operations)),
): { bytes: Buffer; directory: DirectoryEntry[]; link: number } {
  const bodyFrom = headBytes + logs.length * directoryEntryBytes
  const directory: DirectoryEntry[] = []
  let at = bodyFrom
  for (const log of logs) {
    const entry = writeBatches(bytes, at, log)
    writeDirectoryEntry(bytes, headBytes + directory.length * directoryEntryBytes, entry)
    directory.push(entry)
    at += log.bytes
  }
  for (const { kind, payload } of operations) {
    bytes.writeUInt8(kind, at)
    bytes.writeUInt32LE(payload.length, at + 1)
    bytes.set(payload, at + operationHeadBytes)
    at += operationHeadBytes + payload.length
  }
  bytes.writeUInt32LE(magic, 0)
  writeU64(bytes, 8, place.position)
  bytes.writeUInt32LE(place.previousLink, 16)
  bytes.writeUInt32LE(place.link ?? 0, 20)
  bytes.writeUInt16LE(place.indexInCommit, 24)
  bytes.writeUInt16LE(place.blocksInCommit, 26)
  bytes.writeUInt32LE(logs.length, 28)
  bytes.writeUInt32LE(operations.length, 32)
  bytes.writeUInt32LE(headChecksum(bytes, bodyFrom), 36)
  const checksum = checksumOf(bytes, bodyFrom, logs)
  bytes.writeUInt32LE(checksum, 4)
  return { bytes, directory, link: place.link ?? checksum }
}

function checksumOf(block: Buffer, bodyFrom: number, logs: readonly LogBatches[]): number {
  let checksum = 0
  let summedTo = 8
  let at = bodyFrom
  for (const { batches } of logs) {
    for (const { length } of batches) {
      if (length >= combinedBytesMin) {
        const covered = at + batchChecksumFrom
        checksum = crc32(block.subarray(summedTo, covered), checksum)
        checksum = combineCrc32(checksum, readBatchChecksum(block, at), length - batchChecksumFrom)
        summedTo = at + length
      }
      at += length
    }
  }
  return crc32(block.subarray(summedTo), checksum)
}

function writeBatches(block: Buffer, from: number, log: LogBatches): DirectoryEntry {
  let at = from
  let offset = log.firstOffset
  let lastTimestamp = 0
  for (const batch of log.batches) {
    block.set(batch, at)
    stampBaseOffset(block, at, offset)
    const header = readBatchHeader(block, at)
    offset += header.recordCount
    if (header.lastTimestamp > lastTimestamp) lastTimestamp = header.lastTimestamp
    at += batch.length
  }
  return {
    logId: log.logId,
    bytes: log.bytes,
    firstOffset: log.firstOffset,
    lastTimestamp,
    recordCount: offset - log.firstOffset,
    from,
  }
}

/**
 * Reads the block from `position`.
 * @throws MillraceError CORRUPT
 */
export function decodeBlock(bytes: Uint8Array, position: number): Block {
  const block = verifyBlock(bytes, position)
  const head = readHead(block)
  return { ...head, operations: readOperations(block, head), bytes: block }
}

/**
 * Checks that these bytes are the whole, undamaged block of `position`, and returns them.
 * @throws MillraceError CORRUPT
 */
export function verifyBlock(bytes: Uint8Array, position: number): Buffer {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (block.length < headBytes || block.readUInt32LE(0) !== magic)
    throw corrupt(position, 'it does not begin with a block header')
  if (crc32(block.subarray(8)) !== block.readUInt32LE(4)) throw corrupt(position, 'its checksum is wrong')
  const found = readU64(block, 8)
  if (found !== position) throw corrupt(position, `its position field is ${found}`)
  return block
}

/**
 * Returns the readable part of a block whose body is damaged; undefined if the head is damaged too, by more than one
 * bit. If the
 * checksum of a head does not match, this searches for the one wrong bit.
 */
export function decodeDamagedHead(bytes: Uint8Array, position: number): BlockHead | undefined {
  return decodeHead(bytes, position) ?? decodeHeadButOneBit(bytes, position)
}

function decodeHeadButOneBit(bytes: Uint8Array, position: number): BlockHead | undefined {
  const block = Buffer.from(bytes.subarray(0, headBytes + directoryEntryBytes * mendedEntriesMax))
  for (let bit = 0; bit < block.length * 8; bit++) {
    const at = bit >>> 3
    const byte = block[at] as number
    block[at] = byte ^ (1 << (bit & 7))
    const head = decodeHead(block, position)
    block[at] = byte
    if (head !== undefined) return head
  }
  return undefined
}

function decodeHead(bytes: Uint8Array, position: number): BlockHead | undefined {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (block.length < headBytes || block.readUInt32LE(0) !== magic) return undefined
  const bodyFrom = headBytes + block.readUInt32LE(28) * directoryEntryBytes
  if (bodyFrom > block.length || headChecksum(block, bodyFrom) !== block.readUInt32LE(36)) return undefined
  const head = readHead(block)
  return head.position === position ? head : undefined
}

/**
 * Returns the length of the block that begins at `at`, from its head and the lengths of its operations; undefined if
 * the head
 * is not readable or the bytes end too early.
 */
export function blockBytesAt(bytes: Buffer, at: number): number | undefined {
  const block = bytes.subarray(at)
  if (block.length < headBytes) return undefined
  const head = decodeHead(block, readU64(block, 8))
  if (head === undefined) return undefined
  let end = headBytes + head.directory.length * directoryEntryBytes
  for (const entry of head.directory) end += entry.bytes
  for (let left = block.readUInt32LE(32); left > 0; left--) {
    if (end + operationHeadBytes > block.length) return undefined
    end += operationHeadBytes + block.readUInt32LE(end + 1)
  }
  return end > block.length ? undefined : end
}

function readHead(block: Buffer): BlockHead {
  const count = block.readUInt32LE(28)
  const directory = new Array<DirectoryEntry>(count)
  for (let i = 0; i < count; i++)
    directory[i] = readDirectoryEntry(block, headBytes + i * directoryEntryBytes)
  return {
    position: readU64(block, 8),
    previousLink: block.readUInt32LE(16),
    link: block.readUInt32LE(20) || block.readUInt32LE(4),
    indexInCommit: block.readUInt16LE(24),
    blocksInCommit: block.readUInt16LE(26),
    directory,
  }
}

function readOperations(block: Buffer, head: BlockHead): Operation[] {
  let at = headBytes + head.directory.length * directoryEntryBytes
  for (const entry of head.directory) at += entry.bytes
  const operations: Operation[] = []
  for (let left = block.readUInt32LE(32); left > 0; left--) {
    const end = at + operationHeadBytes + block.readUInt32LE(at + 1)
    operations.push({ kind: block.readUInt8(at), payload: block.subarray(at + operationHeadBytes, end) })
    at = end
  }
  return operations
}

/**
 * Finds the batches of one log in a verified block without parsing the rest of the block.
 * @throws MillraceError CORRUPT if the block has none
 */
export function findLogBatches(block: Buffer, position: number, logId: number): Buffer {
  let low = 0
  let high = block.readUInt32LE(28)
  while (low < high) {
    const middle = (low + high) >>> 1
    const at = headBytes + middle * directoryEntryBytes
    const id = block.readUInt32LE(at)
    if (id === logId) {
      const from = block.readUInt32LE(at + 28)
      return block.subarray(from, from + block.readUInt32LE(at + 4))
    }
    if (id < logId) low = middle + 1
    else high = middle
  }
  throw corrupt(position, `it contains no batches of partition log ${logId}`)
}

/**
 * Masked as LevelDB masks its checksums (doc/log_format.md, util/crc32c.h): the CRC-32 of bytes that end in their own
 * CRC-32
 * is a constant, so without the mask the checksum of a block without a directory would not depend on its head.
 */
function headChecksum(block: Buffer, bodyFrom: number): number {
  const checksum = crc32(block.subarray(headBytes, bodyFrom), crc32(block.subarray(8, 36)))
  return (((checksum >>> 15) | (checksum << 17)) + maskDelta) >>> 0
}

function readDirectoryEntry(block: Buffer, at: number): DirectoryEntry {
  return {
    logId: block.readUInt32LE(at),
    bytes: block.readUInt32LE(at + 4),
    firstOffset: readU64(block, at + 8),
    lastTimestamp: readU64(block, at + 16),
    recordCount: block.readUInt32LE(at + 24),
    from: block.readUInt32LE(at + 28),
  }
}

function writeDirectoryEntry(block: Buffer, at: number, entry: DirectoryEntry): void {
  block.writeUInt32LE(entry.logId, at)
  block.writeUInt32LE(entry.bytes, at + 4)
  writeU64(block, at + 8, entry.firstOffset)
  writeU64(block, at + 16, entry.lastTimestamp)
  block.writeUInt32LE(entry.recordCount, at + 24)
  block.writeUInt32LE(entry.from, at + 28)
}

function corrupt(position: number, problem: string): MillraceError {
  return new MillraceError('CORRUPT', `block ${position} of the journal is damaged: ${problem}`)
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * 0x1_0000_0000 + bytes.readUInt32LE(at)
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at)
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}
