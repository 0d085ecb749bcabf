import {
  type BatchHeader,
  checkBatch,
  isMillraceError,
  limits,
  MillraceError,
  readBatchHeader,
  splitBatches,
} from '../../protocol/index.js'
import { AckWindow } from './acks.js'
import { DecodeError, unreadableMessage } from './message.js'
import { type Decoder, RecordRun, type RecordSource } from './record_run.js'
import type { StreamHandlers } from './stream_handlers.js'

/** Commits the offsets of a stream: a member of a group. */
export interface OffsetCommitter {
  readonly group: string
  readonly memberId: string
  /** Runs the work while no other commit of this member is open. */
  exclusively<T>(work: () => Promise<T>): Promise<T>
}

export interface PartitionStreamFields<Value, Key> {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  /** The epoch of the group's grant; 0 without a group. */
  readonly epoch: number
  readonly decoder: Decoder<Value, Key>
  /** Absent without a group. */
  readonly committer: OffsetCommitter | undefined
  /** Called after every acknowledgement that still has an effect; absent without a group. */
  readonly onAck: ((stream: PartitionStream<Value, Key>) => void) | undefined
}

/**
 * State of a stream: `starting` until its first offset is known and the application is ready, `active` while it fetches
 * and delivers, `revoking` while only acknowledgements count, `dropped` when nothing counts any more.
 */
export type StreamState = 'starting' | 'active' | 'revoking' | 'dropped'

/** Limit of the offsets in unconfirmed commits that a stream remembers. */
const sentMax = 100

/** One partition of this consumer, from its assignment to its end: positions, buffer, acknowledgements. */
export class PartitionStream<Value, Key> implements RecordSource<Value, Key> {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  readonly epoch: number
  readonly decoder: Decoder<Value, Key>
  readonly committer: OffsetCommitter | undefined
  state: StreamState = 'starting'
  /** Paused by the application. */
  paused = false
  /** The handlers of its messages, if `consumer.run` calls them; absent if the application iterates. */
  handlers: StreamHandlers<Value, Key> | undefined
  /** Whether it delivers nothing until one of its handlers has ended. */
  busy = false
  /** Next offset to deliver, and next offset to fetch. */
  position = 0
  fetchOffset = 0
  /** Delivery stops before this offset. */
  stopAt = Number.POSITIVE_INFINITY
  /** Last known end of the partition. */
  endOffset: number | undefined
  /** Increases when the position jumps, so that replies to earlier fetches are ignored. */
  version = 0
  /** The version at the start of the open fetch. */
  openFetchVersion: number | undefined
  /** Number of consecutive failed fetches, and the earliest time of the next one (ms of `performance.now`). */
  failures = 0
  retryAtMs = 0
  /** The acknowledgements, in a group. */
  acks: AckWindow | undefined
  /** The committed offset at the broker, as far as known; undefined if there is none. */
  committed: number | undefined
  /** Whether the committer has this stream in its queue. */
  commitPending = false
  /** Whether it is in the queue of streams with messages. */
  queued = false
  /** Whether it lost its turn: it must be queued again once it can deliver. */
  stalled = false
  /** The error of the batch whose turn it is; undefined if the batch can be delivered. */
  failure: Error | undefined
  /** The run in delivery. */
  run: RecordRun<Value, Key> | undefined
  /** Offsets in commits sent since the last confirmed commit. */
  readonly #sent = new Set<number>()
  #runBytes = 0
  #batches: Uint8Array[] = []
  #bufferedBytes = 0
  readonly #onAck: ((stream: PartitionStream<Value, Key>) => void) | undefined

  constructor(fields: PartitionStreamFields<Value, Key>) {
    this.topic = fields.topic
    this.topicId = fields.topicId
    this.partition = fields.partition
    this.epoch = fields.epoch
    this.decoder = fields.decoder
    this.committer = fields.committer
    this.#onAck = fields.onAck
  }

