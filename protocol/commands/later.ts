import { limits } from '../limits.js'
import { bool, integer, list, oneOf, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, errorNumber, message, milliseconds, offset, partition, topicId, topicName } from './fields.js'

const messageId = text(limits.messageIdBytesMax)
const messagesMax = limits.publishEachMessagesMax
/** Start of the next page, from the previous reply. */
const cursor = text(1024)
const scheduleName = text(limits.scheduleNameBytesMax)
/**
 * Publishes messages with individual results. The payload and `batches` are those of `publish`, without producers.
 * `messages` has one entry for each record, in the same order: [deliverAtMs, id]; deliverAtMs 0, or a time in the past,
 * appends at once. The broker commits all accepted messages together. Results are in the order of `messages`: [error,
 * status, offset, partition, message]. The offset is -1 if the message has none yet. For a duplicate, the partition is
 * that of the first message with the id. A repeat after an unknown outcome has `repeatedAfterMs`. The broker refuses a
 * message of a repeat with OUTCOME_UNKNOWN if it may have appended the message before and forgotten its id.
 */
export const publishEach = command({
  number: 40,
  name: 'publish.each',
  since: 1,
  request: record({
    batches: list(tuple(topicId, partition, bytes), messagesMax),
    messages: list(tuple(milliseconds, optional(messageId)), messagesMax),
    /** Time between the first time that the client sent the request and this repeat. */
    repeatedAfterMs: optional(milliseconds),
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

/** Cancels a delayed message, unless it was appended before. Its id is free again then. */
export const delayedCancel = command({
  number: 41,
  name: 'delayed.cancel',
  since: 1,
  request: record({ topic: text(1024), id: text(1024) }),
  reply: record({ cancelled: bool }),
})

/**
 * Lists delayed messages by due time. A page may have fewer than `limit` while there are more: `cursor` is absent after
 * the last one.
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
    /** Number of delayed messages of the topic or of the broker. */
    count: integer(),
    /** Due time of the next message, on the first page; absent if that page has no messages. */
    nextDueMs: optional(milliseconds),
  }),
})

const missed = oneOf('skip', 'once', 'all')

/**
 * Creates or replaces a schedule; its next due time is after now. Due times before now get the old message. The payload is
 * a record batch with one record: the message. The message goes to `partition`; without it, to the partition of its key by the rule of section 5; without a
 * key, to one partition after the other.
 */
export const scheduleSet = command({
  number: 43,
  name: 'schedule.set',
  since: 1,
  request: record({
    name: text(1024),
    topic: text(1024),
    partition: optional(partition),
    /** Five fields, or six with seconds first. */
    cron: text(1024),
    /** A name of the IANA database; UTC if absent. */
    timeZone: optional(text(1024)),
    /** How to handle due times that passed while the broker was down; "once" if absent. */
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

/** Lists schedules in order of their names, starting after `after`. */
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
        /** Absent if it is never due again. */
        nextDueMs: optional(milliseconds),
        /** The due time of the newest message. */
        lastDueMs: optional(milliseconds),
        /** Number of messages that it has published. */
        firedCount: integer(),
        /** Number of due times that were missed without a message. */
        missedCount: integer(),
        lastOffset: optional(offset),
      }),
      limits.listPageMax,
    ),
    count: integer(),
    more: bool,
  }),
})
