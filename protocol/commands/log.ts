import { limits } from '../limits.js'
import { integer, list, optional, record, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, errorNumber, message, milliseconds, offset, partition, topicId } from './fields.js'

/** Hands out a producer id, unique for ever, for idempotent publishing. */
export const producerInit = command({
  number: 20,
  name: 'producer.init',
  since: 1,
  request: record({}),
  reply: record({ producerId: integer(1) }),
})

/**
 * Appends record batches, in order. The payload holds the batches back to back; each entry of `batches` is
 * [topicId, partition, bytes]. Results stand in the same order. Batches that are accepted are committed together.
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
        /** Offset of the batch's first record; absent when refused, and for a duplicate whose offset is forgotten. */
        baseOffset: optional(offset),
      }),
      limits.fetchPartitionsMax,
    ),
  }),
})

/**
 * Reads record batches. Each entry of `partitions` is [topicId, partition, offset, bytesMax]. The broker answers once
 * `bytesMin` bytes are there for all of them together, or `waitMs` have passed, or a partition has an error. At least
 * one whole batch comes even when it is larger than the limits. The first batch of a partition may begin before the
 * offset that was asked for. In the reply only partitions with data or an error stand, as
 * [topicId, partition, error, bytes, startOffset, endOffset]; the payload holds their batches in the same order.
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
