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

/** Settings of a topic; an absent setting gets the broker's default (create) or keeps its value (alter). */
export const topicSettings = record({
  /** The broker drops batches whose newest record is older; -1: never. */
  retentionMs: optional(integer(-1)),
  /** Size limit of each partition, the broker drops the oldest batches first; -1: no limit. */
  retentionBytes: optional(integer(-1)),
  /** Largest record batch. */
  batchBytesMax: optional(integer(1024)),
  /** How long the broker remembers message ids, to ignore repeats; 0: not at all. */
  dedupeWindowMs: optional(integer(0, limits.dedupeWindowMsMax)),
})

/** All settings of a topic, except those that older brokers do not have. */
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

/** Lists topics and the broker that owns each partition. Without `topics`: all. */
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
        /** Not 0 if the topic is unknown; the fields after it are then absent. */
        error: errorNumber,
        message: optional(message),
        topicId: optional(topicId),
        /** The broker that owns each partition; one entry per partition. */
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

/** Changes settings, or adds partitions. */
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
        /** Describes damaged data, whose reads fail with CORRUPT; absent if there is none. */
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
 * Drops the messages of a topic, or of some of its partitions, that are stored when the broker handles the request.
 * Messages that are published later stay. Offsets continue.
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
        /** The first offset that remains. */
        startOffset: offset,
        /** Number of messages that this request dropped. */
        dropped: integer(),
      }),
      limits.partitionsPerTopicMax,
    ),
  }),
})
