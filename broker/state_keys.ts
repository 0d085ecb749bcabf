import type { State } from '../storage/index.js'

/**
 * Keys of the broker's views in the state database. The first byte is the table (storage owns those below 0x10),
 * and numbers are big-endian. These bytes are on disk and never change.
 *
 *     10                             number of starts of the broker
 *     11                             the lowest unused ids of topics and logs
 *     12  topicId u32                a topic
 *     13  logId u32, producerId u64  an idempotent producer of a partition
 *     14  "/group/topicId/page"      committed offsets, see groups/offsets_view.ts
 *     1a  queueId u64                a queue group, see queues/queues_view.ts
 *     1b  queueId u64, logId u32     position of a queue group in a partition log
 *     1c  queueId u64, logId u32, page u64   a page of its messages that are not done
 *     1e  queueId u64, page u64      redriven dead letters of a queue group, see queues/redriven_letters.ts
 *     1d  committedAtMs u64, id      ids of transactions, see queues/transactions_view.ts
 *     15  group                       a paused stream group
 *     16                             number of delayed messages of each topic
 *     16  dueMs u64, sequence u64    a delayed message, see later/delayed_codec.ts
 *     17  topicId u32, id            key of the delayed message with this id: dueMs u64, sequence u64
 *     18  name                       a schedule
 *     19  topicId u32, second u32, page u32  message ids by the second of their arrival, see later/message_ids.ts
 */
export const viewTables = {
  boots: 0x10,
  ids: 0x11,
  topic: 0x12,
  producer: 0x13,
  offsets: 0x14,
  pausedGroups: 0x15,
  queue: 0x1a,
  queueProgress: 0x1b,
  queuePage: 0x1c,
  transactionIds: 0x1d,
  queueRedriven: 0x1e,
  delayed: 0x16,
  delayedId: 0x17,
  schedule: 0x18,
  messageIds: 0x19,
} as const

export const bootsKey = Uint8Array.of(viewTables.boots)
export const idsKey = Uint8Array.of(viewTables.ids)

export function topicKey(topicId: number): Uint8Array {
  const key = Buffer.allocUnsafe(5)
  key[0] = viewTables.topic
  key.writeUInt32BE(topicId, 1)
  return key
}

export function producerKey(logId: number, producerId: number): Uint8Array {
  const key = Buffer.allocUnsafe(13)
  key[0] = viewTables.producer
  key.writeUInt32BE(logId, 1)
  key.writeUInt32BE(Math.floor(producerId / 0x1_0000_0000), 5)
  key.writeUInt32BE(producerId % 0x1_0000_0000, 9)
  return key
}

export function logIdOfProducerKey(key: Uint8Array): number {
  return Buffer.from(key.buffer, key.byteOffset, key.length).readUInt32BE(1)
}

const rangeEntriesMax = 1_000

/** All entries of one table, in the order of their keys. */
export async function* tableEntries(state: State, table: number): AsyncGenerator<[Uint8Array, Uint8Array]> {
  const lt = Uint8Array.of(table + 1)
  let gte: Uint8Array = Uint8Array.of(table)
  for (;;) {
    const entries = await state.range({ gte, lt, limit: rangeEntriesMax })
    for (const [key, value] of entries) yield [key, value]
    const last = entries.at(-1)
    if (last === undefined || entries.length < rangeEntriesMax) return
    gte = Buffer.concat([last[0], Uint8Array.of(0)])
  }
}
