import { limits } from '../limits.js'
import { bool, integer, list, oneOf, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import {
  errorNumber,
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

const commitMetadata = text(limits.commitMetadataBytesMax)
const partitionsMax = limits.partitionsPerBrokerMax
/** Fences the owner of a partition: unique forever, so that the broker recognizes commits of an earlier owner. */
const epoch = integer(1)
const owned = list(tuple(topicId, partition, epoch), partitionsMax)
const topics = list(text(1024), limits.topicsPerGroupMax)

/**
 * The partitions of a member from now on. The member must give up an owned partition that is missing here: stop,
 * commit, and send a heartbeat without it. Only then does another member get it. A partition with a new
 * epoch starts again from its committed offset.
 */
const assignment = record({
  /** Increases with every change of the group's membership or topics. */
  generation: integer(),
  partitions: list(
    record({
      topicId,
      topic: topicName,
      partition,
      epoch,
      /** The offset to start from; absent if nothing is committed. */
      committedOffset: optional(offset),
    }),
    partitionsMax,
  ),
})

/**
 * Makes the client of the connection a member. Idempotent for one `memberId`, which the client chooses (a UUID). The
 * broker removes a dynamic member (without `instanceId`) as soon as the connection of its join or last heartbeat ends.
 * A new `memberId` with an `instanceId` in use takes over its partitions under new epochs, and every command of
 * the old member fails with FENCED: it must stop and must not join again. UNKNOWN_MEMBER means: join again.
 */
export const groupJoin = command({
  number: 30,
  name: 'group.join',
  since: 1,
  request: record({
    group: text(1024),
    memberId,
    /** A static member: it keeps its partitions until its session times out, also when it reconnects. */
    instanceId: optional(memberId),
    topics,
    sessionTimeoutMs: milliseconds,
    /** One member owns everything and the others stand by; all members of a group must give the same value. */
    singleActive: optional(bool),
  }),
  reply: assignment,
})

/**
 * Shows that a member is alive and reports its partitions. The broker answers as soon as the assignment of the member
 * changes, or after `waitMs` (at most half the session timeout). If the member already received its
 * assignment and still reports other partitions, the answer comes after up to 100 ms, so that a member that needs time
 * to
 * give up a partition does not spin; it sends the heartbeat without that partition as soon as it is done. A new
 * heartbeat makes the broker answer the previous one, and the member must ignore every reply except the one to its
 * newest heartbeat: a partition missing in `owned` counts as given up. The broker revokes a partition that the member
 * does
 * not give up within the session timeout.
 */
export const groupHeartbeat = command({
  number: 31,
  name: 'group.heartbeat',
  since: 1,
  request: record({ group: text(1024), memberId, waitMs: milliseconds, owned }),
  reply: assignment,
})

export const groupLeave = command({
  number: 32,
  name: 'group.leave',
  since: 1,
  request: record({ group: text(1024), memberId }),
  reply: record({}),
})

/**
 * Commits offsets: the next offset to read. Entries are [topicId, partition, epoch, offset, metadata]. An entry of a
 * member
 * counts only while the member owns the partition under that epoch, also while it gives it up; otherwise its result is
 * FENCED. An offset after the end fails with OFFSET_OUT_OF_RANGE. An offset before the start is valid, because
 * retention may
 * have overtaken the reader. Without `memberId` the group must have no members, and the broker ignores the epoch.
 */
export const groupCommit = command({
  number: 33,
  name: 'group.commit',
  since: 1,
  request: record({
    group: text(1024),
    memberId: optional(memberId),
    offsets: list(tuple(topicId, partition, integer(), offset, optional(commitMetadata)), partitionsMax),
  }),
  reply: record({ results: list(record({ error: errorNumber, message: optional(message) }), partitionsMax) }),
})

export const groupList = command({
  number: 34,
  name: 'group.list',
  since: 1,
  request: record({}),
  reply: record({
    groups: list(record({ group: groupName, members: integer(), topics: integer() }), 1_000_000),
  }),
})

export const groupDescribe = command({
  number: 35,
  name: 'group.describe',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({
    group: groupName,
    state: oneOf('empty', 'stable', 'rebalancing'),
    /** No member gets partitions. */
    paused: optional(bool),
    /** One member owns everything. */
    singleActive: optional(bool),
    generation: integer(),
    members: list(
      record({
        memberId,
        instanceId: optional(memberId),
        clientName: label,
        address: label,
        topics: list(topicName, limits.topicsPerGroupMax),
        sessionTimeoutMs: milliseconds,
        connected: bool,
        partitions: integer(),
      }),
      100_000,
    ),
    partitions: list(
      record({
        topic: topicName,
        topicId,
        partition,
        /** Absent if nothing is committed. */
        committedOffset: optional(offset),
        committedAtMs: optional(milliseconds),
        metadata: optional(commitMetadata),
        startOffset: offset,
        endOffset: offset,
        /** Records from the committed offset (or the start, if nothing is committed) to the end. */
        lag: integer(),
        /** Timestamp of the first uncommitted message; for the first 64 partitions with lag. */
        oldestTimestampMs: optional(milliseconds),
        memberId: optional(memberId),
      }),
      partitionsMax,
    ),
    /** Reasons why messages do not move, for humans; empty if nothing is wrong. */
    reasons: list(message, 100),
  }),
})

/**
 * Moves the committed offsets of a group to the earliest offset, the latest offset, a time or an offset. Members that
 * own
 * the partitions start again from there. Without `partitions`: the whole topic.
 */
export const groupSeek = command({
  number: 36,
  name: 'group.seek',
  since: 1,
  request: record({
    group: text(1024),
    topic: text(1024),
    partitions: optional(list(partition, limits.partitionsPerTopicMax)),
    kind: oneOf('earliest', 'latest', 'time', 'offset'),
    /** ms since 1970 for "time", the offset for "offset". */
    value: optional(integer()),
    /** Whether to create a group that does not exist; otherwise UNKNOWN_GROUP. */
    create: optional(bool),
  }),
  reply: record({
    partitions: list(record({ partition, offset }), limits.partitionsPerTopicMax),
  }),
})

/**
 * Pauses or resumes a group; durable. Members of a paused group own nothing: they give up their partitions, finish
 * their messages, and stay members. A group can be paused before it exists.
 */
export const groupPause = command({
  number: 38,
  name: 'group.pause',
  since: 1,
  request: record({ group: text(1024), paused: bool }),
  reply: record({}),
})

/** Deletes a group and its offsets; it must have no members. */
export const groupDelete = command({
  number: 37,
  name: 'group.delete',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({}),
})
