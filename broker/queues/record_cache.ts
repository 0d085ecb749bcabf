import { byLane, type QueueMessage } from './queue_message.js'
import { type RecordReader, readEach, type StoredRecord } from './read_records.js'

/** Limit of the records of a group in memory; others are read again when their turn comes. */
const bytesMax = 16 * 1024 * 1024
/** A record that makes up at least this share of its read is not copied. */
const wholeFactor = 4

/** The records of messages that wait for their delivery, as far as there is room. */
export class RecordCache {
  #bytes = 0

  /** Whether there is room for one more. */
  get hasRoom(): boolean {
    return this.#bytes < bytesMax
  }

  keep(message: QueueMessage, record: StoredRecord): void {
    this.drop(message)
    this.#bytes += message.bytes
    message.record = record
  }

  /** The message may stay for long: copy the record, so that it does not keep the memory of its whole read. */
  detach(message: QueueMessage): void {
    const { record } = message
    if (record === undefined || record.bytes.length * wholeFactor >= record.bytes.buffer.byteLength) return
    message.record = { firstTimestamp: record.firstTimestamp, bytes: new Uint8Array(record.bytes) }
  }

  drop(message: QueueMessage): void {
    if (message.record === undefined) return
    this.#bytes -= message.bytes
    message.record = undefined
  }

  /**
   * Reads records that are not in memory.
   * @returns the messages that cannot be read any more
   * @throws MillraceError STORAGE_FAILED
   */
  async load(reader: RecordReader, messages: readonly QueueMessage[]): Promise<QueueMessage[]> {
    const missing = messages.filter(({ record }) => record === undefined)
    for (const [lane, some] of byLane(missing)) {
      const offsets = some.map(({ offset }) => offset).sort((a, b) => a - b)
      const records = await readEach(reader, lane.partition.log, offsets)
      for (const message of some) {
        const record = records.get(message.offset)
        if (record !== undefined) this.keep(message, record)
      }
    }
    return missing.filter(({ record }) => record === undefined)
  }
}
