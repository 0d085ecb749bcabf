import { blockBytesAt, decodeDamagedHead, verifyBlock } from './block.js'
import { positionKey, positionOf } from './keys.js'
import { Cursor, encodeVarint, type LogFile, writeLogFile } from './leveldb/index.js'

/** LevelDB's write batch (db/write_batch.cc): u64 sequence, u32 count, then entries of a tag, a key and a value. */
const batchHeaderBytes = 12
const entryTags = { deletion: 0, value: 1 } as const
const keyBytes = 8

interface Put {
  readonly position: number
  readonly value: Uint8Array
}

/**
 * Rewrites a write-ahead file of the journal without its damage: intact writes unchanged; of damaged writes the blocks
 * that
 * it finds in them, damaged or not, because each block has its own checksums and a head with its content.
 */
export function mendWriteAhead({ records }: LogFile): Buffer {
  const mended: Uint8Array[] = []
  let sequence = 0
  for (const [index, { data, intact }] of records.entries()) {
    if (intact && data.length >= batchHeaderBytes) {
      mended.push(data)
      sequence = sequenceOf(data) + data.readUInt32LE(8)
      continue
    }
    const puts = salvageBlocks(data)
    if (puts.length === 0) continue
    if (sequence === 0) {
      const next = records.slice(index + 1).find((record) => record.intact)
      sequence = next === undefined ? 1 : Math.max(1, sequenceOf(next.data) - puts.length)
    }
    mended.push(encodeBatch(sequence, puts))
    sequence += puts.length
  }
  return writeLogFile(mended)
}

/** The blocks in the remains of a write batch. */
export function salvageBlocks(batch: Buffer): Put[] {
  const puts: Put[] = []
  let at = batchHeaderBytes
  while (at < batch.length) {
    const entry = readEntry(batch, at)
    if (entry === undefined) {
      const next = nextBlock(batch, at)
      if (next === undefined) break
      puts.push(next.put)
      at = next.end
      continue
    }
    if (entry.put !== undefined) puts.push(entry.put)
    at = entry.end
  }
  return puts
}

/** The entry that begins here; undefined if there is none. */
function readEntry(batch: Buffer, at: number): { put: Put | undefined; end: number } | undefined {
  try {
    const cursor = new Cursor(batch, at)
    const tag = cursor.u8()
    if (tag !== entryTags.value && tag !== entryTags.deletion) return undefined
    const key = cursor.bytes()
    if (key.length !== keyBytes) return undefined
    if (tag === entryTags.deletion) return { put: undefined, end: cursor.at }
    const named = positionOf(key)
    const stated = cursor.varint()
    // If the length of the value is damaged, the head of the block gives the right one.
    const isWhole = isBlock(batch.subarray(cursor.at, cursor.at + stated), named)
    const value = cursor.take(isWhole ? stated : (blockBytesAt(batch, cursor.at) ?? stated))
    const position = isWhole ? named : (ownPosition(value) ?? named)
    if (!Number.isSafeInteger(position)) return undefined
    return { put: { position, value }, end: cursor.at }
  } catch {
    return undefined
  }
}

/** The next block with a readable head, at any position. */
function nextBlock(batch: Buffer, from: number): { put: Put; end: number } | undefined {
  for (let at = batch.indexOf('MBK1', from); at !== -1; at = batch.indexOf('MBK1', at + 1)) {
    if (at + 16 > batch.length) return undefined
    const position = Number(batch.readBigUInt64LE(at + 8))
    if (decodeDamagedHead(batch.subarray(at), position) === undefined) continue
    const end = at + (blockBytesAt(batch, at) ?? batch.length - at)
    return { put: { position, value: batch.subarray(at, end) }, end }
  }
  return undefined
}

/** The position of an undamaged block from its head: then its key is the damaged part. */
function ownPosition(value: Buffer): number | undefined {
  const position = value.length < 16 ? 0 : Number(value.readBigUInt64LE(8))
  return isBlock(value, position) ? position : undefined
}

function isBlock(bytes: Buffer, position: number): boolean {
  try {
    verifyBlock(bytes, position)
    return true
  } catch {
    return false
  }
}

function sequenceOf(batch: Buffer): number {
  return Number(batch.readBigUInt64LE(0))
}

function encodeBatch(sequence: number, puts: readonly Put[]): Buffer {
  const header = Buffer.alloc(batchHeaderBytes)
  header.writeBigUInt64LE(BigInt(sequence), 0)
  header.writeUInt32LE(puts.length, 8)
  const entries = puts.flatMap(({ position, value }) => [
    Uint8Array.of(entryTags.value, keyBytes),
    positionKey(position),
    encodeVarint(value.length),
    value,
  ])
  return Buffer.concat([header, ...entries])
}
