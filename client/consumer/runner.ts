import { MillraceError } from '../../protocol/index.js'
import { checkChoice, checkOptions } from '../options.js'
import { type Deferred, deferred } from './deferred.js'
import type { Message } from './message.js'
import { PartitionStream } from './partition_stream.js'
import type { Lane, Waiting } from './stream_handlers.js'

/** Options of `consumer.run`. */
export interface RunOptions {
  /** Number of handlers that run at the same time. Default 10. */
  readonly concurrency?: number | undefined
  /**
   * "partition" (default): the handler of a message starts when the handler of the message before it in the partition
   * has ended. "key": the same for the messages of a key; messages of different keys, and messages without a key, run
   * at the same time.
   */
  readonly order?: 'partition' | 'key' | undefined
  /** How long `close` waits for running handlers. Default 30,000. */
  readonly finishTimeoutMs?: number | undefined
}

export interface RunSettings {
  readonly concurrency: number
  readonly order: 'partition' | 'key'
  readonly finishTimeoutMs: number
}

/** The functions of the consumer that a runner needs. */
export interface RunnerHost<Value, Key> {
  /** The next message; undefined if there is none now or the consumer closes. May throw. */
  take(): Message<Value, Key> | undefined | Promise<Message<Value, Key> | undefined>
  /** Whether no handler may start: the partitions may belong to another member. */
  isSuspended(): boolean
  /** A stream that waited for its handlers may deliver again. */
  offer(stream: PartitionStream<Value, Key>): void
  /** A handler of the stream has ended. */
  handled(stream: PartitionStream<Value, Key>): void
  /** No handler runs and no message waits for a handler. */
  idle(): void
  /** A handler failed, or reading messages failed. */
  failed(error: unknown): void
}

interface Entry<Value, Key> extends Waiting<Value, Key> {
  readonly stream: PartitionStream<Value, Key>
}

/** Limit of messages of a stream that wait behind busy keys; at the limit the stream delivers no more. */
const waitingMax = 100

/** @throws MillraceError BAD_OPTION */
export function runSettings(options: RunOptions): RunSettings {
  checkOptions('consumer.run', options, { concurrency: true, order: true, finishTimeoutMs: true })
  const { concurrency = 10, order = 'partition', finishTimeoutMs = 30_000 } = options
  if (!Number.isSafeInteger(concurrency) || concurrency < 1)
    throw bad('concurrency', concurrency, 'a whole number from 1')
  checkChoice('order', order, ['partition', 'key'])
  if (!Number.isSafeInteger(finishTimeoutMs) || finishTimeoutMs < 0)
    throw bad('finishTimeoutMs', finishTimeoutMs, 'whole ms from 0')
  return { concurrency, order, finishTimeoutMs }
}

/**
 * Calls a handler for each message, several at the same time, in the requested order, and acknowledges a message when
 * its handler has ended without an error.
 */
export class Runner<Value, Key> {
  readonly #host: RunnerHost<Value, Key>
  readonly #handler: (message: Message<Value, Key>) => unknown
  readonly #settings: RunSettings
  readonly #unackedMax: number
  /** Lanes with messages and without a running handler. */
  readonly #ready = new Map<Lane<Value, Key>, PartitionStream<Value, Key>>()
  #running = 0
  #isStopped = false
  /** Whether no handler may start any more, even if messages wait. */
  #hasFailed = false
  /**
   * Whether a message is being decoded: the runner takes messages in order, so it takes no other message until then.
   */
  #isDecoding = false
  #isWaking = false
  #isWakeWanted = false
  #finished: Deferred<void> | undefined

  constructor(
    host: RunnerHost<Value, Key>,
    handler: (message: Message<Value, Key>) => unknown,
    settings: RunSettings,
    unackedMax: number,
  ) {
    this.#host = host
    this.#handler = handler
    this.#settings = settings
    this.#unackedMax = unackedMax
  }

  /** Number of running handlers. */
  get running(): number {
    return this.#running
  }

