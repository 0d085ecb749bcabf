import { decodeBody, encodeBody, type QueueSettings, type Runs } from '../../protocol/index.js'

/** Payloads of the operations of queue groups, msgpack lists in the order of these fields; they stand on disk. */

/** A queue group comes into being, or has other settings. */
export interface QueueConfigured {
  readonly queueId: number
  readonly group: string
  readonly settings: QueueSettings
  /** Topic of its dead letters; 0 before there was one. */
  readonly deadTopicId: number
}

/** A queue group reads a topic from now on: where it begins in each partition; in those that are added later at 0. */
export interface QueueSubscribed {
  readonly queueId: number
  readonly topicId: number
  readonly starts: readonly number[]
}

/** Messages are leased; those before the last of them that never were wait from now on. */
export interface QueueLeased {
  readonly queueId: number
  readonly logId: number
  readonly grantId: number
  /** What the worker asked for: so long it lasts from a restart on, unless it is prolonged. */
  readonly leaseMs: number
  readonly offsets: Runs
  /** Who asked; empty in what was written before this field was added. */
  readonly workerId: string
}

/** The end of a lease that a restart of the broker renewed, so that the next restart does not renew it again. */
export interface QueueLeaseBounded {
  readonly queueId: number
  readonly logId: number
  readonly grantId: number
  /** ms since 1970; 0: the worker has shown itself, and the next restart renews the lease. */
  readonly endsAtMs: number
  readonly offsets: Runs
}

/** Leases ended, or messages were done with otherwise. */
export interface QueueSettled {
  readonly queueId: number
  readonly logId: number
  /** Acknowledged, dead, expired, or gone from the log. */
  readonly done: Runs
  /** [offset, when it is due again (ms since 1970, 0: at once)]: these count one more attempt. */
  readonly failed: readonly (readonly [offset: number, dueAtMs: number])[]
  /** Wait again, and nothing is counted. */
  readonly released: Runs
}

/** Dead letters are given back to their group. */
export interface QueueRedriven {
  readonly queueId: number
  readonly logId: number
  readonly offsets: Runs
}

export interface QueueDeleted {
  readonly queueId: number
}

export function encodeQueueConfigured({
  queueId,
  group,
  settings,
  deadTopicId,
}: QueueConfigured): Uint8Array {
  return encodeBody([queueId, group, settings, deadTopicId])
}

export function decodeQueueConfigured(payload: Uint8Array): QueueConfigured {
  const [queueId, group, settings, deadTopicId] = decodeBody(payload) as [
    number,
    string,
    QueueSettings,
    number,
  ]
  return { queueId, group, settings, deadTopicId }
}

export function encodeQueueSubscribed({ queueId, topicId, starts }: QueueSubscribed): Uint8Array {
  return encodeBody([queueId, topicId, starts])
}

export function decodeQueueSubscribed(payload: Uint8Array): QueueSubscribed {
  const [queueId, topicId, starts] = decodeBody(payload) as [number, number, number[]]
  return { queueId, topicId, starts }
}

export function encodeQueueLeased(leased: QueueLeased): Uint8Array {
  const { queueId, logId, grantId, leaseMs, offsets, workerId } = leased
  return encodeBody([queueId, logId, grantId, leaseMs, offsets, workerId])
}

export function decodeQueueLeased(payload: Uint8Array): QueueLeased {
  const [queueId, logId, grantId, leaseMs, offsets, workerId = ''] = decodeBody(payload) as [
    number,
    number,
    number,
    number,
    number[],
    string?,
  ]
  return { queueId, logId, grantId, leaseMs, offsets, workerId }
}

export function encodeQueueLeaseBounded(bounded: QueueLeaseBounded): Uint8Array {
  const { queueId, logId, grantId, endsAtMs, offsets } = bounded
  return encodeBody([queueId, logId, grantId, endsAtMs, offsets])
}

export function decodeQueueLeaseBounded(payload: Uint8Array): QueueLeaseBounded {
  const [queueId, logId, grantId, endsAtMs, offsets] = decodeBody(payload) as [
    number,
    number,
    number,
    number,
    number[],
  ]
  return { queueId, logId, grantId, endsAtMs, offsets }
}

export function encodeQueueSettled({ queueId, logId, done, failed, released }: QueueSettled): Uint8Array {
  return encodeBody([queueId, logId, done, failed, released])
}

export function decodeQueueSettled(payload: Uint8Array): QueueSettled {
  const [queueId, logId, done, failed, released] = decodeBody(payload) as [
    number,
    number,
    number[],
    [number, number][],
    number[],
  ]
  return { queueId, logId, done, failed, released }
}

export function encodeQueueRedriven({ queueId, logId, offsets }: QueueRedriven): Uint8Array {
  return encodeBody([queueId, logId, offsets])
}

export function decodeQueueRedriven(payload: Uint8Array): QueueRedriven {
  const [queueId, logId, offsets] = decodeBody(payload) as [number, number, number[]]
  return { queueId, logId, offsets }
}

export function encodeQueueDeleted({ queueId }: QueueDeleted): Uint8Array {
  return encodeBody([queueId])
}

export function decodeQueueDeleted(payload: Uint8Array): QueueDeleted {
  const [queueId] = decodeBody(payload) as [number]
  return { queueId }
}
