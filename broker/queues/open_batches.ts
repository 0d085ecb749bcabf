import { limits, RecordCursor } from '../../protocol/index.js'
import type { PartitionLog } from '../../storage/index.js'

/** Number of records from one mark to the next. */
const markRecords = 1_000
/** Limit of the decompressed records of all open batches; the last one stays open in any case. */
const bytesMax = limits.batchRecordsBytesMax
const batchesMax = 16

/** A decompressed batch, with marks at some of its records: a later read starts at the nearest mark. */
export class OpenBatch {
  readonly cursor: RecordCursor
  /** Start of each 1,000th record. */
  readonly #marks: number[] = []

  /** @throws MillraceError BAD_BATCH, BATCH_TOO_LARGE */
  constructor(batch: Uint8Array) {
    this.cursor = new RecordCursor(batch, limits.batchRecordsBytesMax)
  }

  get first(): number {
    return this.cursor.header.baseOffset
  }

  /** Offset after the last record. */
  get end(): number {
    return this.first + this.cursor.header.recordCount
  }

  /** Memory that the batch keeps. */
  get bytes(): number {
    return this.cursor.records.buffer.byteLength
  }

  /** Moves the cursor to the next record, and sets a mark where there is none. @throws MillraceError BAD_BATCH */
  next(): boolean {
    const { cursor } = this
    if (!cursor.next()) return false
    if (cursor.index === this.#marks.length * markRecords) this.#marks.push(cursor.recordStart)
    return true
  }

  /** Moves the cursor so that `next()` reads the record at `offset`. The first record must have been read before. */
  moveBefore(offset: number): void {
    const index = offset - this.first
    const mark = Math.min(Math.floor(index / markRecords), this.#marks.length - 1)
    this.cursor.seek(mark * markRecords, this.#marks[mark] as number)
    while (this.cursor.index + 1 < index) this.next()
  }
}

interface Entry {
  readonly log: PartitionLog
  readonly batch: OpenBatch
}

/** Batches that were read in part, so that the read of the next part does not decompress them again. */
export class OpenBatches {
  /** The one that was used last is at the end. */
  readonly #entries: Entry[] = []
  #bytes = 0

  find(log: PartitionLog, offset: number): OpenBatch | undefined {
    const at = this.#entries.findLastIndex(
      (entry) => entry.log === log && offset >= entry.batch.first && offset < entry.batch.end,
    )
    if (at < 0) return undefined
    const [entry] = this.#entries.splice(at, 1) as [Entry]
    this.#entries.push(entry)
    return entry.batch
  }

  keep(log: PartitionLog, batch: OpenBatch): void {
    // Another group may have opened it at the same time.
    if (this.find(log, batch.first) !== undefined) return
    this.#entries.push({ log, batch })
    this.#bytes += batch.bytes
    while (this.#entries.length > 1 && (this.#bytes > bytesMax || this.#entries.length > batchesMax))
      this.#bytes -= (this.#entries.shift() as Entry).batch.bytes
  }

  drop(batch: OpenBatch): void {
    const at = this.#entries.findIndex((entry) => entry.batch === batch)
    if (at < 0) return
    this.#entries.splice(at, 1)
    this.#bytes -= batch.bytes
  }
}
