import { crc32c, maskedCrc32c } from './crc32c.js'

/**
 * LevelDB's log files (its doc/log_format.md): write-ahead files and MANIFEST. Blocks of 32 KiB hold
 * fragments: u32 masked CRC-32C of type and data, u16 length, u8 type, data. A record is one fragment (full) or several
 * (first, middle, last). Fewer than 7 remaining bytes of a block are zeros.
 */
const blockBytes = 32 * 1024
const headerBytes = 7
const types = { full: 1, first: 2, middle: 3, last: 4 } as const

/** A record of a log file. */
export interface LogFileRecord {
  readonly data: Buffer
  /** All its checksums match; otherwise `data` is the damaged content and may lack a part. */
  readonly intact: boolean
  /** Its position in the file. */
  readonly from: number
}

export interface LogFile {
  readonly records: readonly LogFileRecord[]
  /** Bytes at the end that are no record: a write that was cut short, or damage to the last one. */
  readonly tailBytes: number
  /**
   * A header among the records is damaged. LevelDB would drop everything after it, even if the checksum shows where the
   * record is.
   */
  readonly damagedHeaders: boolean
}

interface Fragment {
  readonly from: number
  readonly end: number
  readonly data: Buffer
  /** Absent if it is damaged. */
  readonly type: number | undefined
  /** Its header is damaged, and the checksum gave the right one. */
  readonly healed?: boolean
}

/**
 * Reads a log file to its end, also after damage, where LevelDB would drop the rest of a block or of the file. Damage
 * without an intact record after it counts as the tail.
 */
export function readLogFile(file: Buffer): LogFile {
  const fragments = readFragments(file)
  const records = joinFragments(fragments)
  let count = records.length
  while (count > 0 && records[count - 1]?.intact === false) count--
  const kept = records.slice(0, count)
  const end = kept.at(-1)?.end ?? 0
  const damagedHeaders = fragments.some((fragment) => fragment.healed === true && fragment.from < end)
  return { records: kept, tailBytes: trailingBytes(file, end), damagedHeaders }
}

/**
 * Calls back for each record of a log file and keeps none. Returns whether the file is intact to its last
 * byte. It stops at damage; `readLogFile` reads the rest.
 */
export function forEachRecord(file: Buffer, handle: (record: Buffer) => void): boolean {
  let open: Buffer[] = []
  let end = 0
  for (let at = 0; at + headerBytes <= file.length; ) {
    const blockEnd = Math.min(file.length, at - (at % blockBytes) + blockBytes)
    if (blockEnd - at < headerBytes) {
      at = blockEnd
      continue
    }
    const fragment = intactAt(file, at, blockEnd)
    if (fragment === undefined) return false
    at = fragment.end
    const begins = fragment.type === types.full || fragment.type === types.first
    if (begins !== (open.length === 0)) return false
    open.push(fragment.data)
    if (fragment.type !== types.full && fragment.type !== types.last) continue
    handle(open.length === 1 ? fragment.data : Buffer.concat(open))
    open = []
    end = at
  }
  return trailingBytes(file, end) === 0
}

/** Zeros as padding of a block are no tail. */
function trailingBytes(file: Buffer, end: number): number {
  const left = blockBytes - (end % blockBytes)
  return left < headerBytes ? Math.max(0, file.length - end - left) : file.length - end
}

function joinFragments(fragments: readonly Fragment[]): (LogFileRecord & { readonly end: number })[] {
  const records: (LogFileRecord & { readonly end: number })[] = []
  let open: Fragment[] = []
  let whole = true
  const close = (complete: boolean): void => {
    const [first] = open
    if (first !== undefined) {
      const data = open.length === 1 ? first.data : Buffer.concat(open.map((fragment) => fragment.data))
      records.push({ data, intact: whole && complete, from: first.from, end: open.at(-1)?.end ?? first.end })
    }
    open = []
    whole = true
  }
  for (const fragment of fragments) {
    const { type } = fragment
    if (type === types.full || type === types.first) close(false)
    else if (type !== undefined && open.length === 0) whole = false
    if (type === undefined) whole = false
    open.push(fragment)
    if (type === types.full || type === types.last) close(true)
  }
  close(false)
  return records
}

function readFragments(file: Buffer): Fragment[] {
  const fragments: Fragment[] = []
  for (let at = 0; at + headerBytes <= file.length; ) {
    const blockEnd = Math.min(file.length, at - (at % blockBytes) + blockBytes)
    if (blockEnd - at < headerBytes) {
      at = blockEnd
      continue
    }
    const fragment = intactAt(file, at, blockEnd) ?? damagedAt(file, at, blockEnd)
    fragments.push(fragment)
    at = fragment.end
  }
  return fragments
}

function intactAt(file: Buffer, at: number, blockEnd: number): Fragment | undefined {
  if (at + headerBytes > blockEnd) return undefined
  const end = at + headerBytes + file.readUInt16LE(at + 4)
  const type = file.readUInt8(at + 6)
  if (type < types.full || type > types.last || end > blockEnd) return undefined
  if (maskedCrc32c(file.subarray(at + 6, end)) !== file.readUInt32LE(at)) return undefined
  return { from: at, end, data: file.subarray(at + headerBytes, end), type }
}

/** The readable part of a damaged fragment: the damage may be in its length or type. */
function damagedAt(file: Buffer, at: number, blockEnd: number): Fragment {
  const stated = at + headerBytes + file.readUInt16LE(at + 4)
  const end = isBoundary(file, stated, blockEnd) ? stated : nextIntact(file, at + headerBytes, blockEnd)
  const data = file.subarray(at + headerBytes, end)
  const type = Object.values(types).find(
    (type) => maskedCrc32c(data, crcOfType(type)) === file.readUInt32LE(at),
  )
  return { from: at, end, data, type, healed: type !== undefined }
}

function crcOfType(type: number): number {
  return crc32c(Uint8Array.of(type))
}

function isBoundary(file: Buffer, at: number, blockEnd: number): boolean {
  if (at > blockEnd) return false
  return blockEnd - at < headerBytes || intactAt(file, at, blockEnd) !== undefined
}

/** Start of the next intact fragment of the block, or the end of the block. */
function nextIntact(file: Buffer, from: number, blockEnd: number): number {
  for (let at = from; at + headerBytes <= blockEnd; at++)
    if (intactAt(file, at, blockEnd) !== undefined) return at
  return blockEnd
}

/** Writes records in LevelDB's format. */
export function writeLogFile(records: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = []
  let at = 0
  for (const record of records) {
    for (let from = 0, first = true; first || from < record.length; first = false) {
      const left = blockBytes - (at % blockBytes)
      if (left < headerBytes) {
        parts.push(Buffer.alloc(left))
        at += left
      }
      const room = blockBytes - (at % blockBytes) - headerBytes
      const data = record.subarray(from, from + room)
      from += data.length
      const last = from === record.length
      const type = first ? (last ? types.full : types.first) : last ? types.last : types.middle
      const header = Buffer.alloc(headerBytes)
      header.writeUInt32LE(maskedCrc32c(data, crcOfType(type)), 0)
      header.writeUInt16LE(data.length, 4)
      header.writeUInt8(type, 6)
      parts.push(header, data)
      at += headerBytes + data.length
    }
  }
  return Buffer.concat(parts)
}
