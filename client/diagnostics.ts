import { channel, tracingChannel } from 'node:diagnostics_channel'
import type { BulkReceipt } from './bulk_publish.js'
import type { Message, MessageBatch } from './consumer/index.js'
import type { Receipt } from './producer/batch.js'
import type { MessageInput } from './record.js'
import type { SettledOutcome, WorkBatch, WorkMessage } from './worker/index.js'

/** What a trace of `millrace:publish` carries: one call of `publish` or `publishMany`, until the messages are durable. */
export interface PublishTrace {
  readonly topic: string
  /**
   * The message; undefined for `publishMany`. It is a copy: a subscriber of `start` may replace it, for example with one
   * that has a header for the trace.
   */
  message: MessageInput<unknown, unknown> | undefined
  readonly result?: Receipt | BulkReceipt
  readonly error?: unknown
}

/** What `millrace:receive` carries: a message or a batch that a loop over a consumer gets, or a message that a worker got. */
export interface ReceiveEvent {
  /** Undefined for a consumer without a group. */
  readonly group: string | undefined
  readonly message?: Message | WorkMessage
  readonly batch?: MessageBatch
}

/** What a trace of `millrace:handle` carries: one call of the handler of a worker, or of `consumer.run`. */
export interface HandleTrace {
  readonly group: string | undefined
  /** Undefined for a handler of `workBatch`. */
  readonly message?: WorkMessage | Message
  /** For a handler of `workBatch`. */
  readonly batch?: WorkBatch
  readonly error?: unknown
}

/** What `millrace:settle` carries: the broker has confirmed how a delivery ended, or that a stream group is at an offset. */
export interface SettleEvent {
  readonly group: string
  readonly topic: string
  readonly partition: number
  /** Of the message of a queue group; for a stream group the offset of the first message that is not acknowledged. */
  readonly offset: number
  /** Undefined for a stream group. */
  readonly message?: WorkMessage
  readonly outcome: SettledOutcome | 'commit'
  /** What the handler threw, for "fail" and "reject". */
  readonly error?: unknown
}

/**
 * The channels of `node:diagnostics_channel` for tracing and metrics. Without subscribers they cost nothing: ask
 * `hasSubscribers` before anything is made for them.
 */
export const channels = {
  publish: tracingChannel<unknown, PublishTrace>('millrace:publish'),
  receive: channel('millrace:receive'),
  handle: tracingChannel<unknown, HandleTrace>('millrace:handle'),
  settle: channel('millrace:settle'),
} as const

/** Calls `publish` under a trace. */
export function tracePublish<Result extends Receipt | BulkReceipt>(
  topic: string,
  message: MessageInput<unknown, unknown> | undefined,
  publish: (message: MessageInput<unknown, unknown> | undefined) => Promise<Result>,
): Promise<Result> {
  const trace: PublishTrace = { topic, message: message && { ...message } }
  return channels.publish.tracePromise(() => publish(trace.message), trace)
}

/** Calls a handler under a trace. */
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
