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

/** The receipt for a durable message. */
export interface Receipt {
  readonly topic: string
  readonly partition: number
  /** -1 for a delayed message, and for a recognized retry whose offset the broker has forgotten. */
  readonly offset: number
  /** ms since 1970. */
  readonly timestamp: number
  /** The id of a message with an id, or of a delayed one. */
  readonly id?: string | undefined
  /**
   * Of such a message: "delayed" until it is due, "duplicate" if a message with its id came before. After a lost reply,
   * that can be the same message: the client repeats the request.
   */
  readonly status?: 'appended' | 'delayed' | 'duplicate' | undefined
}

/** Receives the result of the batch that a part of a bulk publish is in. */
export interface BatchWatcher {
  batchDone(records: number, error: unknown): void
}

/** Consecutive messages of one watcher. */
interface Run {
  readonly watcher: BatchWatcher
  readonly from: number
  count: number
}

/** Parallel arrays, one entry for each message. */
interface Awaited {
  readonly indices: number[]
  readonly timestamps: number[]
  readonly resolves: ((receipt: Receipt) => void)[]
  readonly rejects: ((error: unknown) => void)[]
}

export const sequenceModulo = 2 ** 32

/**
 * Messages of one partition in progress: open while they gather, then sealed as the bytes that are sent, and sent
 * again, until the broker has answered.
 */
export class Batch extends RecordBatchBuilder {
  /** Its deadline, ms of the monotonic clock. */
  readonly deadlineMs: number
  /** Sequence of its first record, once it has one; stays until a new epoch begins. */
  sequence: number | undefined
  /** Whether it must be sent again, and waits until the other requests on the wire are answered. */
  hasFailed = false
  /** Whether it has gathered for so long that it counts as full. */
  isRipe = false
  #isSealed = false
  #sealed: Uint8Array | undefined
  #stamp: ProducerStamp | undefined
  /** Messages with a promise, if there are any. */
  #awaited: Awaited | undefined
  readonly #runs: Run[] = []
  /** The last of `#runs`: with thousands of batches, this saves a memory access. */
  #lastRun: Run | undefined

  /** @param bytesHint its expected size */
  constructor(deadlineMs: number, bytesHint?: number) {
    super(bytesHint)
    this.deadlineMs = deadlineMs
  }

  /** Whether it accepts no more messages. */
  get isSealed(): boolean {
    return this.#isSealed
  }

  /** Bytes of its messages in the buffer budget. */
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

  /** Reports its result to `watcher`, without a message of its own. */
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
      // A copy: a request that timed out may still hold the old bytes in the queue of the socket.
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
