import {
  batchHeaderBytes,
  type Compression,
  limits,
  type MillraceError,
  type ProducerStamp,
  RecordBatchBuilder,
  RecordCursor,
  type RecordInput,
  readBatchHeader,
  readRecordHeaders,
  writeBatchHeader,
} from '../../protocol/index.js'

/** What a publisher is told of a durable message. */
export interface Receipt {
  readonly topic: string
  readonly partition: number
  /** -1 for a delayed message, and when a retry of it was recognized after the broker had forgotten its offset. */
  readonly offset: number
  /** ms since 1970. */
  readonly timestamp: number
  /** Of a message with an id, or for later. */
  readonly id?: string | undefined
  /** Of such a message: "delayed" until it is due, "duplicate" when one with its id came before. */
  readonly status?: 'appended' | 'delayed' | 'duplicate' | undefined
}

/** Told how the batch ended that a part of a bulk publish is in. */
export interface BatchWatcher {
  batchDone(records: number, error: unknown): void
}

/** Messages of one watcher that stand next to each other. */
interface Run {
  readonly watcher: BatchWatcher
  readonly from: number
  count: number
}

/** Arrays side by side, one entry a message. */
interface Awaited {
  readonly indices: number[]
  readonly timestamps: number[]
  readonly resolves: ((receipt: Receipt) => void)[]
  readonly rejects: ((error: unknown) => void)[]
}

export const sequenceModulo = 2 ** 32

/**
 * Messages of one partition on their way: open while they gather, then sealed as the bytes that are sent, and sent
 * again, until the broker has answered for them.
 */
export class Batch extends RecordBatchBuilder {
  /** When it is given up, ms of the monotonic clock. */
  readonly deadlineMs: number
  /** Sequence of its first record, once it has one; stays until a new epoch begins. */
  sequence: number | undefined
  /** Whether it was refused for now, and waits until the others on the wire are answered. */
  hasFailed = false
  /** Whether it has gathered for so long that it counts as full. */
  isRipe = false
  #isSealed = false
  #sealed: Uint8Array | undefined
  #stamp: ProducerStamp | undefined
  /** Messages that somebody waits for, if there are any. */
  #awaited: Awaited | undefined
  readonly #runs: Run[] = []
  /** The last of `#runs`: where there are thousands of batches, what isn't touched isn't fetched from memory. */
  #lastRun: Run | undefined

  /** @param bytesHint what it will probably take */
  constructor(deadlineMs: number, bytesHint?: number) {
    super(bytesHint)
    this.deadlineMs = deadlineMs
  }

  /** Whether it takes no more messages. */
  get isSealed(): boolean {
    return this.#isSealed
  }

  /** Bytes of its messages, as they count toward the buffer. */
  get messageBytes(): number {
    return this.bytes - batchHeaderBytes
  }

  /** Adds a message of at most `bytesMax` for which `resolve` or `reject` will be called; returns its bytes. */
  add(
    record: RecordInput,
    bytesMax: number,
    resolve: (receipt: Receipt) => void,
    reject: (error: unknown) => void,
  ): number {
    const index = this.recordCount
    const bytes = this.append(record, bytesMax)
    this.#await(index, record.timestamp, resolve, reject)
    return bytes
  }

  /** Adds a message of a bulk publish, of at most `bytesMax`; returns its bytes. */
  addWatched(record: RecordInput, bytesMax: number, watcher: BatchWatcher): number {
    const index = this.recordCount
    const bytes = this.append(record, bytesMax)
    this.#watch(watcher, index, 1)
    return bytes
  }

  /** Tells `watcher` how it ends, without a message of its own. */
  watch(watcher: BatchWatcher): void {
    this.#addRun(watcher, this.recordCount, 0)
  }

