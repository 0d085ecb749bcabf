import { MillraceError } from '../../protocol/index.js'
import { checkChoice, checkOptions } from '../options.js'
import { type Deferred, deferred } from './deferred.js'
import type { Message } from './message.js'
import { PartitionStream } from './partition_stream.js'
import type { Lane, Waiting } from './stream_handlers.js'

/** Options of `consumer.run`. */
export interface RunOptions {
  /** Handlers that run at the same time. Default 10. */
  readonly concurrency?: number | undefined
  /**
   * "partition" (default): the handler of a message starts when the handler of the message before it in the partition
   * has ended. "key": the same for the messages of a key; messages of different keys, and messages without a key, run at
   * the same time.
   */
  readonly order?: 'partition' | 'key' | undefined
  /** How long `close` lets running handlers finish. Default 30,000. */
  readonly finishTimeoutMs?: number | undefined
}

export interface RunSettings {
  readonly concurrency: number
  readonly order: 'partition' | 'key'
  readonly finishTimeoutMs: number
}

/** What a runner needs of its consumer. */
export interface RunnerHost<Value, Key> {
  /** The next message; undefined when there is none now or the consumer closes. May throw. */
  take(): Message<Value, Key> | undefined | Promise<Message<Value, Key> | undefined>
  /** Whether no message may be handed to a handler: the partitions may be another's. */
  isSuspended(): boolean
  /** A stream that had to wait for its handlers may deliver again. */
  offer(stream: PartitionStream<Value, Key>): void
  /** A handler of the stream has ended. */
  handled(stream: PartitionStream<Value, Key>): void
  /** No handler runs and no message waits for one. */
  idle(): void
  /** A handler has failed, or messages could not be taken. */
  failed(error: unknown): void
}

interface Entry<Value, Key> extends Waiting<Value, Key> {
  readonly stream: PartitionStream<Value, Key>
}

/** Messages of a stream that may wait behind busy keys; then the stream delivers no more. */
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
 * Calls a handler for each message, several at the same time, in the order that was asked for, and acknowledges a
 * message when its handler has ended without an error.
 */
export class Runner<Value, Key> {
  readonly #host: RunnerHost<Value, Key>
  readonly #handler: (message: Message<Value, Key>) => unknown
  readonly #settings: RunSettings
  readonly #unackedMax: number
  /** Lanes that have messages and no running handler. */
  readonly #ready = new Map<Lane<Value, Key>, PartitionStream<Value, Key>>()
  #running = 0
  #isStopped = false
  /** Whether no handler starts any more, whatever waits. */
  #hasFailed = false
  /** Whether a message is being decoded: messages are taken in order, so none is taken meanwhile. */
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

  /** Handlers that run now. */
  get running(): number {
    return this.#running
  }

  /** Starts handlers while there are messages and room; to be called when one of both may have come. */
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
   * Takes no more messages. Resolves when the handlers that run have ended, and those of messages that wait before them in
   * their partition; or `finishTimeoutMs` is over, or `signal` is aborted.
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

  /** Whether nothing has to be handled any more before the consumer closes. */
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

  /** A stream that goes, and a consumer that closes, only handle what stands before something that was started. */
  #mayStart(lane: Lane<Value, Key>, stream: PartitionStream<Value, Key>): boolean {
    if (this.#isStopped || stream.state === 'revoking') return stream.handlers?.isOwed(lane) ?? false
    return !stream.paused
  }

  /** Forgets messages of a lane that are not this consumer's any more. */
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
    // Also what a handler throws at once comes back later: it must not be called from itself.
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

  /** Lets the stream wait while it has to, and deliver again when it has not. */
  #hold(stream: PartitionStream<Value, Key>): void {
    const before = stream.busy
    stream.busy = this.#mustWait(stream)
    if (before && !stream.busy) this.#host.offer(stream)
  }

  #mustWait({ handlers, acks, position }: PartitionStream<Value, Key>): boolean {
    if (handlers === undefined) return false
    if (this.#settings.order === 'partition') return handlers.running > 0
    // One message that takes long must not let the others run far ahead: they would come again after a crash.
    return (
      handlers.waiting >= waitingMax ||
      (acks !== undefined && position - acks.committable >= this.#unackedMax)
    )
  }
}

/** Whether the message still is this consumer's: its partition has not moved, nor was its position changed. */
function isCurrent<Value, Key>({ message, stream, version }: Entry<Value, Key>): boolean {
  if (stream.acks === undefined) return stream.state === 'active' && stream.version === version
  // A stream that goes forgets what is buffered, which changes its version, and lets acknowledgements count until it is gone.
  const isHeld = stream.state === 'active' || stream.state === 'revoking'
  return isHeld && message.run.acks?.window === stream.acks
}

function bad(name: string, value: unknown, expected: string): MillraceError {
  return new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value)}, expected ${expected}`,
  )
}
