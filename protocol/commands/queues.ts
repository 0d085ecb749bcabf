import { limits } from '../limits.js'
import { bool, type Infer, integer, list, oneOf, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import {
  bytes,
  groupName,
  label,
  memberId,
  message,
  milliseconds,
  offset,
  partition,
  topicId,
  topicName,
} from './fields.js'

const messagesMax = 100_000
const topics = list(text(1024), limits.topicsPerGroupMax)
/** Offsets as runs: first offset, count, first offset, count and so on, ascending. */
const runs = list(integer(), 2 * messagesMax)
/** The fencing token of a lease; unique. */
const grantId = integer(1)

const retry = record({
  kind: oneOf('fixed', 'exponential'),
  /** Delay before the second attempt; "exponential" doubles it for each further attempt. */
  delayMs: milliseconds,
  /** Upper limit of "exponential". */
  maxMs: milliseconds,
  /** Random share of a delay, in percent: 20 makes a delay of 100 ms one of 80 to 100 ms. */
  jitterPercent: integer(0, 100),
})

const settingFields = {
  /** "key": at most one message of a key is in progress at a time, in the order of the log. */
  order: oneOf('none', 'key'),
  /** Number of attempts after which a message becomes a dead letter. */
  attemptsMax: integer(1, 1_000_000),
  retry,
  /** Age at which a waiting message expires; 0: never. A message may have its own, shorter one. */
  ttlMs: milliseconds,
  /** What happens to an expired message. */
  expired: oneOf('dead-letter', 'drop'),
  /** Whether messages of a higher priority are delivered first. */
  priorities: bool,
  /** Stops deliveries; leased messages continue. */
  paused: bool,
}

/** Settings of a queue group; an absent setting keeps its value, or gets the default in a new group. */
export const queueSettingsInput = record({
  order: optional(settingFields.order),
  attemptsMax: optional(settingFields.attemptsMax),
  retry: optional(settingFields.retry),
  ttlMs: optional(settingFields.ttlMs),
  expired: optional(settingFields.expired),
  priorities: optional(settingFields.priorities),
  paused: optional(settingFields.paused),
})

/** Settings of a queue group, all present. */
export const queueSettings = record(settingFields)
export type QueueSettingsInput = Infer<typeof queueSettingsInput>
export type QueueSettings = Infer<typeof queueSettings>

/**
 * Makes a group a queue group of these topics if it is not one yet, applies the given settings, and registers the
 * worker. A worker sends it again on each new connection.
 */
export const queueOpen = command({
  number: 50,
  name: 'queue.open',
  since: 1,
  request: record({
    group: text(1024),
    /** Chosen by the worker, unique: a UUID. */
    workerId: memberId,
    topics,
    settings: optional(queueSettingsInput),
    /** The worker has opened the group before: the broker uses `settings` only if it must create the group. */
    again: optional(bool),
    /**
     * All leases of a worker that reconnects. A lease from an earlier connection that is not in this list never reached
     * the worker: the broker releases it without counting an attempt. The worker must ignore replies of earlier
     * connections.
     */
    held: optional(list(grantId, messagesMax)),
    /** Where the group starts in topics that it has not read yet. Default "earliest". */
    start: optional(oneOf('earliest', 'latest')),
    /** Number of messages that the worker handles at a time; for humans. */
    concurrency: integer(),
  }),
  reply: record({
    settings: queueSettings,
    /** The former settings; present if this request changed settings of a group with other workers. */
    replaced: optional(queueSettings),
    topics: list(record({ topic: topicName, topicId, partitions: integer(1) }), limits.topicsPerGroupMax),
    deadLetterTopic: topicName,
  }),
})

/**
 * Leases up to `messagesMax` messages to a worker: waits up to `waitMs` for the first one. The leases are durable
 * before the reply. The payload holds record batches; each entry of `batches` is [topicId, partition, bytes, runs of
 * the offsets of its records, attempts before this one of each record (empty: 0 for all)].
 */
export const queueLease = command({
  number: 51,
  name: 'queue.lease',
  since: 1,
  request: record({
    group: text(1024),
    workerId: memberId,
    messagesMax: integer(1, messagesMax),
    bytesMax: bytes,
    waitMs: milliseconds,
    leaseMs: milliseconds,
  }),
  reply: record({
    /** 0 if no message arrived in time. */
    grantId: integer(),
    leaseMs: milliseconds,
    batches: list(tuple(topicId, partition, bytes, runs, list(integer(), messagesMax)), messagesMax),
  }),
})

/**
 * Ends leases. "ack": the message is finished. "fail": counts an attempt; the next one follows after `delayMs`, or by
 * the policy of the group. "reject": the message becomes a dead letter at once. "release": as if it had not been
 * leased. A message that is no longer under this lease is refused and does not change. The reply follows when all
 * outcomes are durable. A request that is repeated with the same `workerId` and `requestNumber` within two minutes gets
 * the reply to the first one, unless the broker was restarted.
 */
export const queueSettle = command({
  number: 52,
  name: 'queue.settle',
  since: 1,
  request: record({
    group: text(1024),
    workerId: optional(memberId),
    /** Numbers the requests of this worker, which may have at most 16 in flight. */
    requestNumber: optional(integer()),
    entries: list(
      record({
        topicId,
        partition,
        grantId,
        outcome: oneOf('ack', 'fail', 'reject', 'release'),
        offsets: runs,
        delayMs: optional(milliseconds),
        error: optional(message),
      }),
      messagesMax,
    ),
  }),
  reply: record({
    /** [index of the entry, offset]. */
    refused: list(tuple(integer(), offset), messagesMax),
  }),
})

/**
 * Extends leases by their length from now on, or by `leaseMs`. The reply lists leases that are over. With `workerId`
 * the request lists all leases of the worker: if a lease is missing in every list until it runs out, its end does not
 * count an attempt.
 */
export const queueExtend = command({
  number: 53,
  name: 'queue.extend',
  since: 1,
  request: record({
    group: text(1024),
    workerId: optional(memberId),
    grants: list(grantId, messagesMax),
    leaseMs: optional(milliseconds),
  }),
  reply: record({ lost: list(grantId, messagesMax) }),
})

/**
 * A worker takes no more messages: the broker answers its waiting requests at once. Its leases last until they are
 * settled or expire. With `held` the worker also ignores pending replies: the broker releases all leases that are not
 * in the list, without counting an attempt.
 */
export const queueLeave = command({
  number: 66,
  name: 'queue.leave',
  since: 1,
  request: record({
    group: text(1024),
    workerId: memberId,
    held: optional(list(grantId, messagesMax)),
  }),
  reply: record({}),
})

/** "waiting": ready, or behind another message of its key. "inFlight": leased. "delayed": waiting for its retry. */
const peekState = oneOf('waiting', 'inFlight', 'delayed')

/** Describes a queue group, and why its messages do not move. */
export const queueDescribe = command({
  number: 54,
  name: 'queue.describe',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({
    group: groupName,
    settings: queueSettings,
    deadLetterTopic: topicName,
    /** Number of dead letters that were not redriven. */
    dead: integer(),
    workers: list(
      record({
        workerId: memberId,
        clientName: label,
        address: label,
        concurrency: integer(),
        inFlight: integer(),
        /** Whether a request of the worker waits for messages now. */
        asking: bool,
      }),
      100_000,
    ),
    partitions: list(
      record({
        topic: topicName,
        topicId,
        partition,
        /** All messages before this offset are finished. */
        doneOffset: offset,
        endOffset: offset,
        /** Messages that are ready, or behind another message of their key. */
        waiting: integer(),
        inFlight: integer(),
        delayed: integer(),
        /**
         * Timestamp of the oldest unfinished message; absent if there is none, or if the broker has not read it yet.
         */
        oldestTimestampMs: optional(milliseconds),
      }),
      limits.partitionsPerBrokerMax,
    ),
    /** Reasons why messages do not move, for humans; empty if nothing is wrong. */
    reasons: list(message, 100),
  }),
})

/** Lists unfinished messages of a queue group without leasing them: in turn from each partition, by offset. */
export const queuePeek = command({
  number: 69,
  name: 'queue.peek',
  since: 1,
  request: record({
    group: text(1024),
    topic: optional(text(1024)),
    state: optional(peekState),
    limit: integer(1, 10_000),
  }),
  reply: record({
    messages: list(
      record({
        topic: topicName,
        topicId,
        partition,
        offset,
        state: peekState,
        /** Number of failed attempts. */
        attempts: integer(),
        /** Due time of a delayed message, ms since 1970. */
        dueAtMs: optional(milliseconds),
        /** The worker with the lease. */
        workerId: optional(label),
      }),
      10_000,
    ),
  }),
})

/** Changes the settings of a queue group. */
export const queueConfigure = command({
  number: 55,
  name: 'queue.configure',
  since: 1,
  request: record({ group: text(1024), settings: queueSettingsInput }),
  reply: queueSettings,
})

const deadLetter = record({
  /** Offset in the dead-letter topic. */
  offset,
  topic: label,
  partition: integer(),
  originOffset: integer(),
  attempts: integer(),
  reason: label,
  error: message,
  diedAtMs: milliseconds,
})

/** Lists dead letters from `fromOffset` of the dead-letter topic that were not redriven. */
export const queueDeadLetters = command({
  number: 56,
  name: 'queue.deadLetters',
  since: 1,
  request: record({ group: text(1024), fromOffset: offset, limit: integer(1, 10_000) }),
  reply: record({
    letters: list(deadLetter, 10_000),
    /** Offset of the next page; absent at the end. */
    nextOffset: optional(offset),
  }),
})

/**
 * Delivers dead letters to their group again, each at most once, with a new count of attempts. It skips letters without
 * a message: of batches that do not open, and of messages that were too large.
 */
export const queueRedrive = command({
  number: 57,
  name: 'queue.redrive',
  since: 1,
  request: record({ group: text(1024), offsets: runs }),
  reply: record({ redriven: integer(), skipped: optional(runs) }),
})

/** Deletes a queue group; it must have no workers. Its dead-letter topic stays. */
export const queueDelete = command({
  number: 59,
  name: 'queue.delete',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({}),
})

/** Lists the queue groups. */
export const queueList = command({
  number: 65,
  name: 'queue.list',
  since: 1,
  request: record({}),
  reply: record({
    groups: list(
      record({ group: groupName, workers: integer(), topics: integer(), dead: integer() }),
      100_000,
    ),
  }),
})

const settleEntry = record({ topicId, partition, grantId, offsets: runs })

/**
 * Commits all parts or none: record batches (like `publish`, without producers), acknowledgements of leased messages,
 * and offsets of stream groups. A repeat with the same `id` gets the reply to the first one.
 */
export const transaction = command({
  number: 58,
  name: 'transaction',
  since: 1,
  request: record({
    /** Unique, chosen by the client; the broker remembers it for some minutes. */
    id: text(100),
    batches: list(tuple(topicId, partition, bytes), 10_000),
    acks: list(record({ group: text(1024), entries: list(settleEntry, 10_000) }), 100),
    offsets: list(
      record({
        group: text(1024),
        memberId: optional(memberId),
        offsets: list(tuple(topicId, partition, integer(), offset), 10_000),
      }),
      100,
    ),
  }),
  reply: record({
    /** Offset of the first record of each batch. */
    baseOffsets: list(integer(-1), 10_000),
  }),
})