  /** The bytes to send under this producer stamp: the same ones until the stamp changes. */
  seal(compression: Compression, stamp: ProducerStamp): Uint8Array {
    this.#isSealed = true
    const before = this.#stamp
    this.#stamp = stamp
    if (this.#sealed === undefined || before === undefined) {
      this.#sealed = this.finish(compression, stamp)
    } else if (
      before.producerEpoch !== stamp.producerEpoch ||
      before.baseSequence !== stamp.baseSequence ||
      before.producerId !== stamp.producerId
    ) {
      // A copy: a request that timed out may still hold the old bytes in the socket's queue.
      this.#sealed = Buffer.from(this.#sealed)
      writeBatchHeader(this.#sealed, { ...readBatchHeader(this.#sealed), ...stamp })
    }
    return this.#sealed
  }

  /** Two batches with half of its messages each; for sealed batches of more than one. */
  split(): readonly [Batch, Batch] {
    const first = new Batch(this.deadlineMs, this.bytes)
    const second = new Batch(this.deadlineMs, this.bytes)
    const middle = this.recordCount >> 1
    const cursor = new RecordCursor(this.#sealed as Uint8Array, limits.batchRecordsBytesMax)
    while (cursor.next()) (cursor.index < middle ? first : second).append(recordOf(cursor))
    const { indices, timestamps, resolves, rejects } = this.#awaited ?? nobody
    for (const [at, index] of indices.entries()) {
      const half = index < middle ? first : second
      half.#await(
        index < middle ? index : index - middle,
        timestamps[at] as number,
        resolves[at] as (receipt: Receipt) => void,
        rejects[at] as (error: unknown) => void,
      )
    }
    for (const { watcher, from, count } of this.#runs) {
      const inFirst = Math.min(Math.max(middle - from, 0), count)
      if (inFirst > 0) first.#watch(watcher, from, inFirst)
      if (inFirst < count || count === 0) second.#watch(watcher, Math.max(from - middle, 0), count - inFirst)
    }
    for (const half of [first, second]) half.#isSealed = true
    first.sequence = this.sequence
    second.sequence = this.sequence === undefined ? undefined : (this.sequence + middle) % sequenceModulo
    return [first, second]
  }

  succeed(topic: string, partition: number, baseOffset: number | undefined): void {
    const { indices, timestamps, resolves } = this.#awaited ?? nobody
    for (let at = 0; at < resolves.length; at++) {
      const offset = baseOffset === undefined ? -1 : baseOffset + (indices[at] as number)
      const resolve = resolves[at] as (receipt: Receipt) => void
      resolve({ topic, partition, offset, timestamp: timestamps[at] as number })
    }
    for (const { watcher, count } of this.#runs) watcher.batchDone(count, undefined)
  }

  fail(error: MillraceError): void {
    for (const reject of (this.#awaited ?? nobody).rejects) reject(error)
    for (const { watcher, count } of this.#runs) watcher.batchDone(count, error)
  }

  #await(
    index: number,
    timestamp: number,
    resolve: (receipt: Receipt) => void,
    reject: (error: unknown) => void,
  ): void {
    this.#awaited ??= { indices: [], timestamps: [], resolves: [], rejects: [] }
    this.#awaited.indices.push(index)
    this.#awaited.timestamps.push(timestamp)
    this.#awaited.resolves.push(resolve)
    this.#awaited.rejects.push(reject)
  }

  #watch(watcher: BatchWatcher, from: number, count: number): void {
    const last = this.#lastRun
    if (last !== undefined && last.watcher === watcher && last.from + last.count === from) last.count += count
    else this.#addRun(watcher, from, count)
  }

  #addRun(watcher: BatchWatcher, from: number, count: number): void {
    this.#lastRun = { watcher, from, count }
    this.#runs.push(this.#lastRun)
  }
}

const nobody: Awaited = { indices: [], timestamps: [], resolves: [], rejects: [] }

function recordOf(cursor: RecordCursor): RecordInput {
  const { records, keyStart, keyEnd, valueStart, valueEnd, headerCount, headersStart, timestamp } = cursor
  return {
    key: keyStart < 0 ? null : records.subarray(keyStart, keyEnd),
    value: valueStart < 0 ? null : records.subarray(valueStart, valueEnd),
    headers: headerCount === 0 ? undefined : readRecordHeaders(records, headersStart, headerCount),
    timestamp,
  }
}
