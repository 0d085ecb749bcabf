import {
  batchHeaderBytes,
  type Compression,
  type MillraceError,
  type ProducerStamp,
  RecordBatchBuilder,
  type RecordInput,
  readBatchHeader,
  writeBatchHeader,
} from '../../protocol/index.js'

/** What a publisher is told of a durable message. */
export interface Receipt {
  readonly topic: string
  readonly partition: number
  /** -1 when a retry of it was recognized after the broker had forgotten its offset. */
  readonly offset: number
  /** ms since 1970. */
  readonly timestamp: number
}

/** Told how the batch ended that a part of a bulk publish is in. */
export interface BatchWatcher {
  batchDone(records: number, error: unknown): void
}

/** A batch grows from here: most are small when publishers wait for each message. */
const builderBytes = 1024

/**
 * Messages of one partition on their way: open while they gather, then sealed as the bytes that are sent, and sent
 * again, until the broker has answered for them.
 */
export class Batch {
  /** When it is given up, ms of the monotonic clock. */
  readonly deadlineMs: number
  /** Ascends in the order of the partition's batches. */
  readonly order: number
  readonly #builder: RecordBatchBuilder
  #sealed: Uint8Array | undefined
  /** Arrays side by side, one entry a message that somebody waits for. */
  readonly #indices: number[] = []
  readonly #timestamps: number[] = []
  readonly #resolves: ((receipt: Receipt) => void)[] = []
  readonly #rejects: ((error: unknown) => void)[] = []
  readonly #watchers = new Map<BatchWatcher, number>()

  constructor(order: number, deadlineMs: number) {
    this.#builder = new RecordBatchBuilder(builderBytes)
    this.order = order
    this.deadlineMs = deadlineMs
  }

  /** Whether it takes no more messages. */
  get isSealed(): boolean {
    return this.#sealed !== undefined
  }

  /** Bytes so far, before compression. */
  get bytes(): number {
    return this.#builder.bytes
  }

  get recordCount(): number {
    return this.#builder.recordCount
  }

  /** Bytes of its messages, as they count toward the buffer. */
  get messageBytes(): number {
    return this.#builder.bytes - batchHeaderBytes
  }

  /** Adds a message for which `resolve` or `reject` will be called; returns its bytes. */
  add(record: RecordInput, resolve: (receipt: Receipt) => void, reject: (error: unknown) => void): number {
    const index = this.#builder.recordCount
    const bytes = this.#builder.append(record)
    this.#indices.push(index)
    this.#timestamps.push(record.timestamp)
    this.#resolves.push(resolve)
    this.#rejects.push(reject)
    return bytes
  }

  /** Adds a message of a bulk publish; returns its bytes. */
  addWatched(record: RecordInput, watcher: BatchWatcher): number {
    const bytes = this.#builder.append(record)
    this.#watchers.set(watcher, (this.#watchers.get(watcher) ?? 0) + 1)
    return bytes
  }

  /** Tells `watcher` how it ends, without a message of its own. */
  watch(watcher: BatchWatcher): void {
    if (!this.#watchers.has(watcher)) this.#watchers.set(watcher, 0)
  }

  /** The bytes to send, under this producer stamp; the same ones until the stamp changes. */
  seal(compression: Compression, stamp: ProducerStamp): Uint8Array {
    this.#sealed ??= this.#builder.finish(compression, stamp)
    const header = readBatchHeader(this.#sealed)
    if (header.producerEpoch !== stamp.producerEpoch || header.baseSequence !== stamp.baseSequence) {
      writeBatchHeader(this.#sealed, { ...header, ...stamp })
    }
    return this.#sealed
  }

  succeed(topic: string, partition: number, baseOffset: number | undefined): void {
    for (const [at, resolve] of this.#resolves.entries()) {
      const offset = baseOffset === undefined ? -1 : baseOffset + (this.#indices[at] as number)
      resolve({ topic, partition, offset, timestamp: this.#timestamps[at] as number })
    }
    for (const [watcher, records] of this.#watchers) watcher.batchDone(records, undefined)
  }

  fail(error: MillraceError): void {
    for (const reject of this.#rejects) reject(error)
    for (const [watcher, records] of this.#watchers) watcher.batchDone(records, error)
  }
}
