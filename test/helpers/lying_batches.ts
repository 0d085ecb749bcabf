import {
  compressionNumbers,
  RecordBatchBuilder,
  readBatchHeader,
  writeBatchHeader,
} from '../../protocol/index.js'

/** A compressed batch with a valid checksum whose header has other values than its records. */
export function lyingBatch(
  values: readonly string[],
  lie: { readonly recordCount?: number; readonly recordsBytes?: number } = {},
): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ value: value.padEnd(200), timestamp: 1_000 })
  const batch = builder.finish('gzip')
  writeBatchHeader(batch, { ...readBatchHeader(batch), ...lie })
  return batch
}

/** A batch that says it is compressed, and is not. */
export function unopenableBatch(recordCount: number): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < recordCount; i++) builder.append({ value: 'x', timestamp: 1_000 })
  const batch = builder.finish()
  writeBatchHeader(batch, { ...readBatchHeader(batch), compression: compressionNumbers.gzip })
  return batch
}
