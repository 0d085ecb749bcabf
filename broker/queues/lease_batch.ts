import { batchOfRecords } from '../../protocol/index.js'

/**
 * Seals records for the reply to `queue.lease`. Records from a compressed batch can be larger than a frame; they are
 * then compressed again.
 * @param bytesMax largest batch that fits into a frame
 * @returns undefined if the batch is still too large
 */
export function leaseBatch(
  records: readonly Uint8Array[],
  firstTimestamp: number,
  lastTimestamp: number,
  bytesMax: number,
): Uint8Array | undefined {
  const batch = batchOfRecords(records, firstTimestamp, lastTimestamp)
  if (batch.length <= bytesMax) return batch
  const packed = batchOfRecords(records, firstTimestamp, lastTimestamp, 'gzip')
  return packed.length <= bytesMax ? packed : undefined
}
