import { MillraceError, type TopicOptions } from '../../client/index.js'
import { suggestion } from '../../protocol/index.js'

/** A line that describes a topic: `export` writes one for each topic before its messages. */
export interface TopicLine {
  readonly kind: 'topic'
  readonly topic: string
  readonly options: TopicOptions & { readonly partitions: number }
}

/** A line with a message, in the format of `jsonLineOf`. */
export interface MessageLine {
  readonly kind: 'message'
  readonly topic: string | undefined
  readonly partition: number | undefined
  readonly timestamp: number | undefined
  readonly key: Uint8Array | null
  readonly headers: Readonly<Record<string, Uint8Array>>
  readonly value: Uint8Array | null
}

type Fields = Readonly<Record<string, unknown>>

const messageFields = ['topic', 'partition', 'offset', 'timestamp', 'key', 'headers', 'value']
const topicFields = ['topic', 'partitions', 'settings']
const settingFields = ['retentionMs', 'retentionBytes', 'batchBytesMax', 'dedupeWindowMs']
const loneSurrogate = /\p{Surrogate}/u
const base64Text = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/**
 * Parses a line of an export, or of `consume --format json`.
 * @param line its number, for messages
 * @throws MillraceError DECODE_FAILED that names the line, the field and the expected value
 */
export function importLineOf(bytes: Uint8Array, line: number): TopicLine | MessageLine {
  const fields = objectOf(parsed(bytes, line), line, 'the line')
  return Object.hasOwn(fields, 'partitions') ? topicLineOf(fields, line) : messageLineOf(fields, line)
}

function messageLineOf(fields: Fields, line: number): MessageLine {
  checkNames(fields, messageFields, line)
  if (!Object.hasOwn(fields, 'value')) throw bad(line, 'the field "value" is missing')
  const headers = fields.headers === undefined ? {} : objectOf(fields.headers, line, '"headers"')
  return {
    kind: 'message',
    topic: optional(fields, 'topic', line, textOf),
    partition: optional(fields, 'partition', line, wholeOf),
    timestamp: optional(fields, 'timestamp', line, wholeOf),
    key: fields.key === undefined ? null : bytesOrNull(fields.key, line, '"key"'),
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, bytesOf(value, line, `the header "${name}"`)]),
    ),
    value: bytesOrNull(fields.value, line, '"value"'),
  }
}

function topicLineOf(fields: Fields, line: number): TopicLine {
  checkNames(fields, topicFields, line)
  const settings = fields.settings === undefined ? {} : objectOf(fields.settings, line, '"settings"')
  checkNames(settings, settingFields, line)
  const setting = (name: string): number | undefined => optional(settings, name, line, limitOf)
  return {
    kind: 'topic',
    topic: textOf(fields.topic, line, '"topic"'),
    options: {
      partitions: wholeOf(fields.partitions, line, '"partitions"'),
      retention: { time: setting('retentionMs'), bytes: setting('retentionBytes') },
      batchBytesMax: setting('batchBytesMax'),
      dedupeWindow: setting('dedupeWindowMs'),
    },
  }
}

function parsed(bytes: Uint8Array, line: number): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw bad(line, `it is not JSON (${cause instanceof Error ? cause.message : String(cause)})`, cause)
  }
}

function checkNames(fields: Fields, known: readonly string[], line: number): void {
  for (const name of Object.keys(fields))
    if (!known.includes(name)) throw bad(line, `there is no field "${name}"${suggestion(name, known)}`)
}

function optional<T>(
  fields: Fields,
  name: string,
  line: number,
  read: (value: unknown, line: number, what: string) => T,
): T | undefined {
  const value = fields[name]
  return value === undefined ? undefined : read(value, line, `"${name}"`)
}

function objectOf(value: unknown, line: number, what: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw bad(line, `${what} is ${kindOf(value)}, expected an object`)
}

function textOf(value: unknown, line: number, what: string): string {
  if (typeof value === 'string') return value
  throw bad(line, `${what} is ${kindOf(value)}, expected text`)
}

function wholeOf(value: unknown, line: number, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw bad(line, `${what} is ${JSON.stringify(value)}, expected a whole number from 0`)
}

/** A limit: -1 means unlimited. */
function limitOf(value: unknown, line: number, what: string): number {
  return value === -1 ? -1 : wholeOf(value, line, what)
}

function bytesOrNull(value: unknown, line: number, what: string): Uint8Array | null {
  return value === null ? null : bytesOf(value, line, what)
}

function bytesOf(value: unknown, line: number, what: string): Uint8Array {
  if (typeof value === 'string') {
    if (!loneSurrogate.test(value)) return Buffer.from(value)
    throw bad(
      line,
      `${what} contains half of a surrogate pair, which is not valid UTF-8; give the bytes as { "base64": … }`,
    )
  }
  if (typeof value === 'object' && value !== null && Object.keys(value).join() === 'base64') {
    const { base64 } = value as { readonly base64: unknown }
    if (typeof base64 === 'string' && base64Text.test(base64)) return Buffer.from(base64, 'base64')
    throw bad(line, `${what} is not valid base64`)
  }
  throw bad(line, `${what} is ${kindOf(value)}, expected text or { "base64": … }`)
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function bad(line: number, problem: string, cause?: unknown): MillraceError {
  return new MillraceError('DECODE_FAILED', `line ${line}: ${problem}`, { cause })
}
