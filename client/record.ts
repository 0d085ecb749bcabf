import {
  bytesText,
  limits,
  MillraceError,
  partitionOf,
  type RecordInput,
  suggestion,
} from '../protocol/index.js'
import type { TopicInfo } from './cluster.js'
import { loneBatchBytes } from './producer/record_size.js'
import type { Partitioner, Topic } from './topic.js'
import { type Duration, durationMs } from './units.js'

/** One array for each length of a short text. */
const scratch: readonly Uint8Array[] = Array.from({ length: 40 }, (_, length) => new Uint8Array(length))

/** A message to publish. */
export interface MessageInput<Value, Key> {
  /** Determines the partition: messages of one key keep their order. */
  readonly key?: Key | null | undefined
  /** null, for a topic with tombstones: a message without a value. */
  readonly value: Value
  /** Text is encoded as UTF-8; at most 256. */
  readonly headers?: Readonly<Record<string, string | Uint8Array>> | undefined
  /** The broker appends it after this time. */
  readonly delay?: Duration | undefined
  /** The broker appends it at this time (ms since 1970), at most 366 days ahead. */
  readonly deliverAt?: Date | number | undefined
  /**
   * Id for deduplication (1 to 200 bytes): the broker drops another message with this id within the topic's
   * `dedupeWindow`.
   * It can also cancel a delayed message.
   */
  readonly id?: string | undefined
  /** For queue groups with priorities: 0 to 9, 9 first. Default 4. */
  readonly priority?: number | undefined
  /** For queue groups: time to live; a message that is older when its turn comes expires; whole ms. */
  readonly ttlMs?: number | undefined
  /** Overrides the partition of the key. */
  readonly partition?: number | undefined
  /** ms since 1970; default now. The broker refuses a timestamp far ahead of its own clock. */
  readonly timestamp?: number | undefined
}

const messageFields: readonly (keyof MessageInput<unknown, unknown>)[] = [
  'key',
  'value',
  'headers',
  'delay',
  'deliverAt',
  'id',
  'priority',
  'ttlMs',
  'partition',
  'timestamp',
]

/** Whether a message may have a field; a switch, because it runs for each field of each message. */
function isMessageField(name: string): boolean {
  switch (name) {
    case 'key':
    case 'value':
    case 'headers':
    case 'delay':
    case 'deliverAt':
    case 'id':
    case 'priority':
    case 'ttlMs':
    case 'partition':
    case 'timestamp':
      return true
    default:
      return false
  }
}

/**
 * Encodes a message for storage; returns a promise if the topic's schema is asynchronous.
 * @param nowMs its timestamp, unless it has one; ms since 1970
 * @throws MillraceError ENCODE_FAILED; BAD_OPTION for a field that does not exist
 */
export function recordOf<Input, Output, Key>(
  topic: Topic<Input, Output, Key>,
  message: MessageInput<Input, Key>,
  nowMs: number,
): RecordInput | Promise<RecordInput> {
  if (typeof message !== 'object' || message === null) throw notMessage(message)
  for (const name in message) if (!isMessageField(name)) throw unknownField(name)
  const { timestamp = nowMs } = message
  const headers =
    message.priority === undefined && message.ttlMs === undefined ? message.headers : queueHeaders(message)
  if (!Number.isSafeInteger(timestamp) || timestamp < 0)
    throw bad(`the timestamp is ${timestamp}, expected whole ms since 1970`)
  if (headers !== undefined) checkHeaders(headers)
  const key = message.key === undefined || message.key === null ? null : encodeKey(topic, message.key)
  if (message.value === null) {
    if (!topic.tombstones) throw noTombstones(topic.name)
    return { key, value: null, headers, timestamp }
  }
  const value = topic.value.encode(message.value)
  if (!(value instanceof Promise)) return { key, value, headers, timestamp }
  return value.then((encoded) => ({ key, value: encoded, headers, timestamp }))
}

/**
 * Returns the partition of a message; undefined if any partition will do.
 * @throws MillraceError UNKNOWN_PARTITION
 */
export function partitionFor<Input, Output, Key>(
  topic: Pick<Topic<Input, Output, Key>, 'partitioner'>,
  { name, partitions }: TopicInfo,
  { partition: wanted }: Pick<MessageInput<Input, Key>, 'partition'>,
  { key }: RecordInput,
): number | undefined {
  if (wanted === undefined && (key === null || key === undefined)) return undefined
  const partition = wanted ?? partitionOfKey(topic.partitioner, key as string | Uint8Array, partitions)
  if (Number.isSafeInteger(partition) && partition >= 0 && partition < partitions) return partition
  throw new MillraceError(
    'UNKNOWN_PARTITION',
    `topic "${name}" has no partition ${partition}, expected 0 to ${partitions - 1}`,
  )
}

