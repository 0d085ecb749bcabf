import { channel, tracingChannel } from 'node:diagnostics_channel'
import type { BulkReceipt } from './bulk_publish.js'
import type { Message, MessageBatch } from './consumer/index.js'
import type { Receipt } from './producer/batch.js'
import type { MessageInput } from './record.js'
import type { SettledOutcome, WorkBatch, WorkMessage } from './worker/index.js'

/**
 * The data of a trace of `millrace:publish`: one call of `publish` or `publishMany`, until the messages are durable.
 */
export interface PublishTrace {
  readonly topic: string
  /**
   * The message; undefined for `publishMany`. It is a copy: a subscriber of `start` may replace it, for example to add
   * a trace header.
   */
  message: MessageInput<unknown, unknown> | undefined
  readonly result?: Receipt | BulkReceipt
  readonly error?: unknown
}

/** The data of `millrace:receive`: a message or a batch that a consumer loop or a worker received. */
export interface ReceiveEvent {
  /** Undefined for a consumer without a group. */
  readonly group: string | undefined
  readonly message?: Message | WorkMessage
  readonly batch?: MessageBatch
}

/** The data of a trace of `millrace:handle`: one call of a handler of a worker or of `consumer.run`. */
export interface HandleTrace {
  readonly group: string | undefined
  /** Undefined for a handler of `workBatch`. */
  readonly message?: WorkMessage | Message
  /** Only for a handler of `workBatch`. */
  readonly batch?: WorkBatch
  readonly error?: unknown
}

/**
 * The data of `millrace:settle`: the broker has confirmed the outcome of a delivery, or a committed offset of a stream
 * group.
 */
export interface SettleEvent {
  readonly group: string
  readonly topic: string
  readonly partition: number
  /**
   * For a queue group the offset of the message; for a stream group the offset of the first message that is not
   * acknowledged.
   */
  readonly offset: number
  /** Undefined for a stream group. */
  readonly message?: WorkMessage
  readonly outcome: SettledOutcome | 'commit'
  /** The error of the handler, for "fail" and "reject". */
  readonly error?: unknown
}

/**
 * The channels of `node:diagnostics_channel` for tracing and metrics. Without subscribers they cost nothing: check
 * `hasSubscribers` before you allocate data for them.
 */
export const channels = {
  publish: tracingChannel<unknown, PublishTrace>('millrace:publish'),
  receive: channel('millrace:receive'),
  handle: tracingChannel<unknown, HandleTrace>('millrace:handle'),
  settle: channel('millrace:settle'),
} as const

/** Calls `publish` inside a trace. */
export function tracePublish<Result extends Receipt | BulkReceipt>(
  topic: string,
  message: MessageInput<unknown, unknown> | undefined,
  publish: (message: MessageInput<unknown, unknown> | undefined) => Promise<Result>,
): Promise<Result> {
  const trace: PublishTrace = { topic, message: message && { ...message } }
  return channels.publish.tracePromise(() => publish(trace.message), trace)
}

/** Calls a handler inside a trace. */
export function traceHandle(
  group: string | undefined,
  work: WorkMessage | Message | WorkBatch,
  handle: () => unknown,
): Promise<unknown> {
  return channels.handle.tracePromise(
    async () => handle(),
    'messages' in work ? { group, batch: work } : { group, message: work },
  )
}
