import { limits } from '../limits.js'
import { type Infer, integer, list, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import {
  bytes,
  errorNumber,
  label,
  message,
  milliseconds,
  offset,
  partition,
  topicId,
  topicName,
} from './fields.js'

const partitionCount = integer(1, limits.partitionsPerTopicMax)
const topicsMax = limits.partitionsPerBrokerMax

/** Settings of a topic; what is absent keeps the broker's default (create) or its value (alter). */
export const topicSettings = record({
  /** Batches whose newest record is older are dropped; -1 keeps them for ever. */
  retentionMs: optional(integer(-1)),
  /** Bytes kept of each partition, oldest dropped first; -1: no bound. */
  retentionBytes: optional(integer(-1)),
  /** Largest record batch. */
  batchBytesMax: optional(integer(1024)),
  /** How long ids of messages are remembered, so that a repeat is not appended; 0: not at all. */
  dedupeWindowMs: optional(integer(0, limits.dedupeWindowMsMax)),
})

/** Settings of a topic, all present but for those that older brokers did not have. */
export const topicSettingsInForce = record({
  retentionMs: integer(-1),
  retentionBytes: integer(-1),
  batchBytesMax: integer(1024),
  dedupeWindowMs: optional(integer(0)),
})
export type TopicSettings = Infer<typeof topicSettingsInForce>
export type TopicSettingsInput = Infer<typeof topicSettings>

const topicSummary = record({
  name: topicName,
  topicId,
  partitions: partitionCount,
  createdAtMs: milliseconds,
  settings: topicSettingsInForce,
})

/** Which topics there are and which broker owns each partition. Without `topics`: all. */
export const metadata = command({
  number: 10,
  name: 'metadata',
  since: 1,
  request: record({ topics: optional(list(text(1024), topicsMax)) }),
  reply: record({
    brokers: list(record({ brokerId: integer(), host: label, port: integer(0, 65535) }), 1000),
    topics: list(
      record({
        name: text(1024),
        /** Not 0 when the topic is unknown; the fields after it are then absent. */
        error: errorNumber,
        message: optional(message),
        topicId: optional(topicId),
        /** The broker that owns each partition; as many as there are partitions. */
        owners: optional(list(integer(), limits.partitionsPerTopicMax)),
      }),
      topicsMax,
    ),
  }),
})

export const topicCreate = command({
  number: 11,
  name: 'topic.create',
  since: 1,
  request: record({ topic: text(1024), partitions: optional(integer()), settings: optional(topicSettings) }),
  reply: topicSummary,
})

export const topicDelete = command({
  number: 12,
  name: 'topic.delete',
  since: 1,
  request: record({ topic: text(1024) }),
  reply: record({}),
})

/** Changes settings, or raises the number of partitions. */
export const topicAlter = command({
  number: 13,
  name: 'topic.alter',
  since: 1,
  request: record({ topic: text(1024), partitions: optional(integer()), settings: optional(topicSettings) }),
  reply: topicSummary,
})

export const topicList = command({
  number: 14,
  name: 'topic.list',
  since: 1,
  request: record({}),
  reply: record({ topics: list(topicSummary, topicsMax) }),
})

export const topicDescribe = command({
  number: 15,
  name: 'topic.describe',
  since: 1,
  request: record({ topic: text(1024) }),
  reply: record({
    topic: topicSummary,
    partitions: list(
      record({
        partition,
        owner: integer(),
        startOffset: offset,
        endOffset: offset,
        /** Live bytes of its record batches. */
        bytes,
        /** What is damaged and answers CORRUPT, if anything. */
        problem: optional(message),
      }),
      limits.partitionsPerTopicMax,
    ),
  }),
})

/**
 * Finds offsets. `at`: -2 the earliest, -1 the end (the offset that the next record will get), otherwise the first
 * record with that timestamp (ms) or a later one, or the end if there is none.
 */
export const offsetsList = command({
  number: 16,
  name: 'offsets.list',
  since: 1,
  request: record({ partitions: list(tuple(topicId, partition, integer(-2)), limits.fetchPartitionsMax) }),
  reply: record({
    partitions: list(
      record({ error: errorNumber, message: optional(message), offset: optional(offset) }),
      limits.fetchPartitionsMax,
    ),
  }),
})

/**
 * Drops the messages of a topic, or of some of its partitions, that are stored when the broker handles the request. What is
 * published later stays. Offsets go on.
 */
export const topicPurge = command({
  number: 17,
  name: 'topic.purge',
  since: 1,
  request: record({
    topic: text(1024),
    /** Default: all. */
    partitions: optional(list(partition, limits.partitionsPerTopicMax)),
  }),
  reply: record({
    partitions: list(
      record({
        partition,
        /** The first offset that is left. */
        startOffset: offset,
        /** Messages that this request dropped. */
        dropped: integer(),
      }),
      limits.partitionsPerTopicMax,
    ),
  }),
})
