import type { StandardSchemaV1 } from '@standard-schema/spec'
import { decodeBody, encodeBody, MillraceError } from '../protocol/index.js'

/** Encodes values as bytes and decodes them. Text is UTF-8. */
export interface Codec<Value> {
  readonly name: string
  encode(value: Value): Uint8Array | string
  /** @throws any error: it becomes the cause of a DECODE_FAILED */
  decode(bytes: Uint8Array): Value
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Bytes without a conversion. Decoded bytes are a view of the fetched data: copy them to keep them for long. */
export const bytes: Codec<Uint8Array> = {
  name: 'bytes',
  encode(value) {
    if (value instanceof Uint8Array) return value
    throw new TypeError(`expected a Uint8Array, got ${typeof value}`)
  },
  decode: (value) => value,
}

/** Text as UTF-8. */
export const string: Codec<string> = {
  name: 'string',
  encode(value) {
    if (typeof value === 'string') return value
    throw new TypeError(`expected a string, got ${typeof value}`)
  },
  decode: (value) => strictUtf8.decode(value),
}

/** JSON as UTF-8. */
export function json<Value = unknown>(): Codec<Value> {
  return {
    name: 'json',
    encode(value) {
      const text = JSON.stringify(value)
      if (text === undefined) throw new TypeError(`a ${typeof value} can't be written as JSON`)
      return text
    },
    decode: (value) => JSON.parse(asBuffer(value).toString('utf8')) as Value,
  }
}

/** MessagePack without extension types; nested at most 8 deep. */
export function msgpack<Value = unknown>(): Codec<Value> {
  return { name: 'msgpack', encode: encodeBody, decode: (value) => decodeBody(value) as Value }
}

/** A codec, or a schema of any library that follows https://standardschema.dev (the values are encoded as JSON). */
export type ValueFormat<Input, Output = Input> = Codec<Input> | StandardSchemaV1<Input, Output>

/** The encoder and decoder of a topic's values, whatever its definition used. */
export interface ValueCoder<Input, Output> {
  /** @throws MillraceError ENCODE_FAILED */
  encode(value: Input): Uint8Array | string | Promise<Uint8Array | string>
  /** @throws anything */
  decode(bytes: Uint8Array): Output | Promise<Output>
  /** Whether it may return promises: a schema may be asynchronous. */
  readonly mayBeAsync: boolean
}

/** Returns the coder of a codec or schema. */
export function coderOf<Input, Output>(format: ValueFormat<Input, Output>): ValueCoder<Input, Output> {
  if (!('~standard' in format)) {
    return {
      encode: (value) => encodeWith(format, value),
      decode: (value) => format.decode(value) as unknown as Output,
      mayBeAsync: false,
    }
  }
  const text = json<unknown>()
  return {
    encode(value) {
      const checked = check(format, value, 'ENCODE_FAILED')
      if (checked instanceof Promise) return checked.then(() => encodeWith(text, value))
      return encodeWith(text, value)
    },
    decode: (value) => check(format, text.decode(value), 'DECODE_FAILED'),
    mayBeAsync: true,
  }
}

function encodeWith<Value>(codec: Codec<Value>, value: Value): Uint8Array | string {
  let encoded: unknown
  try {
    encoded = codec.encode(value)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MillraceError(
      'ENCODE_FAILED',
      `the value does not match the codec "${codec.name}": ${reason}`,
      {
        cause,
      },
    )
  }
  if (typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
  throw new MillraceError(
    'ENCODE_FAILED',
    `the codec "${codec.name}" encoded a value as ${typeof encoded}, expected a string or Uint8Array`,
  )
}

function check<Input, Output>(
  schema: StandardSchemaV1<Input, Output>,
  value: unknown,
  code: 'ENCODE_FAILED' | 'DECODE_FAILED',
): Output | Promise<Output> {
  const thrown = (cause: unknown): never => {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MillraceError(code, `the topic's schema failed: ${reason}`, { cause })
  }
  let result: StandardSchemaV1.Result<Output> | Promise<StandardSchemaV1.Result<Output>>
  try {
    result = schema['~standard'].validate(value)
  } catch (cause) {
    return thrown(cause)
  }
  return result instanceof Promise ? result.then((late) => valid(late, code), thrown) : valid(result, code)
}

function valid<Output>(
  result: StandardSchemaV1.Result<Output>,
  code: 'ENCODE_FAILED' | 'DECODE_FAILED',
): Output {
  if (result.issues === undefined) return result.value
  const issues = result.issues.map(({ message, path }) => {
    const where = path?.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
    return where ? `${where}: ${message}` : message
  })
  throw new MillraceError(code, `the value does not match the topic's schema: ${issues.join('; ')}`)
}
