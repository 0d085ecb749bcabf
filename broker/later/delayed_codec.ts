import { viewTables } from '../state_keys.js'

/**
 * Bytes of delayed messages; big-endian. They are part of the disk format and never change.
 *
 * A value in the state; after its length and key, an entry of messagesDelayed:
 *
 *     0  u32  topicId
 *     4  u32  partition
 *     8  u8   idBytes, then the id (UTF-8)
 *        record, as in a batch (protocol/record_batch.ts) less its timestamp
 *
 * messagesDelayed: u64 arrivedAtMs, then for each message u32 valueBytes, u64 dueMs, u64 sequence, value.
 * delayedFired and delayedCancelled: for each message u64 dueMs, u64 sequence, u64 offset + 1 (0: not appended), u32
 * topicId, u32 partition, u8 idBytes, id.
 */
export interface DelayedMessage {
  readonly dueMs: number
  /** Unique; orders messages with the same due time. */
  readonly sequence: number
  readonly topicId: number
  readonly partition: number
  /** Empty without an id. */
  readonly id: string
  readonly body: Uint8Array
}

/** A reference to a message that is no longer delayed. */
export interface DelayedRef extends Omit<DelayedMessage, 'body'> {
  /** -1: not appended. */
  readonly offset: number
}

const keyBytes = 17
const placeBytes = 16
const valueHeadBytes = 9
const refHeadBytes = 33

/** Key of a delayed message in the state; sequence 0 gives the lowest key of a time. */
export function delayedKey(dueMs: number, sequence: number): Buffer {
  const key = Buffer.allocUnsafe(keyBytes)
  key[0] = viewTables.delayed
  writeU64(key, 1, dueMs)
  writeU64(key, 9, sequence)
  return key
}

/** End of the keys of delayed messages. */
export const delayedEnd = Uint8Array.of(viewTables.delayed + 1)

export function delayedIdKey(topicId: number, id: string): Buffer {
  const key = Buffer.allocUnsafe(5 + Buffer.byteLength(id))
  key[0] = viewTables.delayedId
  key.writeUInt32BE(topicId, 1)
  key.write(id, 5)
  return key
}

/** The place of a message by its id: the value under its id key. */
export function readPlace(value: Uint8Array): { readonly dueMs: number; readonly sequence: number } {
  const bytes = bufferOf(value)
  return { dueMs: readU64(bytes, 0), sequence: readU64(bytes, 8) }
}

/** Decodes a message from its entry in the state. */
export function readDelayed(key: Uint8Array, value: Uint8Array): DelayedMessage {
  return { ...readPlace(key.subarray(1)), ...readValue(bufferOf(value)) }
}

/** Encodes the entries of a messagesDelayed operation; the parts for the state are slices of it. */
export interface DelayedEntry {
  readonly message: DelayedMessage
  readonly key: Buffer
  readonly place: Buffer
  readonly value: Buffer
}

export function encodeMessagesDelayed(arrivedAtMs: number, messages: readonly DelayedMessage[]): Uint8Array {
  let size = 8
  for (const { id, body } of messages)
    size += 4 + placeBytes + valueHeadBytes + Buffer.byteLength(id) + body.length
  const bytes = Buffer.allocUnsafe(size)
  writeU64(bytes, 0, arrivedAtMs)
  let at = 8
  for (const { dueMs, sequence, topicId, partition, id, body } of messages) {
    writeU64(bytes, at + 4, dueMs)
    writeU64(bytes, at + 12, sequence)
    const from = at + 4 + placeBytes
    bytes.writeUInt32BE(topicId, from)
    bytes.writeUInt32BE(partition, from + 4)
    const idBytes = bytes.write(id, from + valueHeadBytes)
    bytes[from + 8] = idBytes
    bytes.set(body, from + valueHeadBytes + idBytes)
    const valueBytes = valueHeadBytes + idBytes + body.length
    bytes.writeUInt32BE(valueBytes, at)
    at = from + valueBytes
  }
  return bytes
}

/** Returns copies: the memory of an operation is reused. */
export function decodeMessagesDelayed(payload: Uint8Array): {
  readonly arrivedAtMs: number
  readonly entries: readonly DelayedEntry[]
} {
  const bytes = Buffer.from(payload)
  const entries: DelayedEntry[] = []
  for (let at = 8; at < bytes.length; ) {
    const from = at + 4 + placeBytes
    const end = from + bytes.readUInt32BE(at)
    const place = bytes.subarray(at + 4, from)
    const value = bytes.subarray(from, end)
    const message = { ...readPlace(place), ...readValue(value) }
    entries.push({ message, key: delayedKey(message.dueMs, message.sequence), place, value })
    at = end
  }
  return { arrivedAtMs: readU64(bytes, 0), entries }
}

export function encodeDelayedRefs(refs: readonly DelayedRef[]): Uint8Array {
  let size = 0
  for (const { id } of refs) size += refHeadBytes + Buffer.byteLength(id)
  const bytes = Buffer.allocUnsafe(size)
  let at = 0
  for (const { dueMs, sequence, offset, topicId, partition, id } of refs) {
    writeU64(bytes, at, dueMs)
    writeU64(bytes, at + 8, sequence)
    writeU64(bytes, at + 16, offset + 1)
    bytes.writeUInt32BE(topicId, at + 24)
    bytes.writeUInt32BE(partition, at + 28)
    const idBytes = bytes.write(id, at + refHeadBytes)
    bytes[at + 32] = idBytes
    at += refHeadBytes + idBytes
  }
  return bytes
}

export function decodeDelayedRefs(payload: Uint8Array): DelayedRef[] {
  const bytes = bufferOf(payload)
  const refs: DelayedRef[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + refHeadBytes + (bytes[at + 32] as number)
    refs.push({
      dueMs: readU64(bytes, at),
      sequence: readU64(bytes, at + 8),
      offset: readU64(bytes, at + 16) - 1,
      topicId: bytes.readUInt32BE(at + 24),
      partition: bytes.readUInt32BE(at + 28),
      id: bytes.toString('utf8', at + refHeadBytes, end),
    })
    at = end
  }
  return refs
}

function readValue(value: Buffer): Omit<DelayedMessage, 'dueMs' | 'sequence'> {
  const bodyAt = valueHeadBytes + (value[8] as number)
  return {
    topicId: value.readUInt32BE(0),
    partition: value.readUInt32BE(4),
    id: value.toString('utf8', valueHeadBytes, bodyAt),
    body: value.subarray(bodyAt),
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
  bytes.writeUInt32BE(value % 0x1_0000_0000, at + 4)
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
}
