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
/** Fences an owner of a partition: unique for ever, so that commits of an earlier owner are told apart. */
const epoch = integer(1)
const owned = list(tuple(topicId, partition, epoch), partitionsMax)
const topics = list(text(1024), limits.topicsPerGroupMax)

/**
 * What a member owns from now on. A partition that is missing here and was owned before has to be given up: stop,
 * commit, and send a heartbeat without it; only then does another member get it. A partition that comes with another
 * epoch than before starts again from its committed offset.
 */
const assignment = record({
  /** Raised at every change of the group's membership or topics. */
  generation: integer(),
  partitions: list(
    record({
      topicId,
      topic: topicName,
      partition,
      epoch,
      /** Where to start; absent when nothing is committed. */
      committedOffset: optional(offset),
    }),
    partitionsMax,
  ),
})

/**
 * Makes the connection's client a member. Idempotent for one `memberId`, which the client chooses (a UUID). A dynamic
 * member (without `instanceId`) is removed as soon as the connection ends that it joined or sent its last heartbeat on.
 * A new `memberId` with an `instanceId` that is in use takes over its partitions under new epochs, and every command of
 * the old member answers FENCED: it must stop, not join again. UNKNOWN_MEMBER in contrast means: join again.
 */
export const groupJoin = command({
  number: 30,
  name: 'group.join',
  since: 1,
  request: record({
    group: text(1024),
    memberId,
    /** A static member: its partitions are kept for it until its session times out, also when it reconnects. */
    instanceId: optional(memberId),
    topics,
    sessionTimeoutMs: milliseconds,
    /** One member owns everything, the others stand by; all members of a group have to say the same. */
    singleActive: optional(bool),
  }),
  reply: assignment,
})

/**
 * Shows that a member lives and tells what it owns. The broker answers as soon as the member should own something
 * else, or after `waitMs` (at most half the session timeout) at the latest. When the member was told already what it
 * should own and still lists something else, the answer comes after up to 100 ms, so that a member which needs time to
 * give up a partition does not spin; it sends the heartbeat without that partition as soon as it is done. A new
 * heartbeat makes the broker answer the one before, and the member must ignore the reply of every heartbeat but its
 * newest: what `owned` leaves out is taken as given up. A partition that is not given up within the session timeout is
 * taken away all the same.
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
 * Commits offsets: the next offset to read. Entries are [topicId, partition, epoch, offset, metadata]. A member's entry
 * counts only while it owns the partition under that epoch, also while it is giving it up; otherwise its result is
 * FENCED. An offset past the end answers OFFSET_OUT_OF_RANGE; one before the start is accepted, since retention may
 * have overtaken the reader. Without `memberId` the group must have no members, and the epoch is ignored.
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
    /** Nobody is given partitions. */
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
        /** Absent when nothing is committed. */
        committedOffset: optional(offset),
        committedAtMs: optional(milliseconds),
        metadata: optional(commitMetadata),
        startOffset: offset,
        endOffset: offset,
        /** Records from the committed offset (or the start, if there is none) to the end. */
        lag: integer(),
        /** Of the first message that is not committed; of the first 64 partitions that are behind. */
        oldestTimestampMs: optional(milliseconds),
        memberId: optional(memberId),
      }),
      partitionsMax,
    ),
    /** Why messages stand still, for people; empty where nothing is wrong. */
    reasons: list(message, 100),
  }),
})

/**
 * Moves a group's committed offsets to the earliest, the latest, a time or an offset. Members that own the partitions
 * start again from there. Without `partitions`: all of the topic.
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
  }),
  reply: record({
    partitions: list(record({ partition, offset }), limits.partitionsPerTopicMax),
  }),
})

/**
 * Pauses a group, or lets it go on; durable. While it is paused its members own nothing: they are asked to give up what they
 * have, finish, and stay members. Also for a group that does not exist yet.
 */
export const groupPause = command({
  number: 38,
  name: 'group.pause',
  since: 1,
  request: record({ group: text(1024), paused: bool }),
  reply: record({}),
})

/** Forgets a group and its offsets; it must have no members. */
export const groupDelete = command({
  number: 37,
  name: 'group.delete',
  since: 1,
  request: record({ group: text(1024) }),
  reply: record({}),
})
