import { isMillraceError, RecordCursor, splitBatches } from '../../protocol/index.js'
import type { LogReadResult } from '../../storage/index.js'
import type { Shard } from '../shard.js'

/** Limit of the partitions that are read for one description. */
const partitionsMax = 64

interface Described {
  readonly topicId: number
  readonly partition: number
  readonly endOffset: number
  readonly oldestTimestampMs?: number | undefined
}

/**
 * Adds the timestamp of the first unfinished message, for the first 64 partitions that have one and lack its timestamp.
 * @param firstOf offset of the first unfinished message
 */
export async function withOldest<P extends Described>(
  shard: Shard,
  partitions: readonly P[],
  firstOf: (partition: P) => number,
): Promise<P[]> {
  let read = 0
  const described: P[] = []
  for (const one of partitions) {
    const offset = firstOf(one)
    const isRead = one.oldestTimestampMs === undefined && offset < one.endOffset && read++ < partitionsMax
    const oldestTimestampMs = isRead ? await timestampAt(shard, one, offset) : undefined
    described.push(oldestTimestampMs === undefined ? one : { ...one, oldestTimestampMs })
  }
  return described
}

/** undefined if the message cannot be read. */
async function timestampAt(
  shard: Shard,
  { topicId, partition }: Described,
  offset: number,
): Promise<number | undefined> {
  const log = shard.catalog.byId(topicId)?.partitions[partition]?.log
  if (log === undefined) return undefined
  const read = { log, offset: Math.max(offset, log.startOffset), bytesMax: 1 }
  try {
    const result = shard.readTail(read) ?? ((await shard.read([read]))[0] as LogReadResult)
    try {
      for (const batch of splitBatches(result.chunks[0] ?? new Uint8Array())) {
        const cursor = new RecordCursor(batch)
        while (cursor.next()) if (cursor.offset >= read.offset) return cursor.timestamp
      }
    } finally {
      for (const memory of result.memory ?? []) memory.release()
    }
  } catch (error) {
    if (!isMillraceError(error)) throw error
  }
  return undefined
}