  /** Starts handlers while there are messages and free slots; call it when there may be new ones of either. */
  wake(): void {
    this.#isWakeWanted = true
    if (this.#isWaking) return
    this.#isWaking = true
    while (this.#isWakeWanted) {
      this.#isWakeWanted = false
      this.#startReady()
      this.#take()
    }
    this.#isWaking = false
    if (this.#isIdle && !this.#isStopped) this.#host.idle()
  }

  /**
   * Takes no more messages. Resolves when the running handlers have ended, and also the handlers of waiting messages
   * that precede them in their partition; or when `finishTimeoutMs` is over, or `signal` is aborted.
   */
  async finish(signal: AbortSignal): Promise<void> {
    this.#isStopped = true
    this.wake()
    if (this.#isFinished || signal.aborted) return
    const finished = deferred<void>()
    this.#finished = finished
    const timer = setTimeout(finished.resolve, this.#settings.finishTimeoutMs)
    const onAbort = (): void => finished.resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    await finished.promise
    signal.removeEventListener('abort', onAbort)
    clearTimeout(timer)
    this.#hasFailed = true
  }

  get #isIdle(): boolean {
    return this.#running === 0 && this.#ready.size === 0 && !this.#isDecoding
  }

  get #hasRoom(): boolean {
    return this.#running < this.#settings.concurrency && !this.#hasFailed
  }

  /** Whether no handler must run any more before the consumer closes. */
  get #isFinished(): boolean {
    if (this.#running > 0) return false
    if (this.#hasFailed || this.#host.isSuspended()) return true
    for (const [lane, stream] of this.#ready) if (stream.handlers?.isOwed(lane) === true) return false
    return true
  }

  #startReady(): void {
    for (const [lane, stream] of this.#ready) {
      if (!this.#hasRoom || this.#host.isSuspended()) return
      this.#prune(lane, stream)
      const [next] = lane.waiting
      if (next === undefined) {
        this.#ready.delete(lane)
        stream.handlers?.lanes.delete(lane.key)
      } else if (this.#mayStart(lane, stream)) {
        this.#ready.delete(lane)
        lane.waiting.shift()
        if (stream.handlers !== undefined) stream.handlers.waiting--
        this.#start({ ...next, stream }, lane)
      }
    }
  }

  /** A revoked stream and a closing consumer handle only messages that precede one whose handler has started. */
  #mayStart(lane: Lane<Value, Key>, stream: PartitionStream<Value, Key>): boolean {
    if (this.#isStopped || stream.state === 'revoking') return stream.handlers?.isOwed(lane) ?? false
    return !stream.paused
  }

  /** Removes messages of a lane that no longer belong to this consumer. */
  #prune(lane: Lane<Value, Key>, stream: PartitionStream<Value, Key>): void {
    for (
      let [next] = lane.waiting;
      next !== undefined && !isCurrent({ ...next, stream });
      [next] = lane.waiting
    ) {
      lane.waiting.shift()
      if (stream.handlers !== undefined) stream.handlers.waiting--
    }
  }

  #take(): void {
    while (this.#hasRoom && !this.#isStopped && !this.#isDecoding) {
      try {
        const message = this.#host.take()
        if (message === undefined) return
        if (message instanceof Promise) void this.#await(message)
        else this.#admit(message)
      } catch (error) {
        this.#host.failed(error)
        return
      }
    }
  }

  /** Never rejects. */
  async #await(pending: Promise<Message<Value, Key> | undefined>): Promise<void> {
    this.#isDecoding = true
    try {
      const message = await pending
      if (message !== undefined && !this.#isStopped) this.#admit(message)
    } catch (error) {
      this.#host.failed(error)
    }
    this.#isDecoding = false
    this.wake()
  }

  #admit(message: Message<Value, Key>): void {
    const stream = message.run.source
    if (!(stream instanceof PartitionStream) || stream.handlers === undefined)
      throw new MillraceError('INTERNAL')
    const entry: Entry<Value, Key> = { message, stream, version: stream.version }
    if (!isCurrent(entry)) return
    const key = this.#settings.order === 'key' ? message.keyBytes : undefined
    if (key === undefined) {
      this.#start(entry, undefined)
      return
    }
    const name = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
    const busy = stream.handlers.lanes.get(name)
    if (busy !== undefined) {
      busy.waiting.push({ message, version: entry.version })
      stream.handlers.waiting++
      this.#hold(stream)
      return
    }
    const lane: Lane<Value, Key> = { key: name, waiting: [] }
    stream.handlers.lanes.set(name, lane)
    this.#start(entry, lane)
  }

  #start(entry: Entry<Value, Key>, lane: Lane<Value, Key> | undefined): void {
    const { message, stream } = entry
    this.#running++
    if (stream.handlers !== undefined) {
      stream.handlers.running++
      stream.handlers.lastStarted = Math.max(stream.handlers.lastStarted, message.offset)
    }
    this.#hold(stream)
    // Errors that a handler throws synchronously also arrive later: a handler must not be called from itself.
    Promise.resolve()
      .then(() => this.#handler(message))
      .then(
        () => this.#end(entry, lane),
        (error: unknown) => this.#end(entry, lane, { error }),
      )
  }

  #end(
    { message, stream }: Entry<Value, Key>,
    lane: Lane<Value, Key> | undefined,
    failure?: { readonly error: unknown },
  ): void {
    this.#running--
    if (stream.handlers !== undefined) stream.handlers.running--
    if (lane !== undefined && lane.waiting.length > 0) this.#ready.set(lane, stream)
    else if (lane !== undefined) stream.handlers?.lanes.delete(lane.key)
    if (failure === undefined) message.ack()
    else {
      this.#hasFailed = true
      this.#host.failed(failure.error)
    }
    this.wake()
    this.#host.handled(stream)
    this.#hold(stream)
    this.wake()
    if (this.#isFinished) this.#finished?.resolve()
  }

  /** Pauses the stream while it must wait for handlers, and resumes it after that. */
  #hold(stream: PartitionStream<Value, Key>): void {
    const before = stream.busy
    stream.busy = this.#mustWait(stream)
    if (before && !stream.busy) this.#host.offer(stream)
  }

  #mustWait({ handlers, acks, position }: PartitionStream<Value, Key>): boolean {
    if (handlers === undefined) return false
    if (this.#settings.order === 'partition') return handlers.running > 0
    // One slow message must not let the others run far ahead: they would be delivered again after a crash.
    return (
      handlers.waiting >= waitingMax ||
      (acks !== undefined && position - acks.committable >= this.#unackedMax)
    )
  }
}

/**
 * Whether the message still belongs to this consumer: its partition has not moved, and its position has not changed.
 */
function isCurrent<Value, Key>({ message, stream, version }: Entry<Value, Key>): boolean {
  if (stream.acks === undefined) return stream.state === 'active' && stream.version === version
  // A revoked stream discards its buffer, which changes its version, and accepts acknowledgements until it is dropped.
  const isHeld = stream.state === 'active' || stream.state === 'revoking'
  return isHeld && message.run.acks?.window === stream.acks
}

function bad(name: string, value: unknown, expected: string): MillraceError {
  return new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value)}, expected ${expected}`,
  )
}
