import type { Message } from './message.js'
import type { PartitionStream } from './partition_stream.js'
import type { RecordRun } from './record_run.js'

/** Messages of one run that are delivered together. */
export interface MessageGroup<Value, Key> {
  readonly run: RecordRun<Value, Key>
  readonly messages: Message<Value, Key>[]
}

export interface DeliveryOptions<Value, Key> {
  /** Number of delivered messages without acknowledgement at which a partition waits. */
  readonly unackedMax: number
  /** Called when a batch of a stream was delivered and its memory is free. */
  readonly onConsumed: (stream: PartitionStream<Value, Key>) => void
}

/**
 * Delivers buffered messages. Streams with messages take turns batch by batch, so that one with much traffic does not
 * delay the others. It skips a stream that is paused or waits for acknowledgements.
 */
export class Delivery<Value, Key> {
  readonly #options: DeliveryOptions<Value, Key>
  #ready: PartitionStream<Value, Key>[] = []
  #current: PartitionStream<Value, Key> | undefined

  constructor(options: DeliveryOptions<Value, Key>) {
    this.#options = options
  }

  /** Delivers nothing while set: the partitions may belong to another member. */
  suspended = false
  /** Number of delivered messages. */
  delivered = 0

  /** Whether a stream may deliver now. */
  canDeliver(stream: PartitionStream<Value, Key>): boolean {
    const isFree = stream.state === 'active' && !stream.paused && !stream.busy
    return isFree && stream.hasMessages && !this.waitsForAcks(stream)
  }

  waitsForAcks(stream: PartitionStream<Value, Key>): boolean {
    return stream.acks !== undefined && stream.acks.unacked >= this.#options.unackedMax
  }

  /** Call it when a stream may have messages to deliver; returns whether it has some. */
  offer(stream: PartitionStream<Value, Key>): boolean {
    if (!this.canDeliver(stream)) {
      stream.stalled = true
      return false
    }
    if (!stream.queued && this.#current !== stream) {
      stream.queued = true
      this.#ready.push(stream)
    }
    return true
  }

  /**
   * The next message, or undefined if there is none now.
   * @throws DecodeError if a publisher packed a batch wrongly, MillraceError CORRUPT if the bytes of a batch are
   * damaged; the next call throws it again, unless `skipUnreadable` was called
   */
  next(): Message<Value, Key> | undefined {
    for (;;) {
      const stream = this.#turn()
      if (stream?.run === undefined) return undefined
      const message = read(stream, stream.run)
      if (message !== undefined) {
        stream.position = message.offset + 1
        this.delivered++
        return message
      }
      this.#finish(stream)
    }
  }

  /**
   * The next messages of one run, at most `countMax`, or undefined if there are none now.
   * @throws DecodeError if a publisher packed a batch wrongly, MillraceError CORRUPT if the bytes of a batch are
   * damaged; the next call throws it again, unless `skipUnreadable` was called
   */
  nextGroup(countMax: number): MessageGroup<Value, Key> | undefined {
    for (;;) {
      const stream = this.#turn()
      const run = stream?.run
      if (stream === undefined || run === undefined) return undefined
      const room = this.#options.unackedMax - (stream.acks?.unacked ?? 0)
      const count = Math.min(countMax, run.left, Math.max(room, 1))
      const messages: Message<Value, Key>[] = []
      while (messages.length < count) {
        const message = messages.length === 0 ? read(stream, run) : readOrStop(stream, run)
        if (message === undefined) break
        messages.push(message)
      }
      stream.position = run.position
      if (run.left === 0) this.#finish(stream)
      this.delivered += messages.length
      if (messages.length > 0) return { run, messages }
    }
  }

  /** Skips the messages of the last DecodeError; returns their number. */
  skipUnreadable(): number {
    const stream = this.#current
    if (stream === undefined) return 0
    const count = stream.skipFailure()
    this.#finish(stream)
    return count
  }

  /** The stream whose turn it is, with its run open. */
  #turn(): PartitionStream<Value, Key> | undefined {
    if (this.suspended) return undefined
    for (;;) {
      const stream = this.#current ?? this.#takeReady()
      if (stream === undefined) return undefined
      this.#current = undefined
      if (!this.canDeliver(stream)) {
        stream.stalled = true
        continue
      }
      this.#current = stream
      if (stream.run === undefined) stream.openRun()
      return stream
    }
  }

  #takeReady(): PartitionStream<Value, Key> | undefined {
    const stream = this.#ready.shift()
    if (stream !== undefined) stream.queued = false
    return stream
  }

  #finish(stream: PartitionStream<Value, Key>): void {
    stream.closeRun()
    this.#current = undefined
    this.offer(stream)
    this.#options.onConsumed(stream)
  }
}

function read<Value, Key>(
  stream: PartitionStream<Value, Key>,
  run: RecordRun<Value, Key>,
): Message<Value, Key> | undefined {
  if (stream.failure !== undefined) throw stream.failure
  try {
    return run.next()
  } catch (cause) {
    stream.position = run.position
    throw stream.readFailed(run, cause)
  }
}

/** Stops before a failure, so that the messages before it are delivered first. */
function readOrStop<Value, Key>(
  stream: PartitionStream<Value, Key>,
  run: RecordRun<Value, Key>,
): Message<Value, Key> | undefined {
  try {
    return read(stream, run)
  } catch (error) {
    if (error === stream.failure) return undefined
    throw error
  }
}
