import { decodeBody, encodeBody, type QueueSettings, type Runs } from '../../protocol/index.js'

/**
 * Payloads of the operations of queue groups: msgpack lists in the order of these fields. They are part of the disk
 * format.
 */

/** Creates a queue group, or changes its settings. */
export interface QueueConfigured {
  readonly queueId: number
  readonly group: string
  readonly settings: QueueSettings
  /** Topic id of its dead letters; 0 if there is none yet. */
  readonly deadTopicId: number
}

/**
 * A queue group starts to read a topic: its start offset in each partition. Partitions that are added later start at 0.
 */
export interface QueueSubscribed {
  readonly queueId: number
  readonly topicId: number
  readonly starts: readonly number[]
}

/** Messages are leased. Earlier offsets that were never leased become open messages. */
export interface QueueLeased {
  readonly queueId: number
  readonly logId: number
  readonly grantId: number
  /**
   * The lease length that the worker requested: after a restart the lease lasts so long, unless the worker extends it.
   */
  readonly leaseMs: number
  readonly offsets: Runs
  /** The worker of the lease; empty in operations from before this field was added. */
  readonly workerId: string
}

/** The end of a lease that a restart of the broker renewed, so that the next restart does not renew it again. */
export interface QueueLeaseBounded {
  readonly queueId: number
  readonly logId: number
  readonly grantId: number
  /** ms since 1970; 0: the worker has reported the lease, and the next restart renews it. */
  readonly endsAtMs: number
  readonly offsets: Runs
}

/** Leases ended, or messages were finished in another way. */
export interface QueueSettled {
  readonly queueId: number
  readonly logId: number
  /** Acknowledged, dead, expired, or gone from the log. */
  readonly done: Runs
  /** [offset, due time of the next delivery (ms since 1970, 0: at once)]: each counts one more attempt. */
  readonly failed: readonly (readonly [offset: number, dueAtMs: number])[]
  /** These messages wait again, without counting an attempt. */
  readonly released: Runs
}

/** Dead letters are redriven to their group. */
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
