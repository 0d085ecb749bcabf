import type { BatchHeader } from '../../protocol/index.js'
import type { PartitionLog } from '../../storage/index.js'
import type { Topic } from '../topics/topic.js'
import { ProducerTable } from './producers.js'

/** A waiter for data in partitions. */
export interface DataWaiter {
  /** Called once for each batch that became readable; must not throw. */
  dataArrived(bytes: number): void
  /** Called when the partition is deleted or its data is unavailable. */
  interrupted(): void
}

/** One partition of a topic: its log, its idempotent producers, and its waiters. */
export class Partition {
  readonly topic: Topic
  readonly index: number
  readonly log: PartitionLog
  #producers: ProducerTable | undefined
  #waiters: Set<DataWaiter> | undefined

  constructor(topic: Topic, index: number, log: PartitionLog) {
    this.topic = topic
    this.index = index
    this.log = log
  }

  /** First available offset. */
  get startOffset(): number {
    return this.log.startOffset
  }

  /** Offset after the last durable record. */
  get endOffset(): number {
    return this.log.endOffset
  }

  /** Created at the first idempotent batch: most of 10,000 partitions may never have one. */
  get producers(): ProducerTable {
    this.#producers ??= new ProducerTable()
    return this.#producers
  }

  get producersIfAny(): ProducerTable | undefined {
    return this.#producers
  }

  wait(waiter: DataWaiter): void {
    this.#waiters ??= new Set()
    this.#waiters.add(waiter)
  }

  stopWaiting(waiter: DataWaiter): void {
    this.#waiters?.delete(waiter)
    if (this.#waiters?.size === 0) this.#waiters = undefined
  }

  /** A batch is durable and can be read. */
  appended(header: BatchHeader): void {
    if (this.#waiters === undefined) return
    for (const waiter of this.#waiters) waiter.dataArrived(header.batchBytes)
  }

  /** The partition is deleted. */
  interrupted(): void {
    for (const waiter of [...(this.#waiters ?? [])]) waiter.interrupted()
  }
}
