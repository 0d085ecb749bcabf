import type { RawMessage } from '../../client/index.js'
import { MillraceError } from '../../protocol/index.js'

/** Bytes in JSON: UTF-8 as text, other bytes as `{ base64 }`. */
export type JsonBytes = string | { readonly base64: string }

/** A message as a line of JSON. The line keeps every byte of key, value and headers. */
export interface JsonMessage {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** ms since 1970. */
  readonly timestamp: number
  /** null: the message has no key. */
  readonly key: JsonBytes | null
  readonly headers: Readonly<Record<string, JsonBytes>>
  /** null: the message has no value (a tombstone). */
  readonly value: JsonBytes | null
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The line of a message, without a line end. */
export function jsonLineOf(message: RawMessage): string {
  const { topic, partition, offset, timestamp, keyBytes, valueBytes } = message
  const headers = Object.fromEntries(
    Object.entries(message.headerBytes).map(([name, bytes]) => [name, jsonBytesOf(bytes)]),
  )
  const key = keyBytes === undefined ? null : jsonBytesOf(keyBytes)
  const value = valueBytes === undefined ? null : jsonBytesOf(valueBytes)
  const line: JsonMessage = { topic, partition, offset, timestamp, key, headers, value }
  return JSON.stringify(line)
}

/** UTF-8 as text, other bytes as `{ base64 }`. */
export function jsonBytesOf(bytes: Uint8Array): JsonBytes {
  try {
    return strictUtf8.decode(bytes)
  } catch (error) {
    if (!(error instanceof TypeError)) throw new MillraceError('DECODE_FAILED', undefined, { cause: error })
    return { base64: Buffer.from(bytes).toString('base64') }
  }
}
