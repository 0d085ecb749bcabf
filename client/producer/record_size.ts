import { batchHeaderBytes, type RecordInput, recordBytesBound } from '../../protocol/index.js'

/** Below this a text is taken to have three bytes a character instead of being measured. */
const shortText = 128

/** Bytes that a record takes at most; cheap, for every message. */
export function recordBytesMax({ key, value, headers }: RecordInput): number {
  let headersBytes = 0
  if (headers !== undefined) {
    for (const name in headers) headersBytes += partBytesMax(name) + partBytesMax(headers[name] ?? '') + 16
  }
  return recordBytesBound(partBytesMax(key ?? ''), partBytesMax(value ?? ''), headersBytes)
}

/** Bytes of a batch that holds nothing but this record, without compression. */
export function loneBatchBytes({ key, value, headers = {} }: RecordInput): number {
  const entries = Object.entries(headers)
  let bytes = batchHeaderBytes + 1 + partBytes(key, 1) + partBytes(value, 1) + varintBytes(entries.length)
  for (const [name, part] of entries) bytes += partBytes(name, 0) + partBytes(part, 0)
  return bytes
}

function partBytesMax(part: Uint8Array | string): number {
  if (typeof part !== 'string') return part.length
  return part.length < shortText ? part.length * 3 : Buffer.byteLength(part)
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
