import type { Delivery } from './delivery.js'
import type { MemberState } from './group_member.js'
import type { TopicPartition } from './options.js'
import type { PartitionStream, StreamState } from './partition_stream.js'

/** Progress of one partition. */
export interface PartitionStats extends TopicPartition {
  /**
   * `waiting_for_acks`: the number of delivered messages without an acknowledgement has reached `unackedMax`, so the
   * consumer delivers no more. `paused`: by the application.
   */
  readonly state: Exclude<StreamState, 'dropped'> | 'paused' | 'waiting_for_acks'
  /** Next offset to deliver. */
  readonly position: number
  /** The committed offset of the group at the broker, as far as known. */
  readonly committedOffset: number | undefined
  /**
   * In a group: the number under which the broker assigned the partition. It is unique and grows with each new owner,
   * so that a database can refuse writes of an earlier owner (a fencing token). 0 without a group.
   */
  readonly epoch: number
  readonly unacked: number
  readonly bufferedBytes: number
  /** Last known end of the partition. */
  readonly endOffset: number | undefined
}

/** State of a consumer at this moment. */
export interface ConsumerStats {
  /** `solo`: running without a group; otherwise the state of the membership. */
  readonly state: 'idle' | 'solo' | MemberState | 'closing' | 'closed'
  readonly memberId: string | undefined
  /** Delivered messages, and messages skipped because they did not decode. */
  readonly delivered: number
  readonly skipped: number
  /** Running handlers of `run`. */
  readonly running: number
  readonly fetchedBytes: number
  readonly bufferedBytes: number
  readonly openFetches: number
  /** Number of requests that committed offsets. */
  readonly commits: number
  readonly partitions: readonly PartitionStats[]
}

/** Lag of one partition. */
export interface PartitionLag extends TopicPartition {
  readonly position: number
  readonly endOffset: number
  /** Messages that are not acknowledged (in a group) or not delivered (without a group) yet. */
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
