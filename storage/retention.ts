import { decodeBody, encodeBody } from '../protocol/index.js'
import type { PartitionLog } from './partition_log.js'

/** The retention limits of a partition; undefined means no limit. */
export interface RetentionBounds {
  /** Retention drops blocks whose newest record is older than this (ms since 1970). */
  readonly olderThanMs?: number | undefined
  /** Retention drops the oldest blocks while the others still have this many bytes. */
  readonly bytesMax?: number | undefined
}

/** [logId, offset]: the log drops all records before the offset. */
export type Trim = readonly [logId: number, offset: number]

/** Payload of a `logsTrimmed` operation; on disk. */
export function encodeTrims(trims: readonly Trim[]): Uint8Array {
  return encodeBody(trims)
}

export function decodeTrims(payload: Uint8Array): readonly Trim[] {
  return decodeBody(payload) as Trim[]
}

/**
 * Returns the new start offset of a log under these limits; its present start if nothing has to go. Whole blocks
 * only: the log may exceed `bytesMax` by less than one block.
 */
export async function retentionOffset(log: PartitionLog, bounds: RetentionBounds): Promise<number> {
  for (;;) {
    const { reclaimedOffset } = log
    const offset = await walk(log, bounds)
    // Reclaim has removed counted pages during this call.
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
