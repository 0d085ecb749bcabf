import type { Message } from './message.js'

/** The messages of one key: one handler runs, the other messages wait. */
export interface Lane<Value, Key> {
  readonly key: string
  /** In the order of their offsets. */
  readonly waiting: Waiting<Value, Key>[]
}

export interface Waiting<Value, Key> {
  readonly message: Message<Value, Key>
  /** The version of the stream at the delivery of the message. */
  readonly version: number
}

/** The handlers of one stream, if `consumer.run` calls them. */
export class StreamHandlers<Value, Key> {
  running = 0
  /** Number of messages that wait for the handler of an earlier message of their key. */
  waiting = 0
  /** Highest offset whose handler has started. */
  lastStarted = -1
  /** Lanes with a running handler or waiting messages, by key. */
  readonly lanes = new Map<string, Lane<Value, Key>>()

  /**
   * Whether the stream can be given up: no handler runs, and no message waits that precedes one whose handler has
   * started. Otherwise that later message would be delivered again, because a commit names one offset.
   */
  get areDone(): boolean {
    if (this.running > 0) return false
    for (const lane of this.lanes.values()) if (this.isOwed(lane)) return false
    return true
  }

  /** Whether the next message of a lane precedes one whose handler has started. */
  isOwed({ waiting: [next] }: Lane<Value, Key>): boolean {
    return next !== undefined && next.message.offset < this.lastStarted
  }
}
