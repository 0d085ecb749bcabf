import { RecordCursor } from '../../protocol/index.js'
import type { AckRun, AckWindow } from './acks.js'
import { Message } from './message.js'

/** Decodes stored keys and values; throws if they are invalid. */
export interface Decoder<Value, Key> {
  /** Whether values must be decoded before delivery: their schema may be asynchronous. */
  readonly ahead: boolean
  key(bytes: Uint8Array): Key
  value(bytes: Uint8Array | undefined): Value | Promise<Value>
}

/** The origin of messages and their decoders. */
export interface RecordSource<Value, Key> {
  readonly topic: string
  readonly partition: number
  readonly decoder: Decoder<Value, Key>
  /** Increases when the position jumps: messages from before are not delivered any more. */
  readonly version: number
}

/**
 * The records of one fetched batch to deliver: from the consumer's position to the end of the batch, or
 * to the end position of the consumer. It opens nothing before construction and copies no value.
 */
export class RecordRun<Value, Key> {
  readonly source: RecordSource<Value, Key>
  readonly cursor: RecordCursor
  /** Absent without a group. */
  readonly acks: AckRun | undefined
  /** Offset after the last record to deliver. */
  readonly endOffset: number
  /** Offset of the next record to deliver. */
  position: number
  readonly #version: number

  /**
   * @param batch one whole batch
   * @param position offset of the first wanted record; earlier ones are skipped
   * @param stopAt first offset that is not delivered
   * @throws MillraceError BAD_BATCH
   */
  constructor(
    source: RecordSource<Value, Key>,
    batch: Uint8Array,
    position: number,
    stopAt: number,
    window: AckWindow | undefined,
  ) {
    this.source = source
    this.#version = source.version
    this.cursor = new RecordCursor(batch)
    const { baseOffset, recordCount } = this.cursor.header
    this.endOffset = Math.min(baseOffset + recordCount, stopAt)
    this.position = Math.max(position, baseOffset)
    while (this.cursor.offset + 1 < this.position) if (!this.cursor.next()) break
    this.acks = this.left > 0 ? window?.open(this.position, this.left) : undefined
  }

  /** Whether the source is still at the position that it had for this run: no seek, no revocation since. */
  get isCurrent(): boolean {
    return this.source.version === this.#version
  }

  /** Number of undelivered records. */
  get left(): number {
    return Math.max(0, this.endOffset - this.position)
  }

  /** The next message, or undefined after the last. */
  next(): Message<Value, Key> | undefined {
    if (this.position >= this.endOffset || !this.cursor.next()) return undefined
    this.position++
    this.acks?.delivered(1)
    return new Message(this)
  }
}

const asBytes: Decoder<Uint8Array | undefined, Uint8Array> = {
  ahead: false,
  key: (bytes) => bytes,
  value: (bytes) => bytes,
}

/** The records of a batch from `offset` on, not decoded. @throws MillraceError BAD_BATCH */
export function* recordsIn(
  topic: string,
  partition: number,
  batch: Uint8Array,
  offset: number,
): Generator<Message<Uint8Array | undefined, Uint8Array>> {
  const source = { topic, partition, decoder: asBytes, version: 0 }
  const run = new RecordRun(source, batch, offset, Number.POSITIVE_INFINITY, undefined)
  for (let message = run.next(); message !== undefined; message = run.next()) yield message
}
