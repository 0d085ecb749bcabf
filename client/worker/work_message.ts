import {
  durationText,
  limits,
  MillraceError,
  type RecordCursor,
  readRecordHeaders,
} from '../../protocol/index.js'
import { DecodeError, headersAsText, type RawMessage } from '../consumer/index.js'
import type { KeyOf, NameOf, OutputOf } from '../topic.js'
import { type Duration, durationMs } from '../units.js'

/** The topic of a message, and its decoders. */
export interface WorkSource<Value, Key> {
  readonly key: (bytes: Uint8Array) => Key
  readonly value: (bytes: Uint8Array | undefined) => Value | Promise<Value>
}

/** Position of a message at the broker; an acknowledgement names it. */
export interface Place {
  readonly topicId: number
  readonly partition: number
  readonly offset: number
  readonly grantId: number
}

/** The worker that handles a message. */
export interface WorkOwner {
  readonly group: string
  settledElsewhere(message: object): void
}

const noHeaders: Readonly<Record<string, never>> = Object.freeze(Object.create(null) as Record<string, never>)
const deadTopicHeader = 'millrace-dead-topic'
const deadPartitionHeader = 'millrace-dead-partition'
const deadOffsetHeader = 'millrace-dead-offset'

/**
 * A message that a worker handles. A redriven message has the topic, partition and offset of its original message. A
 * message holds the memory of its whole reply: copy data that you keep for long.
 */
export class WorkMessage<Value = unknown, Key = unknown, Name extends string = string> implements RawMessage {
  readonly timestamp: number
  readonly keyBytes: Uint8Array | undefined
  readonly valueBytes: Uint8Array | undefined
  /** Number of this attempt, from 1. Attempts that failed or whose lease expired count; released deliveries do not. */
  readonly attempt: number
  /** @internal */
  readonly place: Place
  /** @internal */
  readonly owner: WorkOwner
  readonly #topic: string | undefined
  readonly #source: WorkSource<Value, Key>
  readonly #records: Uint8Array
  readonly #headersStart: number
  readonly #headerCount: number
  #headers: Readonly<Record<string, Uint8Array>> | undefined
  #decoded: { readonly value: Value } | undefined
  #abort: AbortController | undefined
  #lost: unknown

  /**
   * @param topic undefined for a redriven message: its headers name the topic
   * @param cursor is at the record
   */
  constructor(
    topic: string | undefined,
    source: WorkSource<Value, Key>,
    cursor: RecordCursor,
    place: Place,
    attempts: number,
    owner: WorkOwner,
  ) {
    const { records, keyStart, keyEnd, valueStart, valueEnd } = cursor
    this.#topic = topic
    this.#source = source
    this.#records = records
    this.#headersStart = cursor.headersStart
    this.#headerCount = cursor.headerCount
    this.place = place
    this.owner = owner
    this.timestamp = cursor.timestamp
    this.attempt = attempts + 1
    this.keyBytes = keyStart < 0 ? undefined : cursor.view(keyStart, keyEnd)
    this.valueBytes = valueStart < 0 ? undefined : cursor.view(valueStart, valueEnd)
  }

  get topic(): Name {
    return (this.#topic ?? this.headerText(deadTopicHeader) ?? '') as Name
  }

  get partition(): number {
    return this.#number(deadPartitionHeader) ?? this.place.partition
  }

  get offset(): number {
    return this.#number(deadOffsetHeader) ?? this.place.offset
  }

  /** The key, decoded by the topic's key codec; undefined without a key. @throws DecodeError */
  get key(): Key | undefined {
    if (this.keyBytes === undefined) return undefined
    try {
      return this.#source.key(this.keyBytes)
    } catch (cause) {
      throw new DecodeError(this, 'key', cause)
    }
  }

  /**
   * The value, decoded by the topic's codec or checked by its schema; null for a tombstone of a topic with tombstones.
   * @throws DecodeError
   */
  get value(): Value {
    if (this.#decoded !== undefined) return this.#decoded.value
    const value = this.decode()
    if (value instanceof Promise) {
      value.catch(() => {})
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
    this.#headers ??= readRecordHeaders(this.#records, this.#headersStart, this.#headerCount)
    return this.#headers
  }

  headerText(name: string): string | undefined {
    const bytes = this.headerBytes[name]
    return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')
  }

  /** Aborted when the worker has lost the message: its lease was lost, or its handler timed out. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#lost !== undefined) this.#abort.abort(this.#lost)
    }
    return this.#abort.signal
  }

  /** Decodes the value ahead of its first read; returns a promise if the schema is asynchronous. @internal */
  decode(): Value | Promise<Value> {
    let value: Value | Promise<Value>
    try {
      value = this.#source.value(this.valueBytes)
    } catch (cause) {
      throw new DecodeError(this, 'value', cause)
    }
    if (!(value instanceof Promise)) return this.#keep(value)
    return value.then(
      (resolved) => this.#keep(resolved),
      (cause: unknown) => {
        throw new DecodeError(this, 'value', cause)
      },
    )
  }

  /** @internal */
  lose(reason: MillraceError): void {
    this.#lost ??= reason
    this.#abort?.abort(reason)
  }

  #keep(value: Value): Value {
    this.#decoded = { value }
    return value
  }

  #number(name: string): number | undefined {
    const text = this.#topic === undefined ? this.headerText(name) : undefined
    return text === undefined ? undefined : Number(text)
  }
}

/** The value of a message of this topic; bytes for a topic name. */
export type WorkOutputOf<Of> = Of extends string ? Uint8Array : OutputOf<Of>

/** The message of a topic that a worker handles; for several topics a union that `message.topic` narrows. */
export type WorkMessageOf<Of> = Of extends unknown
  ? WorkMessage<WorkOutputOf<Of>, KeyOf<Of>, NameOf<Of>>
  : never

/** Throw it in a handler: the message becomes a dead letter at once. */
export class Reject extends Error {
  override readonly name = 'Reject'
}

/**
 * Throw it in a handler: the attempt has failed, and the next one follows after a delay.
 * @example throw new RetryAfter('30s')
 */
export class RetryAfter extends Error {
  override readonly name = 'RetryAfter'
  readonly delayMs: number

  /**
   * @param delay ms, or a text like "500ms", "30s", "15m", "12h"; at most 366 days
   * @throws MillraceError BAD_OPTION
   */
  constructor(delay: Duration, message?: string) {
    const delayMs = durationMs('delay', delay)
    super(message ?? `try again after ${durationText(delayMs)}`)
    if (delayMs > limits.delayMsMax)
      throw new MillraceError(
        'BAD_OPTION',
        `the delay is ${durationText(delayMs)}, expected at most ${durationText(limits.delayMsMax)}`,
      )
    this.delayMs = delayMs
  }
}
