import { batchHeaderBytes, type RecordBody, sealBodies } from '../../protocol/index.js'
import type { Op } from '../../storage/index.js'
import { timestampBytesMax } from '../admission.js'
import type { Partition } from '../partition/partition.js'

const batchBytesGoal = 256 * 1024

interface OpenBatch {
  readonly records: RecordBody[]
  bytes: number
}

/**
 * Batches of records that the broker itself writes, for one commit. Their offsets are known at once, if the caller
 * commits in the same turn of the event loop and with the batches in the order of `ops`.
 */
export class Appends {
  readonly #open = new Map<Partition, OpenBatch>()
  readonly #ends = new Map<Partition, number>()
  readonly #sealed: Op[] = []
  records = 0
  bytes = 0

  /** Adds a record and returns its offset. */
  add(partition: Partition, record: RecordBody): number {
    const bytes = record.body.length + timestampBytesMax
    let batch = this.#open.get(partition)
    if (batch !== undefined && batch.bytes + bytes > this.#batchBytesMax(partition)) {
      this.#seal(partition, batch)
      batch = undefined
    }
    if (batch === undefined) {
      batch = { records: [], bytes: batchHeaderBytes }
      this.#open.set(partition, batch)
    }
    batch.records.push(record)
    batch.bytes += bytes
    this.records++
    const offset = this.#ends.get(partition) ?? partition.log.nextOffset
    this.#ends.set(partition, offset + 1)
    return offset
  }

  /** The sealed batches; no record can be added after this. */
  ops(): Op[] {
    for (const [partition, batch] of this.#open) this.#seal(partition, batch)
    this.#open.clear()
    return this.#sealed
  }

  #seal(partition: Partition, { records }: OpenBatch): void {
    const batch = sealBodies(records)
    this.bytes += batch.length
    this.#sealed.push({ log: partition.log, batch })
  }

  #batchBytesMax({ topic }: Partition): number {
    return Math.min(topic.settings.batchBytesMax, batchBytesGoal)
  }
}
