import { type Compression, limits, type MillraceError } from '../../protocol/index.js'
import { Batch, sequenceModulo } from './batch.js'
import type { TopicQueues } from './topic_queues.js'

/** The shared settings of all queues of a topic. */
export interface QueueSettings {
  readonly batchBytes: number
  readonly batchesInFlightMax: number
  readonly deliveryTimeoutMs: number
  /** A partly filled batch counts as full after this time. */
  readonly gatherMsMax: number
  readonly compression: Compression
}

/** A batch on the wire, with the sent bytes. */
export interface SentBatch {
  readonly queue: PartitionQueue
  readonly batch: Batch
  readonly bytes: Uint8Array
}

/** The batch size of a queue never goes below this after a refusal as too large. */
const batchBytesMin = 1024

/**
 * The messages of one partition in the order of their calls. Batches are sent in order under ascending
 * sequences, several at a time. When one fails, the queue waits until all requests on the wire have been answered, and
 * then sends all unacknowledged batches again in the same order under the same sequences.
 *
 * A failed batch may or may not have been appended, and so may those behind it. They keep their sequences: if it
 * was appended, they follow on; if it was not, the broker refuses the oldest as out of order, which also proves that
 * it has none of them, and only then they get new numbers under the next epoch.
 */
export class PartitionQueue {
  readonly topic: TopicQueues
  readonly partition: number
  readonly settings: QueueSettings
  /** For ReadyQueues. */
  standsInLine = false
  standsInFullLine = false
  /** Sent and unacknowledged, oldest first. */
  #sent: Batch[] = []
  #failedCount = 0
  /** Unsent, oldest first; the last one may still be open. */
  #waiting: Batch[] = []
  /** The last opened batch: the last of `#waiting`, unless it is sealed or failed. */
  #newest: Batch | undefined
  #batchBytes: number
  /** 0 before the first batch. */
  #bytesHint = 0
  #epoch = 0
  #nextSequence = 0
  #epochIsOver = false

  constructor(topic: TopicQueues, partition: number, settings: QueueSettings) {
    this.topic = topic
    this.partition = partition
    this.settings = settings
    this.#batchBytes = settings.batchBytes
  }

  get isEmpty(): boolean {
    return this.#waiting.length + this.#sent.length === 0
  }

  /** Whether all messages are on the wire. */
  get isDrained(): boolean {
    return this.#waiting.length === 0
  }

