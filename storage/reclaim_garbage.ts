import { MillraceError } from '../protocol/index.js'

/** What one log (or operations that a checkpoint covers) left behind in one block. */
export interface DeadPart {
  readonly position: number
  /** Bytes of the block that nothing needs any more. */
  readonly bytes: number
}

/** Most parts in one record; an index page hands over no more. */
export const partsPerRecordMax = 64

/** In place of a log id in the key of a record of blocks that hold operations only. Logs never have it. */
export const operationsOnly = 0xffff_ffff

/**
 * A garbage record, little-endian, 12 bytes a part; stands on disk and is never changed:
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
    throw new MillraceError('CORRUPT', `a garbage record has ${value.length} bytes, a wrong size`)
  const parts: DeadPart[] = []
  for (let at = 0; at < value.length; at += partBytes)
    parts.push({ position: Number(value.readBigUInt64LE(at)), bytes: value.readUInt32LE(at + 8) })
  return parts
}

/** Positions between which blocks were deleted or rewritten, both inclusive, and what that frees once compacted. */
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
  if (bytes.length !== 16) throw new MillraceError('CORRUPT', 'a freed range in the state has a wrong size')
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return { from, to: Number(value.readBigUInt64LE(0)), bytes: Number(value.readBigUInt64LE(8)) }
}

/**
 * Joins what was freed into few ranges, so that far-apart garbage doesn't make the engine rewrite all that lives
 * between: parts no more than `gapMax` positions apart share a range, more if there would be too many ranges.
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

/** The ranges that are worth compacting: those with most to free, until they cover `share` of it all. */
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

/** Cuts a range into pieces of equal width that free about `bytesMax` each, so that each is done soon. */
export function piecesOf({ from, to, bytes }: FreedRange, bytesMax: number): [from: number, to: number][] {
  const count = Math.max(1, Math.min(to - from + 1, Math.ceil(bytes / bytesMax)))
  const width = Math.ceil((to - from + 1) / count)
  const pieces: [number, number][] = []
  for (let at = from; at <= to; at += width) pieces.push([at, Math.min(to, at + width - 1)])
  return pieces
}
