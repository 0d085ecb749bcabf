import { readBatchHeader, splitBatches } from '../protocol/index.js'
import { settingsOf } from './config.js'
import type { Partition } from './partition/partition.js'
import { Shard } from './shard.js'

const bytesPerRead = 1024 * 1024

/**
 * Opens a data folder as a broker does, reads all records of all partitions, and closes it. The store remembers
 * the damage. Returns descriptions of the damage, for humans.
 * @throws MillraceError FOLDER_IN_USE, UNKNOWN_FORMAT, STORAGE_FAILED, CORRUPT
 */
export async function verifyRecords(
  dir: string,
): Promise<{ readonly partitions: number; readonly damage: readonly string[] }> {
  const shard = await Shard.open({ ...settingsOf({ dir }), tailCacheBytes: 0 })
  try {
    for (const partition of shard.catalog.partitions) await readAll(shard, partition)
    return { partitions: shard.catalog.partitionCount, damage: shard.health.reasons }
  } finally {
    await shard.close()
  }
}

async function readAll(shard: Shard, { log }: Partition): Promise<void> {
  for (let offset = log.startOffset; offset < log.endOffset; ) {
    const [result] = await shard.read([{ log, offset, bytesMax: bytesPerRead }])
    if (result === undefined) return
    if (result.error !== undefined && result.error.code !== 'CORRUPT') throw result.error
    if (result.error !== undefined) offset = result.damaged?.to ?? offset + 1
    for (const chunk of result.chunks) {
      for (const batch of splitBatches(chunk)) {
        const { baseOffset, recordCount } = readBatchHeader(batch, 0)
        offset = baseOffset + recordCount
      }
    }
  }
}
