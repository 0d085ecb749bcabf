import { MillraceError } from '../protocol/index.js'
import type { EngineEntry } from './engine.js'

const headerBytes = 8

/** Entries in the layout of FORMAT.md: u32 bytes of the key, u32 bytes of the value, key, value. */
export function encodeEntries(entries: readonly EngineEntry[]): Buffer {
  const size = entries.reduce((sum, [key, value]) => sum + headerBytes + key.length + value.length, 0)
  const bytes = Buffer.allocUnsafe(size)
  let at = 0
  for (const [key, value] of entries) {
    bytes.writeUInt32LE(key.length, at)
    bytes.writeUInt32LE(value.length, at + 4)
    bytes.set(key, at + headerBytes)
    bytes.set(value, at + headerBytes + key.length)
    at += headerBytes + key.length + value.length
  }
  return bytes
}

/** @throws MillraceError BAD_BACKUP */
export function decodeEntries(bytes: Buffer): EngineEntry[] {
  const entries: EngineEntry[] = []
  for (let at = 0; at < bytes.length; ) {
    const valueAt = at + headerBytes + (at + headerBytes <= bytes.length ? bytes.readUInt32LE(at) : 0)
    const end = valueAt + (at + headerBytes <= bytes.length ? bytes.readUInt32LE(at + 4) : 0)
    if (end > bytes.length) throw new MillraceError('BAD_BACKUP', 'an entry of the backup is incomplete')
    entries.push([bytes.subarray(at + headerBytes, valueAt), bytes.subarray(valueAt, end)])
    at = end
  }
  return entries
}
