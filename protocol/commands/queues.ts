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
/** The fencing token of a lease: unique for ever. */
const grantId = integer(1)

const retry = record({
  kind: oneOf('fixed', 'exponential'),
  /** Before the second attempt; "exponential" doubles it each time. */
  delayMs: milliseconds,
  /** "exponential" stops growing here. */
  maxMs: milliseconds,
  /** How much of a delay is random, in percent: 20 makes a delay of 100 ms one of 80 to 100 ms. */
  jitterPercent: integer(0, 100),
})

const settingFields = {
  /** "key": at most one message of a key is on its way at a time, in the order of the log. */
  order: oneOf('none', 'key'),
  /** Attempts after which a message becomes a dead letter. */
  attemptsMax: integer(1, 1_000_000),
  retry,
  /** Age at which a message that waits expires; 0: never. A message may have a shorter one of its own. */
  ttlMs: milliseconds,
  /** What becomes of a message that expires. */
  expired: oneOf('dead-letter', 'drop'),
  /** Whether messages of a higher priority go first. */
  priorities: bool,
  /** Whether no messages are handed out; those that are leased go on. */
  paused: bool,
}

/** Settings of a queue group; what is absent keeps its value, or the default when the group is new. */
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
 * Makes a group a queue group of these topics if it is not one yet, applies the settings that are given, and names the
 * worker. To be sent again on each new connection.
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
    /** The worker has opened it before: `settings` count only if the group has to be made. */
    again: optional(bool),
    /**
     * All leases that the worker holds, of one that comes back: what was leased to it over earlier connections and is not
     * named never reached it, and is released without counting an attempt. Replies of these connections must be dropped.
     */
    held: optional(list(grantId, messagesMax)),
    /** Where the group begins in topics that it has not read yet. Default "earliest". */
    start: optional(oneOf('earliest', 'latest')),
    /** Messages that the worker handles at a time, for people. */
    concurrency: integer(),
  }),
  reply: record({
    settings: queueSettings,
    /** The former settings, present when this request changed settings of a group that has other workers. */
    replaced: optional(queueSettings),
    topics: list(record({ topic: topicName, topicId, partitions: integer(1) }), limits.topicsPerGroupMax),
    deadLetterTopic: topicName,
  }),
})

/**
 * Leases up to `messagesMax` messages to a worker: waits up to `waitMs` until there is one. The leases are durable before
 * they are answered. The payload holds record batches; each entry of `batches` is [topicId, partition, bytes, runs of the
 * offsets of its records, attempts before this one of each record (empty: 0 for all)].
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
    /** 0 when nothing came in time. */
    grantId: integer(),
    leaseMs: milliseconds,
    batches: list(tuple(topicId, partition, bytes, runs, list(integer(), messagesMax)), messagesMax),
  }),
})

/**
 * Ends leases. "ack": done for ever. "fail": counts an attempt; again after `delayMs`, or as the group's policy says.
 * "reject": becomes a dead letter at once. "release": as if it had not been leased. Whatever is not under this lease any
 * more is refused and changes nothing. The answer comes when all of it is durable. A request that is sent again with the same
 * `workerId` and `requestNumber` within two minutes has the answer of the first one, unless the broker was restarted.
 */
export const queueSettle = command({
  number: 52,
  name: 'queue.settle',
  since: 1,
  request: record({
    group: text(1024),
    workerId: optional(memberId),
    /** Counts the requests of this worker, which has at most 16 on the way. */
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
 * Prolongs leases by their lease time from now on, or by `leaseMs`. Answers those that are over. With `workerId` the request
 * names all leases that the worker holds: a lease that it names in none of them while it runs out does not count.
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
 * A worker takes no more: what it waits for is answered at once. Its leases stay until they are settled or over. With `held` it
 * reads no more replies: all leases but these are released without counting an attempt.
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

/** "waiting" could be leased now or waits behind another of its key, "inFlight" is leased, "delayed" waits for its retry. */
const peekState = oneOf('waiting', 'inFlight', 'delayed')

/** How a queue group stands, and why it does not move if it doesn't. */
export const queueDescribe = command({
  number: 54,
  name: 'queue.describe',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({
    group: groupName,
    settings: queueSettings,
    deadLetterTopic: topicName,
    /** Messages that became dead letters and were not redriven. */
    dead: integer(),
    workers: list(
      record({
        workerId: memberId,
        clientName: label,
        address: label,
        concurrency: integer(),
        inFlight: integer(),
        /** Whether it waits for messages at the moment. */
        asking: bool,
      }),
      100_000,
    ),
    partitions: list(
      record({
        topic: topicName,
        topicId,
        partition,
        /** Before it everything is done. */
        doneOffset: offset,
        endOffset: offset,
        /** Messages that could be leased now, or wait behind another of their key. */
        waiting: integer(),
        inFlight: integer(),
        delayed: integer(),
        /** Timestamp of the oldest message that is not done; absent when there is none, or it has not been read yet. */
        oldestTimestampMs: optional(milliseconds),
      }),
      limits.partitionsPerBrokerMax,
    ),
    /** Why messages stand still, for people; empty when they don't. */
    reasons: list(message, 100),
  }),
})

/**
 * Lists messages of a queue group that are not done, without leasing them: in turn from each partition, by offset.
 */
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
        /** Attempts that have failed. */
        attempts: integer(),
        /** When a delayed message is due, ms since 1970. */
        dueAtMs: optional(milliseconds),
        /** Which worker has it. */
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
  /** In the dead-letter topic. */
  offset,
  topic: label,
  partition: integer(),
  originOffset: integer(),
  attempts: integer(),
  reason: label,
  error: message,
  diedAtMs: milliseconds,
})

/** Dead letters from `fromOffset` of the dead-letter topic on that were not redriven. */
export const queueDeadLetters = command({
  number: 56,
  name: 'queue.deadLetters',
  since: 1,
  request: record({ group: text(1024), fromOffset: offset, limit: integer(1, 10_000) }),
  reply: record({
    letters: list(deadLetter, 10_000),
    /** Where to go on; absent at the end. */
    nextOffset: optional(offset),
  }),
})

/** Gives dead letters back to their group, each once, with their attempts counted anew. */
export const queueRedrive = command({
  number: 57,
  name: 'queue.redrive',
  since: 1,
  request: record({ group: text(1024), offsets: runs }),
  reply: record({ redriven: integer() }),
})

/** Forgets a queue group; it must have no workers. Its dead-letter topic stays. */
export const queueDelete = command({
  number: 59,
  name: 'queue.delete',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({}),
})

/** The queue groups that there are. */
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
 * Commits all of it or nothing: record batches (as `publish` has them, without producers), acknowledgements of leased
 * messages, and offsets of stream groups. A repeat with the same `id` answers what the first one did.
 */
export const transaction = command({
  number: 58,
  name: 'transaction',
  since: 1,
  request: record({
    /** Unique, chosen by the client; remembered for some minutes. */
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
