import { limits } from '../limits.js'
import { bool, integer, list, oneOf, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, errorNumber, message, milliseconds, offset, partition, topicId, topicName } from './fields.js'

const messageId = text(limits.messageIdBytesMax)
const messagesMax = limits.publishEachMessagesMax
/** Of a page: where the next one begins, as a reply gave it. */
const cursor = text(1024)
const scheduleName = text(limits.scheduleNameBytesMax)
/**
 * Publishes messages of which each has a fate of its own. The payload and `batches` are those of `publish`, without
 * producers. `messages` has one entry for each record, in the same order: [deliverAtMs, id]; deliverAtMs 0 (or a time that
 * is over) appends at once. What is accepted is committed together. Results stand in the order of `messages`:
 * [error, status, offset, partition, message]; the offset is -1 where there is none yet, the partition that of the message
 * that came first where this one is a duplicate.
 */
export const publishEach = command({
  number: 40,
  name: 'publish.each',
  since: 1,
  request: record({
    batches: list(tuple(topicId, partition, bytes), messagesMax),
    messages: list(tuple(milliseconds, optional(messageId)), messagesMax),
  }),
  reply: record({
    results: list(
      tuple(
        errorNumber,
        optional(oneOf('appended', 'delayed', 'duplicate')),
        integer(-1),
        optional(partition),
        optional(message),
      ),
      messagesMax,
    ),
  }),
})

/** Takes a delayed message back, unless it was appended before. Its id is free again then. */
export const delayedCancel = command({
  number: 41,
  name: 'delayed.cancel',
  since: 1,
  request: record({ topic: text(1024), id: text(1024) }),
  reply: record({ cancelled: bool }),
})

/**
 * Delayed messages in the order in which they are due. A page may have fewer than `limit` while there are more: `cursor` is
 * absent after the last one.
 */
export const delayedList = command({
  number: 42,
  name: 'delayed.list',
  since: 1,
  request: record({
    topic: optional(text(1024)),
    limit: optional(integer(1, limits.listPageMax)),
    cursor: optional(cursor),
  }),
  reply: record({
    messages: list(
      record({ topic: topicName, partition, id: optional(messageId), dueMs: milliseconds }),
      limits.listPageMax,
    ),
    cursor: optional(cursor),
    /** All that are delayed, of the topic or of the broker. */
    count: integer(),
    /** When the next one is due; absent when there is none, and on the pages of one topic after which more may come. */
    nextDueMs: optional(milliseconds),
  }),
})

const missed = oneOf('skip', 'once', 'all')

/**
 * Makes a schedule or replaces it; it is next due after now. The payload is a record batch with one record: the message.
 * It goes to `partition`, or where its key belongs by the rule of section 5, or to one partition after the other.
 */
export const scheduleSet = command({
  number: 43,
  name: 'schedule.set',
  since: 1,
  request: record({
    name: text(1024),
    topic: text(1024),
    partition: optional(partition),
    /** Five fields, or six with seconds in front. */
    cron: text(1024),
    /** A name of the IANA database; UTC when absent. */
    timeZone: optional(text(1024)),
    /** What becomes of due times that passed while the broker was down; "once" when absent. */
    missed: optional(missed),
  }),
  reply: record({ nextDueMs: milliseconds }),
})

export const scheduleDelete = command({
  number: 44,
  name: 'schedule.delete',
  since: 1,
  request: record({ name: text(1024) }),
  reply: record({}),
})

/** Schedules in the order of their names, those after `after`. */
export const scheduleList = command({
  number: 45,
  name: 'schedule.list',
  since: 1,
  request: record({
    limit: optional(integer(1, limits.listPageMax)),
    after: optional(text(1024)),
  }),
  reply: record({
    schedules: list(
      record({
        name: scheduleName,
        topic: topicName,
        partition: optional(partition),
        cron: text(1024),
        timeZone: text(1024),
        missed,
        /** Absent when it is never due again. */
        nextDueMs: optional(milliseconds),
        /** The due time of the newest message. */
        lastDueMs: optional(milliseconds),
        /** Messages that it has made. */
        firedCount: integer(),
        /** Due times that were missed and not made up for. */
        missedCount: integer(),
        lastOffset: optional(offset),
      }),
      limits.listPageMax,
    ),
    count: integer(),
    more: bool,
  }),
})
