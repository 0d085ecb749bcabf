import { MillraceError, readRecordHeaders } from '../../protocol/index.js'
import type { KeyOf, NameOf, OutputOf } from '../topic.js'
import type { RecordRun } from './record_run.js'

const noHeaders: Readonly<Record<string, never>> = Object.freeze(Object.create(null) as Record<string, never>)

/** A stored message: nothing is decoded. The byte arrays are views; copy them to keep them longer than the message. */
export interface RawMessage {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** ms since 1970, set by the publisher. */
  readonly timestamp: number
  readonly keyBytes: Uint8Array | undefined
  /** Absent for a message without a value. */
  readonly valueBytes: Uint8Array | undefined
  /** The headers as text (UTF-8), by name. */
  readonly headers: Readonly<Record<string, string>>
  /** The headers as bytes, by name. */
  readonly headerBytes: Readonly<Record<string, Uint8Array>>
  /** One header as text, without decoding the others. */
  headerText(name: string): string | undefined
}

/**
 * A delivered message. It decodes key, value and headers at their first read. A message holds the
 * memory of its whole fetch: copy data that you keep for long.
 */
export class Message<Value = unknown, Key = unknown, Name extends string = string> implements RawMessage {
  readonly offset: number
  readonly timestamp: number
  /** @internal */
  readonly run: RecordRun<Value, Key>
  readonly #keyStart: number
  readonly #keyEnd: number
  readonly #valueStart: number
  readonly #valueEnd: number
  readonly #headersStart: number
  readonly #headerCount: number
  #decoded = false
  #value: Value | undefined

  /** For `RecordRun`, whose cursor is at the record. */
  constructor(run: RecordRun<Value, Key>) {
    const { cursor } = run
    this.run = run
    this.offset = cursor.offset
    this.timestamp = cursor.timestamp
    this.#keyStart = cursor.keyStart
    this.#keyEnd = cursor.keyEnd
    this.#valueStart = cursor.valueStart
    this.#valueEnd = cursor.valueEnd
    this.#headersStart = cursor.headersStart
    this.#headerCount = cursor.headerCount
  }

  get topic(): Name {
    return this.run.source.topic as Name
  }

  get partition(): number {
    return this.run.source.partition
  }

  get keyBytes(): Uint8Array | undefined {
    if (this.#keyStart < 0) return undefined
    return this.run.cursor.view(this.#keyStart, this.#keyEnd)
  }

  get valueBytes(): Uint8Array | undefined {
    if (this.#valueStart < 0) return undefined
    return this.run.cursor.view(this.#valueStart, this.#valueEnd)
  }

  /**
   * The key, decoded by the topic's key codec; undefined without a key.
   * @throws DecodeError (code DECODE_FAILED)
   */
  get key(): Key | undefined {
    const bytes = this.keyBytes
    if (bytes === undefined) return undefined
    try {
      return this.run.source.decoder.key(bytes)
    } catch (cause) {
      throw new DecodeError(this, 'key', cause)
    }
  }

  /**
   * The value, decoded by the topic's codec or checked by its schema, once; null for a tombstone of a topic with
   * tombstones.
   * @throws DecodeError (code DECODE_FAILED); the message stays unacknowledged
   */
  get value(): Value {
    if (this.#decoded) return this.#value as Value
    const value = this.decode()
    if (value instanceof Promise) {
      // Consumers decode such values before delivery, so only an error policy reaches this line.
      value.catch(noop)
      throw new DecodeError(this, 'value', new Error('the schema of the topic is asynchronous'))
    }
    return value
  }

  /** The headers as text (UTF-8), by name; decoded each time. */
  get headers(): Readonly<Record<string, string>> {
    return this.#headerCount === 0 ? noHeaders : headersAsText(this.headerBytes)
  }

  /** The headers as bytes, by name. */
  get headerBytes(): Readonly<Record<string, Uint8Array>> {
    if (this.#headerCount === 0) return noHeaders
    return readRecordHeaders(this.run.cursor.records, this.#headersStart, this.#headerCount)
  }

  headerText(name: string): string | undefined {
    const bytes = this.headerBytes[name]
    return bytes === undefined ? undefined : asBuffer(bytes).toString('utf8')
  }

  /**
   * Acknowledges the message. In a group the consumer soon commits the offset before which everything is acknowledged.
   * Without a group, and after the partition has moved to another member, it has no effect. Any order, any number of
   * times.
   */
  ack(): void {
    this.run.acks?.ack(this.offset)
  }

  /**
   * Decodes the value ahead of its first read; returns a promise if the schema is asynchronous.
   * @param wrapped whether an error is a DecodeError, or the error of the codec or schema itself
   * @internal
   */
  decode(wrapped = true): Value | Promise<Value> {
    try {
      const value = this.run.source.decoder.value(this.valueBytes)
      if (!(value instanceof Promise)) return this.#keep(value)
      return value.then(
        (resolved) => this.#keep(resolved),
        (cause: unknown) => {
          throw wrapped ? new DecodeError(this, 'value', cause) : cause
        },
      )
    } catch (cause) {
      throw wrapped ? new DecodeError(this, 'value', cause) : cause
    }
  }

  /** Decodes the key for its errors alone; `wrapped` as for `decode`. @internal */
  checkKey(wrapped: boolean): void {
    if (wrapped) void this.key
    else if (this.keyBytes !== undefined) this.run.source.decoder.key(this.keyBytes)
  }

  #keep(value: Value): Value {
    this.#value = value
    this.#decoded = true
    return value
  }
}

/** The message of a topic; for several topics a union that `message.topic` narrows. */
export type MessageOf<Of> = Of extends unknown ? Message<OutputOf<Of>, KeyOf<Of>, NameOf<Of>> : never

/** Header values as text; invalid UTF-8 is replaced. */
export function headersAsText(bytes: Readonly<Record<string, Uint8Array>>): Record<string, string> {
  const text = Object.create(null) as Record<string, string>
  for (const name of Object.keys(bytes)) text[name] = asBuffer(bytes[name] as Uint8Array).toString('utf8')
  return text
}

/**
 * A stored key or value is invalid for the topic's codec or schema; `raw` has its bytes. Or a publisher packed a whole
 * record batch wrongly (`part` is "batch"): then `raw` stands for its first unread message and has no key and no value.
 */
export class DecodeError extends MillraceError {
  readonly raw: RawMessage
  readonly part: 'key' | 'value' | 'batch'
  /** Offset after the last message that can't be decoded: `raw.offset + 1`, or the end of a batch. */
  readonly endOffset: number

  constructor(raw: RawMessage, part: 'key' | 'value' | 'batch', cause: unknown, endOffset = raw.offset + 1) {
    const { topic, partition, offset } = raw
    const reason = cause instanceof Error ? cause.message : String(cause)
    const where = `topic "${topic}", partition ${partition}, `
    super(
      'DECODE_FAILED',
      part === 'batch'
        ? `the record batch of ${where}offsets ${offset} to ${endOffset - 1} is malformed, its publisher wrote it wrongly: ${reason}`
        : `the ${part} of ${where}offset ${offset} can't be decoded: ${reason}`,
      { cause },
    )
    this.raw = raw
    this.part = part
    this.endOffset = endOffset
  }
}

/** The place of messages in a batch that can't be opened. */
export function unreadableMessage(
  place: Pick<RawMessage, 'topic' | 'partition' | 'offset' | 'timestamp'>,
): RawMessage {
  const empty = { keyBytes: undefined, valueBytes: undefined, headers: noHeaders, headerBytes: noHeaders }
  return { ...place, ...empty, headerText: () => undefined }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function noop(): void {}
