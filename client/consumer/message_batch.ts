import type { Message } from './message.js'
import type { RecordRun } from './record_run.js'

/** Consecutive messages of one partition. */
export class MessageBatch<Value = unknown, Key = unknown, Name extends string = string> {
  readonly topic: Name
  readonly partition: number
  /** In order; at least one. Skipped messages, which did not decode, are missing. */
  readonly messages: readonly Message<Value, Key, Name>[]
  readonly firstOffset: number
  readonly lastOffset: number
  /** @internal */
  readonly run: RecordRun<Value, Key>

  /** @internal */
  constructor(run: RecordRun<Value, Key>, messages: readonly Message<Value, Key, Name>[]) {
    this.topic = run.source.topic as Name
    this.partition = run.source.partition
    this.messages = messages
    this.firstOffset = messages[0]?.offset ?? run.position
    this.lastOffset = messages.at(-1)?.offset ?? run.position
    this.run = run
  }

  /** Acknowledges all of its messages; see `Message.ack`. */
  ack(): void {
    this.run.acks?.ackRange(this.firstOffset, this.lastOffset + 1)
  }
}

/** The batch of a message type; for a union of them a union that `batch.topic` narrows. */
export type BatchOf<Item> =
  Item extends Message<infer Value, infer Key, infer Name> ? MessageBatch<Value, Key, Name> : never
