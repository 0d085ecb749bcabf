import { batchHeaderBytes, type RecordInput } from '../../protocol/index.js'

/** Bytes of a batch with only this record, without compression. */
export function loneBatchBytes({ key, value, headers = {} }: RecordInput): number {
  const entries = Object.entries(headers)
  let bytes = batchHeaderBytes + 1 + partBytes(key, 1) + partBytes(value, 1) + varintBytes(entries.length)
  for (const [name, part] of entries) bytes += partBytes(name, 0) + partBytes(part, 0)
  return bytes
}

function partBytes(part: Uint8Array | string | null | undefined, nullable: 0 | 1): number {
  if (part === null || part === undefined) return 1
  const bytes = typeof part === 'string' ? Buffer.byteLength(part) : part.length
  return varintBytes(bytes + nullable) + bytes
}

function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++
  return bytes
}