  /** Unacknowledged batches. */
  get unacknowledged(): readonly Batch[] {
    return [...this.#sent, ...this.#waiting]
  }

  /** Upper bound of the bytes of the next batch. */
  get nextBytes(): number {
    return this.#waiting[0]?.bytes ?? 0
  }

  /** Whether a message of about `bytes` bytes would be the first of a batch. */
  startsBatch(bytes: number): boolean {
    return this.#newest === undefined || !this.#takes(this.#newest, bytes)
  }

  /** The batch for another message of about `bytes` bytes. */
  open(bytes: number): Batch {
    const newest = this.#newest
    if (newest !== undefined && this.#takes(newest, bytes)) return newest
    const batch = new Batch(performance.now() + this.settings.deliveryTimeoutMs, this.#bytesHint)
    this.#waiting.push(batch)
    this.#newest = batch
    return batch
  }

  /** Whether the message that was added to `batch` can change the readiness: it is its first one, or fills it. */
  isNews(batch: Batch): boolean {
    return batch.recordCount === 1 || this.#isFull(batch)
  }

  /** Whether a batch is ready; with `fullOnly` only a full one. */
  ready(fullOnly: boolean): boolean {
    if (this.#failedCount > 0 || this.#sent.length >= this.settings.batchesInFlightMax) return false
    if (this.#epochIsOver && this.#sent.length > 0) return false
    return this.#waiting.length > (fullOnly && !this.#lastIsFull() ? 1 : 0)
  }

  /** Takes the next batch. */
  take(producerId: number): SentBatch {
    if (this.#epochIsOver) this.#startEpoch()
    const batch = this.#waiting.shift() as Batch
    if (batch === this.#newest) this.#newest = undefined
    if (batch.sequence === undefined) {
      batch.sequence = this.#nextSequence
      this.#nextSequence = (this.#nextSequence + batch.recordCount) % sequenceModulo
    }
    // The next batch usually has about the same size, and growth in steps copies everything once more.
    this.#bytesHint = Math.ceil(Math.min(batch.bytes, this.#batchBytes) * 1.125)
    const bytes = batch.seal(this.settings.compression, {
      producerId,
      producerEpoch: this.#epoch,
      baseSequence: batch.sequence,
    })
    this.#sent.push(batch)
    return { queue: this, batch, bytes }
  }

  /** The broker has the batch. */
  succeeded(batch: Batch, baseOffset: number | undefined): void {
    this.#remove(batch)
    this.#settle()
    batch.succeed(this.topic.info.name, this.partition, baseOffset)
  }

  /** The batch must be sent again. */
  retry(batch: Batch): void {
    batch.hasFailed = true
    this.#failedCount++
    this.#settle()
  }

  /** The batch has failed. */
  gaveUp(batch: Batch, error: MillraceError): void {
    this.#remove(batch)
    this.#settle()
    batch.fail(error)
  }

  /**
   * The batch is too large for its topic: it is sent again as two, and the next ones will be smaller.
   * @returns the additional bytes of its messages
   */
  split(batch: Batch): number {
    const halves = batch.split()
    for (const half of halves) half.hasFailed = true
    this.#sent.splice(this.#sent.indexOf(batch), 1, ...halves)
    this.#failedCount += halves.length
    this.#batchBytes = Math.max(batchBytesMin, Math.min(this.#batchBytes, batch.bytes >> 1))
    this.#settle()
    return halves[0].messageBytes + halves[1].messageBytes - batch.messageBytes
  }

  /** Whether `batch` is the oldest unacknowledged one: then no earlier batch can be on its way. */
  isOldest(batch: Batch): boolean {
    return this.#sent[0] === batch
  }

  /** All unacknowledged batches get new numbers once the wire is empty. */
  endEpoch(): void {
    this.#epochIsOver = true
  }

  /** Fails waiting batches after their deadline; returns the freed bytes. */
  expire(nowMs: number, error: () => MillraceError): number {
    let bytes = 0
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (first.deadlineMs > nowMs) break
      this.#waiting.shift()
      if (first === this.#newest) this.#newest = undefined
      bytes += first.messageBytes
      first.fail(error())
    }
    return bytes
  }

  /** Checks whether the open batch has gathered for long enough; returns whether it counts as full from now on. */
  ripen(nowMs: number): boolean {
    const batch = this.#newest
    if (batch === undefined || batch.isRipe || batch.recordCount === 0) return false
    const { deliveryTimeoutMs, gatherMsMax } = this.settings
    batch.isRipe = nowMs - (batch.deadlineMs - deliveryTimeoutMs) >= gatherMsMax
    return batch.isRipe
  }

  /** Fails batches that are not on the wire; returns the freed bytes. */
  failWaiting(error: MillraceError): number {
    let bytes = 0
    this.#newest = undefined
    for (const batch of this.#waiting.splice(0)) {
      bytes += batch.messageBytes
      batch.fail(error)
    }
    return bytes
  }

  /** Fails everything; returns the freed bytes. */
  failAll(error: MillraceError): number {
    this.#waiting.unshift(...this.#sent)
    this.#sent = []
    this.#failedCount = 0
    return this.failWaiting(error)
  }

  /** Once all batches on the wire have failed, they go back to the front. */
  #settle(): void {
    if (this.#failedCount === 0 || this.#failedCount < this.#sent.length) return
    for (const batch of this.#sent) batch.hasFailed = false
    this.#waiting.unshift(...this.#sent)
    this.#sent = []
    this.#failedCount = 0
  }

  #startEpoch(): void {
    this.#epoch++
    this.#nextSequence = 0
    this.#epochIsOver = false
    for (const batch of this.#waiting) batch.sequence = undefined
  }

  #remove(batch: Batch): void {
    const at = this.#sent.indexOf(batch)
    if (at >= 0) this.#sent.splice(at, 1)
  }

  #takes(batch: Batch, bytes: number): boolean {
    if (batch.recordCount === 0) return true
    return batch.bytes + bytes <= this.#batchBytes && batch.recordCount < limits.batchRecordsMax
  }

  #lastIsFull(): boolean {
    const last = this.#waiting.at(-1)
    return last !== undefined && (last.isSealed || this.#isFull(last))
  }

  #isFull(batch: Batch): boolean {
    return batch.isRipe || batch.bytes >= this.#batchBytes * 0.9
  }
}
