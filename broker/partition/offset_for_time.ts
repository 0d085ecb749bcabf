import {
  isMillraceError,
  MillraceError,
  RecordCursor,
  readBatchHeader,
  splitBatches,
} from '../../protocol/index.js'
import type { Shard } from '../shard.js'
import type { Partition } from './partition.js'

/**
 * Returns the offset of the first record with this timestamp (ms since 1970) or a later one; the end if there is none.
 * Timestamps
 * come from publishers and may not ascend, so this walks the index from the start; it reads only the block that the
 * index names.
 * @throws MillraceError CORRUPT, UNKNOWN_TOPIC if the topic is deleted during the call
 */
export async function offsetForTime(shard: Shard, partition: Partition, timeMs: number): Promise<number> {
  const { log } = partition
  let offset = log.startOffset
  while (offset < log.endOffset) {
    const entries = await log.index.from(offset)
    if (entries.length === 0) break
    for (const entry of entries) {
      const from = Math.max(entry.firstOffset, log.startOffset)
      if (entry.lastTimestamp >= timeMs) {
        const found = await firstInBlock(shard, partition, from, entry.bytes, timeMs)
        if (found !== undefined) return found
      }
      offset = entry.firstOffset + entry.recordCount
    }
  }
  // Reclaim frees the index of a deleted topic, so the walk may have found nothing for that reason.
  if (log.dropped) throw new MillraceError('UNKNOWN_TOPIC', `the topic "${partition.topic.name}" was deleted`)
  return log.endOffset
}

async function firstInBlock(
  shard: Shard,
  { log }: Partition,
  offset: number,
  bytesMax: number,
  timeMs: number,
): Promise<number | undefined> {
  const [result] = await shard.read([{ log, offset, bytesMax: Math.max(1, bytesMax) }])
  // Retention dropped the block during the read: the next block has the answer.
  if (isMillraceError(result?.error, 'OFFSET_OUT_OF_RANGE') && offset < log.startOffset) return undefined
  if (result?.error !== undefined) throw result.error
  for (const run of result?.chunks ?? []) {
    for (const batch of splitBatches(run)) {
      if (readBatchHeader(batch).lastTimestamp < timeMs) continue
      const found = firstInBatch(batch, offset, timeMs)
      if (found !== undefined) return found
    }
  }
  return undefined
}

/** In a batch that its publisher packed wrongly the first record counts: its header says that it has one of that time. */
function firstInBatch(batch: Uint8Array, offset: number, timeMs: number): number | undefined {
  try {
    const cursor = new RecordCursor(batch)
    while (cursor.next()) if (cursor.timestamp >= timeMs && cursor.offset >= offset) return cursor.offset
    return undefined
  } catch (error) {
    if (!isMillraceError(error, 'BAD_BATCH')) throw error
    return Math.max(readBatchHeader(batch).baseOffset, offset)
  }
}
