import type { Compression, MillraceError } from '../../protocol/index.js'
import { Batch } from './batch.js'

export interface QueueOptions {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  readonly batchBytes: number
  readonly batchesInFlightMax: number
  readonly deliveryTimeoutMs: number
  readonly compression: Compression
}

/** A batch on the wire, with the bytes that were sent. */
export interface SentBatch {
  readonly queue: PartitionQueue
  readonly batch: Batch
  readonly bytes: Uint8Array
}

const sequenceModulo = 2 ** 32

/**
 * The messages of one partition in the order in which they were published. Batches are sent in order under ascending
 * sequences, several at a time; when one fails, nothing is sent until all that are on the wire have been answered, and
 * then everything unacknowledged goes again in the same order. What was given up leaves a hole in the sequences, so
 * what follows starts a new epoch at sequence 0.
 */
export class PartitionQueue {
  readonly options: QueueOptions
  /** Oldest first; the last one may still be open. */
  #waiting: Batch[] = []
  #inFlight: Batch[] = []
  /** Failed while others are still on the wire. */
  #failed: Batch[] = []
  #epoch = 0
  /** Sequence of the first record of what comes after `#inFlight`. */
  #nextSequence = 0
  /** What comes next can't follow on: the sequences have a hole. */
  #holed = false
  #batches = 0

  constructor(options: QueueOptions) {
    this.options = options
  }

  get isEmpty(): boolean {
    return this.#waiting.length + this.#inFlight.length + this.#failed.length === 0
  }

  /** Whether all that was published is on the wire. */
  get isDrained(): boolean {
    return this.#waiting.length === 0
  }

  /** Whether the next message would be the first of a batch. */
  get startsBatch(): boolean {
    const last = this.#waiting.at(-1)
    return last === undefined || last.isSealed || last.bytes >= this.options.batchBytes
  }

  /** The newest batch that is not acknowledged. */
  get newest(): Batch | undefined {
    return this.#waiting.at(-1) ?? this.#failed.at(-1) ?? this.#inFlight.at(-1)
  }

  /** The batch that takes another message of about `bytes` bytes. */
  open(bytes: number): Batch {
    const last = this.#waiting.at(-1)
    if (
      last !== undefined &&
      !last.isSealed &&
      (last.recordCount === 0 || last.bytes + bytes <= this.options.batchBytes)
    ) {
      return last
    }
    const batch = new Batch(this.#batches++, performance.now() + this.options.deliveryTimeoutMs)
    this.#waiting.push(batch)
    return batch
  }

  /** Whether something can be sent; with `fullOnly` not a batch that still gathers. */
  ready(fullOnly: boolean): boolean {
    if (this.#failed.length > 0 || this.#inFlight.length >= this.options.batchesInFlightMax) return false
    if (this.#holed && this.#inFlight.length > 0) return false
    return this.#waiting.length > (fullOnly && !this.#lastIsFull() ? 1 : 0)
  }

  /** Takes the next batch to send. */
  take(producerId: number): SentBatch {
    if (this.#holed && this.#inFlight.length === 0) {
      this.#epoch++
      this.#nextSequence = 0
      this.#holed = false
    }
    const batch = this.#waiting.shift() as Batch
    const bytes = batch.seal(this.options.compression, {
      producerId,
      producerEpoch: this.#epoch,
      baseSequence: this.#nextSequence,
    })
    this.#nextSequence = (this.#nextSequence + batch.recordCount) % sequenceModulo
    this.#inFlight.push(batch)
    return { queue: this, batch, bytes }
  }

  /** The broker has the batch. */
  succeeded(batch: Batch, baseOffset: number | undefined): void {
    this.#remove(batch)
    batch.succeed(this.options.topic, this.options.partition, baseOffset)
    this.#settle()
  }

  /** The batch has to go again. */
  retry(batch: Batch): void {
    this.#remove(batch)
    this.#failed.push(batch)
    this.#settle()
  }

  /** The batch is given up. */
  gaveUp(batch: Batch, error: MillraceError): void {
    this.#remove(batch)
    this.#holed = true
    batch.fail(error)
    this.#settle()
  }

  /** Whether `batch` is the oldest of what the broker has not answered: then nothing of ours can be missing before it. */
  isOldest(batch: Batch): boolean {
    return this.#inFlight[0] === batch && this.#failed.length === 0
  }

  /** The broker does not know what came before: everything from here on starts a new epoch. */
  startEpoch(): void {
    this.#holed = true
  }

  /** Gives up what waits and is over its time; returns the bytes that were freed. */
  expire(nowMs: number, error: () => MillraceError): number {
    let bytes = 0
    while (this.#waiting[0] !== undefined && this.#waiting[0].deadlineMs <= nowMs) {
      const batch = this.#waiting.shift() as Batch
      if (batch.isSealed) this.#holed = true
      bytes += batch.messageBytes
      batch.fail(error())
    }
    return bytes
  }

  /** Gives up everything. */
  failAll(error: MillraceError): void {
    const all = [...this.#inFlight, ...this.#failed, ...this.#waiting]
    this.#inFlight = []
    this.#failed = []
    this.#waiting = []
    for (const batch of all) batch.fail(error)
  }

  /** Once nothing is on the wire, what failed goes back to the front, oldest first. */
  #settle(): void {
    if (this.#failed.length === 0 || this.#inFlight.length > 0) return
    const failed = this.#failed.sort((a, b) => a.order - b.order)
    this.#failed = []
    let records = 0
    for (const batch of failed) records += batch.recordCount
    this.#nextSequence = (this.#nextSequence - records + sequenceModulo) % sequenceModulo
    this.#waiting.unshift(...failed)
  }

  #remove(batch: Batch): void {
    const at = this.#inFlight.indexOf(batch)
    if (at >= 0) this.#inFlight.splice(at, 1)
  }

  #lastIsFull(): boolean {
    const last = this.#waiting.at(-1)
    return last !== undefined && (last.isSealed || last.bytes >= this.options.batchBytes * 0.9)
  }
}