  /** Records an offset in a commit request; `confirmed` follows once the broker has committed it. */
  sent(offset: number): void {
    this.#sent.add(offset)
    const [oldest = offset] = this.#sent
    if (this.#sent.size > sentMax) this.#sent.delete(oldest)
  }

  /** The broker has committed this offset. */
  confirmed(offset: number): void {
    this.committed = offset
    this.#sent.clear()
  }

  /** Whether this stream may have committed the offset itself: the reply to a commit may be lost. */
  hasCommitted(offset: number | undefined): boolean {
    return offset === this.committed || (offset !== undefined && this.#sent.has(offset))
  }

  /** Whether every delivered message is acknowledged; with handlers, whether none of them is left to run. */
  get drained(): boolean {
    return this.handlers === undefined ? (this.acks?.unacked ?? 0) === 0 : this.handlers.areDone
  }

  /** Bytes of batches that are not completely delivered. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  get hasMessages(): boolean {
    return this.run !== undefined || this.#batches.length > 0
  }

  /** Whether everything before `stopAt` is delivered. */
  get finished(): boolean {
    return this.fetchOffset >= this.stopAt && !this.hasMessages
  }

  /** Discards buffered and delivered messages, and continues at `offset`; earlier acknowledgements have no effect. */
  restart(offset: number): void {
    this.clear()
    this.position = offset
    this.fetchOffset = offset
    if (this.#onAck === undefined) return
    const onAck = this.#onAck
    this.acks = new AckWindow(offset, () => {
      if (this.state !== 'dropped') onAck(this)
    })
  }

  /** Fetches from `offset` because the messages before it are gone; buffered messages are still delivered. */
  skipTo(offset: number): void {
    this.fetchOffset = offset
    if (this.hasMessages) return
    this.position = offset
    this.acks?.skipTo(offset)
  }

  /** Discards buffered messages; the position stays behind the last delivered one. */
  clear(): void {
    this.version++
    this.#batches = []
    this.run = undefined
    this.failure = undefined
    this.#runBytes = 0
    this.#bufferedBytes = 0
    this.fetchOffset = this.position
  }

  /**
   * Buffers fetched batches.
   * @throws MillraceError BAD_BATCH if they are incomplete
   */
  push(batches: Uint8Array): void {
    for (const batch of splitBatches(batches)) {
      const { baseOffset, recordCount } = readBatchHeader(batch)
      const endOffset = baseOffset + recordCount
      if (endOffset <= this.fetchOffset) continue
      this.fetchOffset = endOffset
      if (baseOffset >= this.stopAt) continue
      this.#batches.push(batch)
      this.#bufferedBytes += batch.length
    }
  }

  /**
   * Opens the next batch as `run`; returns false if there is none.
   * @throws DecodeError if its publisher packed it wrongly, MillraceError CORRUPT if its bytes are damaged. `failure`
   * holds the error until `skipFailure`
   */
  openRun(): boolean {
    if (this.failure !== undefined) throw this.failure
    const batch = this.#batches.shift()
    if (batch === undefined) return false
    this.#runBytes = batch.length
    try {
      this.run = new RecordRun(this, batch, this.position, this.stopAt, this.acks)
    } catch (cause) {
      this.failure = this.#damage(batch) ?? this.#unreadable(readBatchHeader(batch), cause)
      throw this.failure
    }
    return true
  }

  /** Converts an error of reading a record of the open run, and keeps it as `failure`. */
  readFailed({ cursor }: RecordRun<Value, Key>, cause: unknown): Error {
    this.failure = this.#unreadable(cursor.header, cause)
    return this.failure
  }

  /** Counts the rest of a batch that cannot be opened as delivered and acknowledged; returns its number of messages. */
  skipFailure(): number {
    if (!(this.failure instanceof DecodeError)) return 0
    const { raw, endOffset } = this.failure
    const count = endOffset - raw.offset
    const acks = this.run?.acks ?? this.acks?.open(raw.offset, count)
    acks?.delivered(count)
    acks?.ackRange(raw.offset, endOffset)
    this.position = endOffset
    this.failure = undefined
    return count
  }

  /** A valid checksum shows that the publisher wrote these bytes. */
  #damage(batch: Uint8Array): MillraceError | undefined {
    try {
      checkBatch(batch, limits.batchRecordsBytesMax)
      return undefined
    } catch (cause) {
      const { topic, partition, position } = this
      const reason = cause instanceof Error ? cause.message : String(cause)
      return new MillraceError(
        'CORRUPT',
        `the fetched records of topic "${topic}", partition ${partition}, offset ${position} are damaged: ${reason}`,
        { cause },
      )
    }
  }

  #unreadable({ baseOffset, recordCount, lastTimestamp: timestamp }: BatchHeader, cause: unknown): Error {
    if (!isMillraceError(cause, 'BAD_BATCH')) return cause instanceof Error ? cause : new Error(String(cause))
    const { topic, partition } = this
    const offset = Math.max(this.position, baseOffset)
    const message = unreadableMessage({ topic, partition, offset, timestamp })
    return new DecodeError(message, 'batch', cause, Math.min(baseOffset + recordCount, this.stopAt))
  }

  /** The run is delivered: releases its memory. */
  closeRun(): void {
    if (this.run !== undefined) this.position = Math.max(this.position, this.run.endOffset)
    this.run = undefined
    this.#bufferedBytes -= this.#runBytes
    this.#runBytes = 0
  }
}
