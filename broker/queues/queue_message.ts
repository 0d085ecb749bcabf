import type { Grant } from './grants.js'
import type { Lane } from './lane.js'
import type { StoredRecord } from './read_records.js'

/**
 * waiting: stands in line. blocked: behind another of its key. delayed: until it is due. leasing and settling: a commit
 * about it is on its way. leased: a worker has it.
 */
export type MessageState = 'waiting' | 'blocked' | 'delayed' | 'leasing' | 'leased' | 'settling'

/** A message of a queue group that is not done, in memory. */
export interface QueueMessage {
  readonly lane: Lane
  readonly offset: number
  readonly timestamp: number
  /** Only where the group keeps the order of keys. */
  readonly key: string | undefined
  /** 0 to 9, 9 goes first. */
  readonly priority: number
  /** ms since 1970. */
  readonly expiresAtMs: number
  readonly bytes: number
  /** Deliveries that ended otherwise than in an acknowledgement or a release. */
  attempts: number
  state: MessageState
  grant: Grant | undefined
  /** What is sent; read again when memory has been needed for others. */
  record: StoredRecord | undefined
}
