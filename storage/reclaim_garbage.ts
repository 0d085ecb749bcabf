import { MillraceError } from '../protocol/index.js'

/** The garbage of one log (or of operations that a checkpoint covers) in one block. */
export interface DeadPart {
  readonly position: number
  /** Dead bytes of the block. */
  readonly bytes: number
}

/** Most parts in one record; an index page produces no more. */
export const partsPerRecordMax = 64

/** Takes the place of a log id in the key of a record of blocks that hold only operations. No log has this id. */
export const operationsOnly = 0xffff_ffff

/**
 * A garbage record, little-endian, 12 bytes for each part; on disk, never changes:
 *     0 u64 position | 8 u32 bytes
 */
const partBytes = 12

/** @param parts at most 64 */
export function encodeGarbage(parts: readonly DeadPart[]): Buffer {
  const value = Buffer.allocUnsafe(parts.length * partBytes)
  for (const [index, { position, bytes }] of parts.entries()) {
    value.writeBigUInt64LE(BigInt(position), index * partBytes)
    value.writeUInt32LE(bytes, index * partBytes + 8)
  }
  return value
}

/** @throws MillraceError CORRUPT */
export function decodeGarbage(bytes: Uint8Array): DeadPart[] {
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (value.length % partBytes !== 0 || value.length > partBytes * partsPerRecordMax)
    throw new MillraceError('CORRUPT', `a garbage record has the wrong size, ${value.length} bytes`)
  const parts: DeadPart[] = []
  for (let at = 0; at < value.length; at += partBytes)
    parts.push({ position: Number(value.readBigUInt64LE(at)), bytes: value.readUInt32LE(at + 8) })
  return parts
}

/** Positions between which reclaim deleted or rewrote blocks, both inclusive, and the bytes that a compaction frees. */
export interface FreedRange {
  readonly from: number
  readonly to: number
  readonly bytes: number
}

/** Value of a freed range in the state; its key holds `from`. Little-endian: 0 u64 to | 8 u64 bytes. */
export function encodeFreed({ to, bytes }: FreedRange): Buffer {
  const value = Buffer.allocUnsafe(16)
  value.writeBigUInt64LE(BigInt(to), 0)
  value.writeBigUInt64LE(BigInt(bytes), 8)
  return value
}

/** @throws MillraceError CORRUPT */
export function decodeFreed(from: number, bytes: Uint8Array): FreedRange {
  if (bytes.length !== 16) throw new MillraceError('CORRUPT', 'a freed range in the state has the wrong size')
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return { from, to: Number(value.readBigUInt64LE(0)), bytes: Number(value.readBigUInt64LE(8)) }
}

/**
 * Merges freed ranges, so that garbage far apart does not make the engine rewrite all live entries
 * between: parts at most `gapMax` positions apart share a range; the gap grows if there would be too many ranges.
 */
export function joinFreed(freed: readonly FreedRange[], gapMax: number, rangesMax: number): FreedRange[] {
  const sorted = [...freed].sort((a, b) => a.from - b.from)
  for (let gap = gapMax; ; gap *= 2) {
    const joined: FreedRange[] = []
    for (const range of sorted) {
      const last = joined.at(-1)
      if (last === undefined || range.from - last.to > gap) joined.push(range)
      else {
        const to = Math.max(last.to, range.to)
        joined[joined.length - 1] = { from: last.from, to, bytes: last.bytes + range.bytes }
      }
    }
    if (joined.length <= rangesMax) return joined
  }
}

/** The ranges worth a compaction: those with the most to free, until they cover `share` of the total. */
export function worthwhile(ranges: readonly FreedRange[], share: number): FreedRange[] {
  const total = ranges.reduce((sum, range) => sum + range.bytes, 0)
  const chosen: FreedRange[] = []
  let covered = 0
  for (const range of [...ranges].sort((a, b) => b.bytes - a.bytes)) {
    if (covered >= total * share) break
    chosen.push(range)
    covered += range.bytes
  }
  return chosen.sort((a, b) => a.from - b.from)
}

/** Cuts a range into pieces of equal width that free about `bytesMax` each, so that each call is short. */
export function piecesOf({ from, to, bytes }: FreedRange, bytesMax: number): [from: number, to: number][] {
  const count = Math.max(1, Math.min(to - from + 1, Math.ceil(bytes / bytesMax)))
  const width = Math.ceil((to - from + 1) / count)
  const pieces: [number, number][] = []
  for (let at = from; at <= to; at += width) pieces.push([at, Math.min(to, at + width - 1)])
  return pieces
}
