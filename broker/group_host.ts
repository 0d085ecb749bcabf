import type { MillraceError } from '../protocol/index.js'
import { opKinds } from '../storage/index.js'
import {
  type CommittedOffsets,
  encodeGroupDeleted,
  encodeGroupPaused,
  encodeOffsetsCommitted,
  type GroupHost,
  type GroupSettings,
  Groups,
  type GroupTopic,
  type OffsetEntry,
} from './groups/index.js'
import type { Logger } from './log.js'
import type { Partition } from './partition/partition.js'
import type { Shard } from './shard.js'
import type { Topic } from './topics/topic.js'
import type { WallClock } from './wall_clock.js'

/** Finds the first offset of a partition with a timestamp (ms) or a later one, or its end. */
export type OffsetForTime = (partition: Partition, timeMs: number) => Promise<number>

/** The view that stream groups have of their shard. */
class ShardGroupHost implements GroupHost {
  readonly offsets: CommittedOffsets
  readonly topics = {
    byName: (name: string): GroupTopic | undefined => groupTopic(this.#shard.catalog.byName(name)),
    byId: (topicId: number): GroupTopic | undefined => groupTopic(this.#shard.catalog.byId(topicId)),
  }
  readonly #shard: Shard
  readonly #offsetForTime: OffsetForTime

  constructor(shard: Shard, offsetForTime: OffsetForTime) {
    this.#shard = shard
    this.#offsetForTime = offsetForTime
    this.offsets = shard.offsets
  }

  uniqueId(): number {
    return this.#shard.uniqueId()
  }

  unknownTopic(name: string): MillraceError {
    return this.#shard.catalog.unknownTopic(name)
  }

  ends(topicId: number, partition: number): Partition | undefined {
    return this.#shard.catalog.byId(topicId)?.partitions[partition]
  }

  offsetForTime(topicId: number, partition: number, timeMs: number): Promise<number> {
    return this.#offsetForTime(this.#shard.partition(topicId, partition), timeMs)
  }

  commitOffsets(group: string, committedAtMs: number, entries: readonly OffsetEntry[]): Promise<void> {
    const payload = encodeOffsetsCommitted({ group, committedAtMs, entries })
    return this.#shard.commit([{ kind: opKinds.offsetsCommitted, payload }])
  }

  isPaused(group: string): boolean {
    return this.#shard.pausedGroups.has(group)
  }

  isQueueGroup(name: string): boolean {
    return this.#shard.queues.byName(name) !== undefined
  }

  get pausedCount(): number {
    return this.#shard.pausedGroups.count
  }

  setPaused(group: string, paused: boolean): Promise<void> {
    return this.#shard.commit([{ kind: opKinds.groupPaused, payload: encodeGroupPaused(group, paused) }])
  }

  deleteGroup(group: string): Promise<void> {
    return this.#shard.commit([{ kind: opKinds.groupDeleted, payload: encodeGroupDeleted(group) }])
  }
}

function groupTopic(topic: Topic | undefined): GroupTopic | undefined {
  return topic && { topicId: topic.topicId, name: topic.name, partitions: topic.partitions.length }
}

/** The stream groups of a shard; they follow changes of its topics. */
export function groupsOf(
  shard: Shard,
  settings: GroupSettings,
  clock: WallClock,
  logger: Logger,
  offsetForTime: OffsetForTime,
): Groups {
  const groups = new Groups({
    host: new ShardGroupHost(shard, offsetForTime),
    settings,
    nowMs: () => clock.earliestMs,
    onExpired: (group, memberIds) =>
      logger.info({ group, memberIds }, 'removed members whose session timed out'),
    onExpiryFailed: (group, err) =>
      logger.warn(
        { group, err },
        'could not delete the expired offsets of a group; the broker will try again',
      ),
  })
  shard.catalog.onChange((_change, topic) => groups.topicChanged(topic))
  return groups
}
