import type { MillraceError } from '../../protocol/index.js'
import type { TopicInfo } from '../cluster.js'
import { PartitionQueue, type QueueSettings } from './partition_queue.js'

/** The queues of one topic; they survive its deletion if it is created again with as many partitions. */
export class TopicQueues {
  /** Whether a metadata request is in progress; nothing is sent during it. */
  isRefreshing = false
  readonly #settings: QueueSettings
  readonly #queues: (PartitionQueue | undefined)[] = []
  #info: TopicInfo
  /** The partition for messages without a key, until its batch is full. */
  #sticky: number | undefined

  constructor(info: TopicInfo, settings: QueueSettings) {
    this.#info = info
    this.#settings = settings
  }

  /** The destination of its batches. */
  get info(): TopicInfo {
    return this.#info
  }

  get isEmpty(): boolean {
    for (const queue of this.all()) if (!queue.isEmpty) return false
    return true
  }

  *all(): Iterable<PartitionQueue> {
    for (const queue of this.#queues) if (queue !== undefined) yield queue
  }

  queue(partition: number): PartitionQueue {
    let queue = this.#queues[partition]
    if (queue === undefined) {
      queue = new PartitionQueue(this, partition, this.#settings)
      this.#queues[partition] = queue
    }
    return queue
  }

  /** A partition for a message of about `bytes` bytes without a key: the same one until its batch is full. */
  anyPartition(bytes: number): number {
    const { partitions } = this.#info
    if (partitions === 1) return 0
    let partition = this.#sticky
    if (partition === undefined || partition >= partitions) partition = Math.floor(Math.random() * partitions)
    else if (this.queue(partition).startsBatch(bytes)) partition = (partition + 1) % partitions
    else return partition
    this.#sticky = partition
    return partition
  }

  /**
   * Applies new metadata, unless that would send messages to other partitions than before.
   * @returns whether it did
   */
  update(info: TopicInfo): boolean {
    if (info.topicId !== this.#info.topicId) {
      if (info.partitions !== this.#info.partitions && !this.isEmpty) return false
      for (const queue of this.all()) queue.endEpoch()
    }
    this.#info = info
    return true
  }

  /** Fails everything; returns the freed bytes. */
  failAll(error: MillraceError): number {
    let bytes = 0
    for (const queue of this.all()) bytes += queue.failAll(error)
    return bytes
  }

  /** Fails batches that are not on the wire; returns the freed bytes. */
  failWaiting(error: MillraceError): number {
    let bytes = 0
    for (const queue of this.all()) bytes += queue.failWaiting(error)
    return bytes
  }
}
