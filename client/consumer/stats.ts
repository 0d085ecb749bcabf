import type { Delivery } from './delivery.js'
import type { MemberState } from './group_member.js'
import type { TopicPartition } from './options.js'
import type { PartitionStream, StreamState } from './partition_stream.js'

/** How far one partition is. */
export interface PartitionStats extends TopicPartition {
  /**
   * `waiting_for_acks`: as many messages as `unackedMax` are delivered and not acknowledged, so no more are delivered.
   * `paused`: by the application.
   */
  readonly state: Exclude<StreamState, 'dropped'> | 'paused' | 'waiting_for_acks'
  /** Next offset to deliver. */
  readonly position: number
  /** What the broker is known to have committed for the group. */
  readonly committedOffset: number | undefined
  /**
   * In a group: the number under which the broker assigned the partition. Unique for ever and growing with each new owner, so that
   * what the messages are written to can refuse an owner from before (a fencing token). 0 alone.
   */
  readonly epoch: number
  readonly unacked: number
  readonly bufferedBytes: number
  /** End of the partition when it was last heard of. */
  readonly endOffset: number | undefined
}

/** How a consumer is, at this moment. */
export interface ConsumerStats {
  /** `solo`: running without a group; otherwise where the membership stands. */
  readonly state: 'idle' | 'solo' | MemberState | 'closing' | 'closed'
  readonly memberId: string | undefined
  /** Messages handed out, and left out because they did not decode. */
  readonly delivered: number
  readonly skipped: number
  /** Handlers of `run` that run now. */
  readonly running: number
  readonly fetchedBytes: number
  readonly bufferedBytes: number
  readonly openFetches: number
  /** Requests that committed offsets. */
  readonly commits: number
  readonly partitions: readonly PartitionStats[]
}

/** How far behind one partition is. */
export interface PartitionLag extends TopicPartition {
  readonly position: number
  readonly endOffset: number
  /** Messages that are not acknowledged (in a group) or not delivered (alone) yet. */
  readonly lag: number
}

export function partitionStats<Value, Key>(
  stream: PartitionStream<Value, Key>,
  delivery: Delivery<Value, Key>,
): PartitionStats {
  return {
    topic: stream.topic,
    partition: stream.partition,
    state: visibleState(stream, delivery),
    position: stream.position,
    committedOffset: stream.committed,
    epoch: stream.epoch,
    unacked: stream.acks?.unacked ?? 0,
    bufferedBytes: stream.bufferedBytes,
    endOffset: stream.endOffset,
  }
}

function visibleState<Value, Key>(
  stream: PartitionStream<Value, Key>,
  delivery: Delivery<Value, Key>,
): PartitionStats['state'] {
  if (stream.state === 'dropped') return 'revoking'
  if (stream.state !== 'active') return stream.state
  if (stream.paused) return 'paused'
  return delivery.waitsForAcks(stream) ? 'waiting_for_acks' : 'active'
}
