import type { QueueSettings } from '../../protocol/index.js'
import type { Grant } from './grants.js'
import type { Lane } from './lane.js'
import type { ReadRecord, StoredRecord } from './read_records.js'

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
  /** Its own time to live; endless when it has none. */
  readonly ttlMs: number
  readonly bytes: number
  /** Deliveries that ended otherwise than in an acknowledgement or a release. */
  attempts: number
  state: MessageState
  grant: Grant | undefined
  /** What is sent; read again when memory has been needed for others. */
  record: StoredRecord | undefined
}

const priorityDefault = 4

/** A record that is taken up, before anybody has it. */
export function messageOf(
  settings: QueueSettings,
  lane: Lane,
  { offset, timestamp, key, headers, bytes }: ReadRecord,
  attempts: number,
): QueueMessage {
  return {
    lane,
    offset,
    timestamp,
    key:
      settings.order === 'key' && key !== undefined
        ? Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
        : undefined,
    priority: settings.priorities ? priorityOf(headers) : 0,
    ttlMs: numberIn(headers, 'millrace-ttl-ms'),
    bytes: bytes.length,
    attempts,
    state: 'waiting',
    grant: undefined,
    record: undefined,
  }
}

/** Whether it has waited for too long, by the settings of now; what was redriven never has. */
export function isExpired(settings: QueueSettings, message: QueueMessage, nowMs: number): boolean {
  const ttlMs = Math.min(settings.ttlMs || Number.POSITIVE_INFINITY, message.ttlMs)
  return !message.lane.isDead && message.timestamp + ttlMs <= nowMs
}

export function byLane(messages: readonly QueueMessage[]): [Lane, QueueMessage[]][]
export function byLane<T>(items: readonly T[], messageOf: (item: T) => QueueMessage): [Lane, T[]][]
/** Items by the lane of their message, in the order in which they come. */
export function byLane<T>(
  items: readonly T[],
  messageOf: (item: T) => QueueMessage = (item) => item as QueueMessage,
): [Lane, T[]][] {
  const lanes = new Map<Lane, T[]>()
  for (const item of items) {
    const { lane } = messageOf(item)
    const some = lanes.get(lane)
    if (some === undefined) lanes.set(lane, [item])
    else some.push(item)
  }
  return [...lanes]
}

function priorityOf(headers: ReadRecord['headers']): number {
  const priority = numberIn(headers, 'millrace-priority')
  return priority <= 9 ? priority : priorityDefault
}

/** A header that holds a whole number; endless when there is none. */
function numberIn(headers: ReadRecord['headers'], name: string): number {
  const value = headers?.[name]
  if (value === undefined) return Number.POSITIVE_INFINITY
  const number = Number(Buffer.from(value).toString())
  return Number.isSafeInteger(number) && number >= 0 ? number : Number.POSITIVE_INFINITY
}
