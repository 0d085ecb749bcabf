import { limits } from '../limits.js'
import { integer, list, optional, record, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, errorNumber, message, milliseconds, offset, partition, topicId } from './fields.js'

/** Assigns a unique producer id for idempotent publishing. */
export const producerInit = command({
  number: 20,
  name: 'producer.init',
  since: 1,
  request: record({}),
  reply: record({ producerId: integer(1) }),
})

/**
 * Appends record batches, in order. The payload holds the batches back to back; each entry of `batches` is [topicId,
 * partition, bytes]. Results are in the same order. The broker commits all accepted batches together.
 */
export const publish = command({
  number: 21,
  name: 'publish',
  since: 1,
  request: record({ batches: list(tuple(topicId, partition, bytes), limits.fetchPartitionsMax) }),
  reply: record({
    results: list(
      record({
        error: errorNumber,
        message: optional(message),
        /**
         * Offset of the batch's first record; absent if the batch was refused, and for a duplicate whose offset is no
         * longer known.
         */
        baseOffset: optional(offset),
      }),
      limits.fetchPartitionsMax,
    ),
  }),
})

/**
 * Reads record batches. Each entry of `partitions` is [topicId, partition, offset, bytesMax]. The broker replies once
 * it has `bytesMin` bytes for all of them together, or `waitMs` have passed, or a partition has an error. The reply has
 * at least one whole batch, even if the batch is larger than the limits. The first batch of a partition may begin
 * before the requested offset. The reply lists only partitions with data or an error, as [topicId, partition, error,
 * bytes, startOffset, endOffset]; the payload holds their batches in the same order.
 */
export const fetch = command({
  number: 22,
  name: 'fetch',
  since: 1,
  request: record({
    waitMs: milliseconds,
    bytesMin: bytes,
    bytesMax: bytes,
    partitions: list(tuple(topicId, partition, offset, bytes), limits.fetchPartitionsMax),
  }),
  reply: record({
    partitions: list(
      tuple(topicId, partition, errorNumber, bytes, offset, offset, optional(message)),
      limits.fetchPartitionsMax,
    ),
  }),
})
