import { maskedCrc32c } from './crc32c.js'
import { Cursor } from './varint.js'

/** A table ends in a footer: handles of two blocks, padded to 40 bytes, and this number (doc/table_format.md). */
const footerBytes = 48
const magic = 0xdb4775248b80fb57n
/** After each block: u8 type, u32 masked CRC-32C of block and type. */
const trailerBytes = 5

interface BlockHandle {
  readonly from: number
  readonly bytes: number
}

/** Describes the damage of a table file for humans; undefined if every block is intact. */
export function tableProblem(file: Buffer): string | undefined {
  try {
    if (file.length < footerBytes || file.readBigUInt64LE(file.length - 8) !== magic)
      return 'it does not end with a table footer'
    const footer = new Cursor(file, file.length - footerBytes)
    const metaIndex = readHandle(footer)
    const index = readHandle(footer)
    // LevelDB's repair compresses its tables: of these only the index is verified.
    if (isCompressed(file, metaIndex) || isCompressed(file, index)) {
      checkedBlock(file, metaIndex)
      checkedBlock(file, index)
      return undefined
    }
    const filters = handlesIn(checkedBlock(file, metaIndex))
    const blocks = [metaIndex, index, ...filters, ...handlesIn(checkedBlock(file, index))]
    let covered = footerBytes
    for (const block of blocks) {
      checkedBlock(file, block)
      covered += block.bytes + trailerBytes
    }
    return covered === file.length ? undefined : `${file.length - covered} of its bytes belong to no block`
  } catch (error) {
    return error instanceof RangeError ? error.message : 'it is not a readable table'
  }
}

function readHandle(cursor: Cursor): BlockHandle {
  return { from: cursor.varint(), bytes: cursor.varint() }
}

/** @throws RangeError */
function isCompressed(file: Buffer, { from, bytes }: BlockHandle): boolean {
  return file.readUInt8(from + bytes) !== 0
}

/** @throws RangeError */
function checkedBlock(file: Buffer, { from, bytes }: BlockHandle): Buffer {
  const end = from + bytes + 1
  if (end + 4 > file.length)
    throw new RangeError(`the block at byte ${from} continues past the end of the file`)
  if (maskedCrc32c(file.subarray(from, end)) !== file.readUInt32LE(end))
    throw new RangeError(`the checksum of the block at byte ${from} is wrong`)
  return file.subarray(from, from + bytes)
}

/** Entries of a block: shared and unshared length of the key, length of the value, rest of the key, value. */
function handlesIn(block: Buffer): BlockHandle[] {
  const end = block.length - 4 - block.readUInt32LE(block.length - 4) * 4
  const entries = block.subarray(0, end)
  const handles: BlockHandle[] = []
  for (const cursor = new Cursor(entries); !cursor.atEnd; ) {
    cursor.varint()
    const keyBytes = cursor.varint()
    const valueBytes = cursor.varint()
    cursor.take(keyBytes)
    handles.push(readHandle(new Cursor(cursor.take(valueBytes))))
  }
  return handles
}
