import type { Message } from './message.js'

/** The messages of one key: one is handled, the others wait. */
export interface Lane<Value, Key> {
  readonly key: string
  /** In the order of their offsets. */
  readonly waiting: Waiting<Value, Key>[]
}

export interface Waiting<Value, Key> {
  readonly message: Message<Value, Key>
  /** The version of the stream when the message was delivered. */
  readonly version: number
}

/** The handlers of one stream, where `consumer.run` calls them. */
export class StreamHandlers<Value, Key> {
  running = 0
  /** Messages that wait because a message of their key is being handled. */
  waiting = 0
  /** Highest offset whose handler was started. */
  lastStarted = -1
  /** By key, those that run or wait. */
  readonly lanes = new Map<string, Lane<Value, Key>>()

  /**
   * Whether the stream can be given up: no handler runs, and no message waits that stands before one whose handler was
   * started. Otherwise that one would come again, because commits name an offset.
   */
  get areDone(): boolean {
    if (this.running > 0) return false
    for (const lane of this.lanes.values()) if (this.isOwed(lane)) return false
    return true
  }

  /** Whether the next message of a lane stands before one whose handler was started. */
  isOwed({ waiting: [next] }: Lane<Value, Key>): boolean {
    return next !== undefined && next.message.offset < this.lastStarted
  }
}
