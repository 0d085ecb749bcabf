/**
 * Keys of the state database. The first byte is the table; numbers are big-endian, so that keys sort by them. These
 * bytes are on disk and never change.
 *
 *     00                              the checkpoint: journal position that the state reflects
 *     01  logId u32                   a partition log: offsets, bytes
 *     02  logId u32, firstOffset u64  a page of a log's index
 *     03  position u64, logId u32     garbage: dead parts of blocks
 *     04  position u64                freed range: deleted blocks that the engine has not compacted
 *     05  logId u32, from u64         lost offsets of a log
 *     10 to 7f                        tables of the broker's views
 */
export const stateTables = {
  checkpoint: 0x00,
  log: 0x01,
  indexPage: 0x02,
  garbage: 0x03,
  freed: 0x04,
  damage: 0x05,
  viewsFrom: 0x10,
} as const

/** Key of a journal block. */
export function positionKey(position: number): Uint8Array {
  const key = Buffer.allocUnsafe(8)
  writeU64BE(key, 0, position)
  return key
}

/** Upper bound of all block keys, exclusive. */
export const journalEndKey = new Uint8Array(9).fill(0xff)

export function positionOf(key: Uint8Array, at = 0): number {
  return readU64BE(key, at)
}

export function logKey(logId: number): Uint8Array {
  const key = Buffer.allocUnsafe(5)
  key[0] = stateTables.log
  key.writeUInt32BE(logId, 1)
  return key
}

export function indexPageKey(logId: number, firstOffset: number): Uint8Array {
  const key = Buffer.allocUnsafe(13)
  key[0] = stateTables.indexPage
  key.writeUInt32BE(logId, 1)
  writeU64BE(key, 5, firstOffset)
  return key
}

/** @param position of the first block that the record named at its creation */
export function garbageKey(position: number, logId: number): Uint8Array {
  const key = Buffer.allocUnsafe(13)
  key[0] = stateTables.garbage
  writeU64BE(key, 1, position)
  key.writeUInt32BE(logId, 9)
  return key
}

export function logIdOfGarbageKey(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(9)
}

export function freedKey(position: number): Uint8Array {
  const key = Buffer.allocUnsafe(9)
  key[0] = stateTables.freed
  writeU64BE(key, 1, position)
  return key
}

export function damageKey(logId: number, from: number): Uint8Array {
  const key = Buffer.allocUnsafe(13)
  key[0] = stateTables.damage
  key.writeUInt32BE(logId, 1)
  writeU64BE(key, 5, from)
  return key
}

/** Upper bound of all keys of the state, exclusive. */
export const stateEndKey = Uint8Array.of(0xff)

/** All keys of one table: [gte, lt). */
export function tableRange(table: number): { gte: Uint8Array; lt: Uint8Array } {
  return { gte: Uint8Array.of(table), lt: Uint8Array.of(table + 1) }
}

function writeU64BE(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
  bytes.writeUInt32BE(value % 0x1_0000_0000, at + 4)
}

function readU64BE(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 8)
  return view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4)
}
