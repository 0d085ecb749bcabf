import { decodeBody, encodeBody } from '../protocol/index.js'
import type { PartitionLog } from './partition_log.js'

/** What a partition may keep; what is undefined bounds nothing. */
export interface RetentionBounds {
  /** Blocks whose newest record is older than this (ms since 1970) go. */
  readonly olderThanMs?: number | undefined
  /** The oldest blocks go while the others still have this many bytes. */
  readonly bytesMax?: number | undefined
}

/** [logId, offset]: the log drops what is before the offset. */
export type Trim = readonly [logId: number, offset: number]

/** Payload of a `logsTrimmed` operation; stands on disk. */
export function encodeTrims(trims: readonly Trim[]): Uint8Array {
  return encodeBody(trims)
}

export function decodeTrims(payload: Uint8Array): readonly Trim[] {
  return decodeBody(payload) as Trim[]
}

/**
 * The offset at which a log should start under these bounds; its present start when nothing has to go. Whole blocks
 * only: what is kept may exceed `bytesMax` by less than one block.
 */
export async function retentionOffset(log: PartitionLog, bounds: RetentionBounds): Promise<number> {
  for (;;) {
    const { reclaimedOffset } = log
    const offset = await walk(log, bounds)
    // While this looked, reclaim took away what it counted.
    if (log.reclaimedOffset === reclaimedOffset) return offset
  }
}

async function walk(log: PartitionLog, { olderThanMs, bytesMax }: RetentionBounds): Promise<number> {
  let offset = log.reclaimedOffset
  let bytesKept = log.liveBytes
  while (offset < log.endOffset) {
    const entries = await log.index.from(offset)
    if (entries.length === 0) break
    for (const entry of entries) {
      const next = entry.firstOffset + entry.recordCount
      const old = olderThanMs !== undefined && entry.lastTimestamp < olderThanMs
      const many = bytesMax !== undefined && bytesKept - entry.bytes >= bytesMax
      if (next > log.startOffset && !old && !many) return Math.max(offset, log.startOffset)
      offset = next
      bytesKept -= entry.bytes
    }
  }
  return Math.max(offset, log.startOffset)
}
