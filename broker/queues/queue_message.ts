import type { QueueSettings } from '../../protocol/index.js'
import type { Grant } from './grants.js'
import type { Lane } from './lane.js'
import type { ReadRecord, StoredRecord } from './read_records.js'

/**
 * waiting: ready for delivery. blocked: behind another message of its key. delayed: until its due time. leasing and
 * settling: a commit for it is in progress. leased: a worker has it.
 */
export type MessageState = 'waiting' | 'blocked' | 'delayed' | 'leasing' | 'leased' | 'settling'

/** An unfinished message of a queue group, in memory. */
export interface QueueMessage {
  readonly lane: Lane
  readonly offset: number
  readonly timestamp: number
  /** Only if the group keeps the order of keys. */
  readonly key: string | undefined
  /** 0 to 9, 9 goes first. */
  readonly priority: number
  /** Its own time to live; infinite if it has none. */
  readonly ttlMs: number
  readonly bytes: number
  /** Number of deliveries that ended in neither an acknowledgement nor a release. */
  attempts: number
  state: MessageState
  grant: Grant | undefined
  /** The record for delivery; read again if its memory was needed for others. */
  record: StoredRecord | undefined
}

const priorityDefault = 4

/** A record that was read, before its first delivery. */
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

/** Whether the message has expired, by the current settings; a redriven message never expires. */
export function isExpired(settings: QueueSettings, message: QueueMessage, nowMs: number): boolean {
  const ttlMs = Math.min(settings.ttlMs || Number.POSITIVE_INFINITY, message.ttlMs)
  return !message.lane.isDead && message.timestamp + ttlMs <= nowMs
}

export function byLane(messages: readonly QueueMessage[]): [Lane, QueueMessage[]][]
export function byLane<T>(items: readonly T[], messageOf: (item: T) => QueueMessage): [Lane, T[]][]
/** Groups items by the lane of their message, in order of their first occurrence. */
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

/** A header with a whole number; infinite if it is missing. */
function numberIn(headers: ReadRecord['headers'], name: string): number {
  const value = headers?.[name]
  if (value === undefined) return Number.POSITIVE_INFINITY
  const number = Number(Buffer.from(value).toString())
  return Number.isSafeInteger(number) && number >= 0 ? number : Number.POSITIVE_INFINITY
}
