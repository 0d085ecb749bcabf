import { type Compression, limits, type MillraceError } from '../../protocol/index.js'
import { Batch, sequenceModulo } from './batch.js'
import type { TopicQueues } from './topic_queues.js'

/** What all queues of a topic have in common. */
export interface QueueSettings {
  readonly batchBytes: number
  readonly batchesInFlightMax: number
  readonly deliveryTimeoutMs: number
  /** A batch that is not full counts as full after so long. */
  readonly gatherMsMax: number
  readonly compression: Compression
}

/** A batch on the wire, with the bytes that were sent. */
export interface SentBatch {
  readonly queue: PartitionQueue
  readonly batch: Batch
  readonly bytes: Uint8Array
}

/** A queue that is refused as too large for its topic never goes below this. */
const batchBytesMin = 1024

/**
 * The messages of one partition in the order in which they were published. Batches are sent in order under ascending
 * sequences, several at a time; when one fails, nothing is sent until all that are on the wire have been answered, and
 * then everything unacknowledged goes again in the same order under the same sequences.
 *
 * A batch that is given up may or may not have been appended, and so may those behind it. They keep their sequences: if it
 * was appended, they follow on; if it was not, the broker refuses the oldest as out of order, which also proves that
 * none of them is there, and only then they are numbered anew under the next epoch.
 */
export class PartitionQueue {
  readonly topic: TopicQueues
  readonly partition: number
  readonly settings: QueueSettings
  /** For ReadyQueues. */
  standsInLine = false
  standsInFullLine = false
  /** Sent and not acknowledged, oldest first. */
  #sent: Batch[] = []
  #failedCount = 0
  /** To be sent, oldest first; the last one may still be open. */
  #waiting: Batch[] = []
  /** The last one that was opened: the last of `#waiting`, unless it is sealed or given up. */
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

  /** Whether all that was published is on the wire. */
  get isDrained(): boolean {
    return this.#waiting.length === 0
  }

  /** What is not acknowledged. */
  get unacknowledged(): readonly Batch[] {
    return [...this.#sent, ...this.#waiting]
  }

  /** Bytes that the next batch to send takes at most. */
  get nextBytes(): number {
    return this.#waiting[0]?.bytes ?? 0
  }

  /** Whether a message of about `bytes` bytes would be the first of a batch. */
  startsBatch(bytes: number): boolean {
    return this.#newest === undefined || !this.#takes(this.#newest, bytes)
  }

  /** The batch that takes another message of about `bytes` bytes. */
  open(bytes: number): Batch {
    const newest = this.#newest
    if (newest !== undefined && this.#takes(newest, bytes)) return newest
    const batch = new Batch(performance.now() + this.settings.deliveryTimeoutMs, this.#bytesHint)
    this.#waiting.push(batch)
    this.#newest = batch
    return batch
  }

  /** Whether a message that was added to `batch` can have changed what is ready: it is its first one, or fills it. */
  isNews(batch: Batch): boolean {
    return batch.recordCount === 1 || this.#isFull(batch)
  }

  /** Whether something can be sent; with `fullOnly` not a batch that still gathers. */
  ready(fullOnly: boolean): boolean {
    if (this.#failedCount > 0 || this.#sent.length >= this.settings.batchesInFlightMax) return false
    if (this.#epochIsOver && this.#sent.length > 0) return false
    return this.#waiting.length > (fullOnly && !this.#lastIsFull() ? 1 : 0)
  }

  /** Takes the next batch to send. */
  take(producerId: number): SentBatch {
    if (this.#epochIsOver) this.#startEpoch()
    const batch = this.#waiting.shift() as Batch
    if (batch === this.#newest) this.#newest = undefined
    if (batch.sequence === undefined) {
      batch.sequence = this.#nextSequence
      this.#nextSequence = (this.#nextSequence + batch.recordCount) % sequenceModulo
    }
    // Mostly the next batch grows about as large, and growing step by step copies everything once more.
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

  /** The batch has to go again. */
  retry(batch: Batch): void {
    batch.hasFailed = true
    this.#failedCount++
    this.#settle()
  }

  /** The batch is given up. */
  gaveUp(batch: Batch, error: MillraceError): void {
    this.#remove(batch)
    this.#settle()
    batch.fail(error)
  }

  /**
   * The batch is too large for its topic: it goes again as two, and the next ones will be smaller.
   * @returns by how many bytes its messages take more now
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

  /** Whether `batch` is the oldest that is not acknowledged: then nothing can be on its way that belongs before it. */
  isOldest(batch: Batch): boolean {
    return this.#sent[0] === batch
  }

  /** Everything that is not acknowledged is numbered anew once nothing is on the wire. */
  endEpoch(): void {
    this.#epochIsOver = true
  }

  /** Gives up what waits and is over its time; returns the bytes that were freed. */
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

  /** Looks whether the batch that gathers has done so for long enough; returns whether it counts as full from now on. */
  ripen(nowMs: number): boolean {
    const batch = this.#newest
    if (batch === undefined || batch.isRipe || batch.recordCount === 0) return false
    const { deliveryTimeoutMs, gatherMsMax } = this.settings
    batch.isRipe = nowMs - (batch.deadlineMs - deliveryTimeoutMs) >= gatherMsMax
    return batch.isRipe
  }

  /** Gives up what is not on the wire; returns the bytes that were freed. */
  failWaiting(error: MillraceError): number {
    let bytes = 0
    this.#newest = undefined
    for (const batch of this.#waiting.splice(0)) {
      bytes += batch.messageBytes
      batch.fail(error)
    }
    return bytes
  }

  /** Gives up everything; returns the bytes that were freed. */
  failAll(error: MillraceError): number {
    this.#waiting.unshift(...this.#sent)
    this.#sent = []
    this.#failedCount = 0
    return this.failWaiting(error)
  }

  /** Once all that are on the wire have failed, they go back to the front. */
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
