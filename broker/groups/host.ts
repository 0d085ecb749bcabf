import type { MillraceError } from '../../protocol/index.js'
import type { CommittedOffsets, OffsetEntry } from './committed_offsets.js'
import type { TopicSource } from './types.js'

/** The functions that groups need from their shard. */
export interface GroupHost {
  readonly topics: TopicSource
  /** The fold of the operations below. */
  readonly offsets: CommittedOffsets
  /** Unique forever, also across restarts. */
  uniqueId(): number
  /** An UNKNOWN_TOPIC error that names the nearest topic. */
  unknownTopic(name: string): MillraceError
  /** The durable ends of a partition, or undefined if it does not exist. */
  ends(topicId: number, partition: number): { startOffset: number; endOffset: number } | undefined
  /** The first offset with this timestamp (ms) or a later one, or the end. */
  offsetForTime(topicId: number, partition: number, timeMs: number): Promise<number>
  /** Resolves when the offsets are durable and in `offsets`; calls take effect in their order. */
  commitOffsets(group: string, committedAtMs: number, entries: readonly OffsetEntry[]): Promise<void>
  isPaused(group: string): boolean
  /** Whether a queue group has this name; it is another group. */
  isQueueGroup(name: string): boolean
  readonly pausedCount: number
  /** Resolves when it is durable. */
  setPaused(group: string, paused: boolean): Promise<void>
  /** Resolves when the removal of the group's offsets, and of its pause, is durable. */
  deleteGroup(group: string): Promise<void>
}
