import { limits, MillraceError, type RecordCursor, readRecordHeaders } from '../../protocol/index.js'
import { DecodeError, headersAsText, type RawMessage } from '../consumer/index.js'
import type { KeyOf, NameOf, OutputOf } from '../topic.js'

/** Where a message comes from, and how it is read. */
export interface WorkSource<Value, Key> {
  readonly key: (bytes: Uint8Array) => Key
  readonly value: (bytes: Uint8Array | undefined) => Value | Promise<Value>
}

/** Where the broker has a message: what its acknowledgement names. */
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
 * A message that a worker handles. One that was redriven tells the topic, partition and offset where it came from first.
 * It keeps the memory of what it came with: copy out what is kept for long.
 */
export class WorkMessage<Value = unknown, Key = unknown, Name extends string = string> implements RawMessage {
  readonly timestamp: number
  readonly keyBytes: Uint8Array | undefined
  readonly valueBytes: Uint8Array | undefined
  /** Which delivery this is, from 1 on: one more than those that ended otherwise than in an acknowledgement. */
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
   * @param topic undefined for a message that was redriven: its headers tell
   * @param cursor stands on the record
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

  /** The key, decoded by the topic's key codec; undefined when the message has none. @throws DecodeError */
  get key(): Key | undefined {
    if (this.keyBytes === undefined) return undefined
    try {
      return this.#source.key(this.keyBytes)
    } catch (cause) {
      throw new DecodeError(this, 'key', cause)
    }
  }

  /** The value, decoded by the topic's codec or checked by its schema; null for a tombstone, of a topic that has them. @throws DecodeError */
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

  /** Aborted when the message is not this worker's any more: its lease was lost, or its time is over. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#lost !== undefined) this.#abort.abort(this.#lost)
    }
    return this.#abort.signal
  }

  /** Decodes the value ahead of its first use; a promise where the schema is asynchronous. @internal */
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

/** What workers get as the value of a topic; of a bare name, bytes. */
export type WorkOutputOf<Of> = Of extends string ? Uint8Array : OutputOf<Of>

/** The message of a topic that a worker handles; for several topics a union that `message.topic` tells apart. */
export type WorkMessageOf<Of> = Of extends unknown
  ? WorkMessage<WorkOutputOf<Of>, KeyOf<Of>, NameOf<Of>>
  : never

/** Thrown by a handler: the message becomes a dead letter at once. */
export class Reject extends Error {
  override readonly name = 'Reject'
}

/** Thrown by a handler: the attempt has failed, and the next one comes after `delayMs`. */
export class RetryAfter extends Error {
  override readonly name = 'RetryAfter'
  readonly delayMs: number

  /**
   * @param delayMs at most 366 days
   * @throws MillraceError BAD_OPTION
   */
  constructor(delayMs: number, message = `try again after ${delayMs} ms`) {
    super(message)
    if (!Number.isSafeInteger(delayMs) || delayMs < 0 || delayMs > limits.delayMsMax)
      throw new MillraceError(
        'BAD_OPTION',
        `the delay is ${delayMs}, expected whole ms from 0 to ${limits.delayMsMax}`,
      )
    this.delayMs = delayMs
  }
}