/**
 * @param bytesMax upper bound of the size of the record, from a cheap estimate
 * @throws MillraceError VALUE_TOO_LARGE
 */
export function checkSize(topic: string, record: RecordInput, bytesMax: number, batchBytesMax: number): void {
  if (bytesMax + 128 <= batchBytesMax) return
  const bytes = loneBatchBytes(record)
  if (bytes <= batchBytesMax) return
  throw new MillraceError(
    'VALUE_TOO_LARGE',
    `a message for topic "${topic}" has ${bytesText(bytes)}, the broker allows at most ${bytesText(batchBytesMax)}`,
  )
}

/** The default rule hashes reused bytes: most keys are short, and a buffer for each costs more. */
function partitionOfKey(partitioner: Partitioner, key: string | Uint8Array, partitions: number): number {
  if (typeof key !== 'string') return partitioner(key, partitions)
  const bytes = partitioner === partitionOf ? shortAscii(key) : undefined
  return partitioner(bytes ?? Buffer.from(key), partitions)
}

function shortAscii(text: string): Uint8Array | undefined {
  const bytes = scratch[text.length]
  if (bytes === undefined) return undefined
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 0x7f) return undefined
    bytes[i] = unit
  }
  return bytes
}

function encodeKey<Input, Output, Key>(topic: Topic<Input, Output, Key>, key: Key): Uint8Array | string {
  let encoded: unknown
  try {
    encoded = topic.key.encode(key)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw bad(`the key does not match the codec "${topic.key.name}": ${reason}`, cause)
  }
  if (typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
  throw bad(
    `the codec "${topic.key.name}" encoded a key as ${typeof encoded}, expected a string or Uint8Array`,
  )
}

/**
 * Returns the due time of a message, ms since 1970; 0: at once; undefined for a message without a delay or id.
 * @throws MillraceError ENCODE_FAILED, BAD_OPTION
 */
export function deliverAtMsOf(message: MessageInput<unknown, unknown>): number | undefined {
  const { delay, deliverAt, id } = message
  if (delay === undefined && deliverAt === undefined) return id === undefined ? undefined : 0
  if (delay !== undefined && deliverAt !== undefined) throw bad('give "delay" or "deliverAt", not both')
  const atMs =
    delay !== undefined
      ? Date.now() + durationMs('delay', delay)
      : deliverAt instanceof Date
        ? deliverAt.getTime()
        : (deliverAt as number)
  if (!Number.isSafeInteger(atMs) || atMs < 0)
    throw bad(`"deliverAt" is ${atMs}, expected whole ms since 1970`)
  return atMs
}

/** Returns the headers of a message, including those for queue groups. */
function queueHeaders({
  headers,
  priority,
  ttlMs,
}: MessageInput<unknown, unknown>): Record<string, string | Uint8Array> {
  const all: Record<string, string | Uint8Array> = { ...headers }
  if (priority !== undefined) {
    if (!Number.isSafeInteger(priority) || priority < 0 || priority > 9)
      throw bad(`the priority is ${priority}, expected a whole number from 0 to 9`)
    all['millrace-priority'] = String(priority)
  }
  if (ttlMs !== undefined) {
    if (!Number.isSafeInteger(ttlMs) || ttlMs < 0) throw bad(`ttlMs is ${ttlMs}, expected whole ms from 0`)
    all['millrace-ttl-ms'] = String(ttlMs)
  }
  return all
}

function checkHeaders(headers: Readonly<Record<string, unknown>>): void {
  const names = Object.keys(headers)
  if (names.length > limits.recordHeadersMax)
    throw new MillraceError(
      'LIMIT_EXCEEDED',
      `a message has ${names.length} headers, expected at most ${limits.recordHeadersMax}`,
    )
  for (const name of names) {
    const value = headers[name]
    if (typeof value !== 'string' && !(value instanceof Uint8Array))
      throw bad(`the header "${name}" is ${typeof value}, expected a string or Uint8Array`)
  }
}

function bad(message: string, cause?: unknown): MillraceError {
  return new MillraceError('ENCODE_FAILED', message, { cause })
}
function noTombstones(topic: string): MillraceError {
  return bad(
    `the value is null, and topic "${topic}" has no tombstones: define it with "tombstones: true" to publish messages without a value`,
  )
}

function unknownField(name: string): MillraceError {
  const hint = suggestion(name, messageFields) || `; its fields are ${messageFields.join(', ')}`
  return new MillraceError('BAD_OPTION', `a message has no field "${name}"${hint}`)
}

function notMessage(message: unknown): MillraceError {
  const type = message === null ? 'null' : typeof message
  return new MillraceError('BAD_OPTION', `a message is ${type}, expected an object like { value }`)
}
