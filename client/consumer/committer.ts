import { commands, errorOf, isMillraceError, MillraceError } from '../../protocol/index.js'
import { pause } from '../backoff.js'
import { channels } from '../diagnostics.js'
import type { BrokerPort } from './broker_port.js'
import { type Deferred, deferred } from './deferred.js'
import type { OffsetCommitter, PartitionStream } from './partition_stream.js'
import { retryMs } from './retry.js'

export interface CommitterOptions<Value, Key> {
  readonly port: BrokerPort
  readonly group: string
  readonly memberId: string
  /** Interval of commits of acknowledged offsets; 0: at once. */
  readonly intervalMs: number
  /** The partition belongs to another member by now, or is gone. */
  readonly onFenced: (stream: PartitionStream<Value, Key>) => void
  /** The broker does not know the member. */
  readonly onUnknownMember: () => void
  /** A commit failed; the committer tries again. */
  readonly onRetry?: ((error: unknown) => void) | undefined
  /** A commit failed permanently. */
  readonly onFailed: (error: unknown) => void
}

interface Waiter<Value, Key> {
  readonly streams: Set<PartitionStream<Value, Key>>
  /** Requests with a number below this do not count for the waiting call. */
  readonly since: number
  readonly done: Deferred<void>
}

interface Entry<Value, Key> {
  readonly stream: PartitionStream<Value, Key>
  readonly offset: number
}

/** Limit of waiting calls of `commit`. */
const waitersMax = 10_000

/**
 * Commits acknowledged offsets in the background: one request at a time for all partitions with new acknowledgements.
 * After a retryable error it sends the request again.
 */
export class Committer<Value, Key> implements OffsetCommitter {
  readonly group: string
  readonly memberId: string
  readonly #options: CommitterOptions<Value, Key>
  readonly #dirty = new Set<PartitionStream<Value, Key>>()
  readonly #abort = new AbortController()
  readonly #waiters = new Set<Waiter<Value, Key>>()
  #timer: NodeJS.Timeout | undefined
  /** Resolves when no request is open. */
  #turn: Promise<void> | undefined
  #sent = 0
  #failures = 0
  /** Number of commit requests that the broker has confirmed. */
  commits = 0

  constructor(options: CommitterOptions<Value, Key>) {
    this.#options = options
    this.group = options.group
    this.memberId = options.memberId
  }

  /** The committable offset of a stream has grown. This runs for every acknowledgement. */
  changed(stream: PartitionStream<Value, Key>): void {
    if (stream.commitPending) return
    stream.commitPending = true
    this.#dirty.add(stream)
    if (this.#timer !== undefined || this.#turn !== undefined || this.#abort.signal.aborted) return
    this.#timer = setTimeout(() => void this.#flush(), this.#options.intervalMs)
  }

  /**
   * Resolves once the offsets that are acknowledged now are committed durably.
   * @throws MillraceError FENCED if a partition has moved to another member before, CLOSED, LIMIT_EXCEEDED
   */
  async commit(streams: Iterable<PartitionStream<Value, Key>>): Promise<void> {
    if (this.#waiters.size >= waitersMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `${waitersMax} calls of commit() already wait, which is the maximum`,
      )
    }
    const moved = new Set<PartitionStream<Value, Key>>()
    for (const stream of streams) {
      if (stream.acks === undefined || stream.acks.committable === stream.committed) continue
      moved.add(stream)
      stream.commitPending = true
      this.#dirty.add(stream)
    }
    if (moved.size === 0) return
    if (this.#abort.signal.aborted) throw closed()
    const waiter = { streams: moved, since: this.#sent, done: deferred<void>() }
    this.#waiters.add(waiter)
    void this.#flush()
    await waiter.done.promise
  }

  /** Runs the work while no other commit is open: otherwise an older offset could arrive after a newer one. */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    while (this.#turn !== undefined) await this.#turn
    const { promise, resolve } = deferred<void>()
    this.#turn = promise
    try {
      return await work()
    } finally {
      this.#turn = undefined
      resolve()
      if (this.#waiters.size > 0) void this.#flush()
      else this.#schedule()
    }
  }

  /** The stream was dropped: its offsets can no longer be committed. */
  forget(stream: PartitionStream<Value, Key>): void {
    this.#dirty.delete(stream)
    for (const waiter of this.#waiters) {
      if (!waiter.streams.has(stream)) continue
      const what = `partition ${stream.partition} of topic "${stream.topic}"`
      this.#settle(
        waiter,
        new MillraceError('FENCED', `${what} moved to another member before its offsets were committed`),
      )
    }
  }

  /** Sends no more requests; waiting calls of `commit` fail with CLOSED. */
  close(): void {
    clearTimeout(this.#timer)
    this.#abort.abort()
    for (const waiter of this.#waiters) this.#settle(waiter, closed())
  }

  /** Never rejects. */
  async #flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#turn !== undefined) return
    const { promise, resolve } = deferred<void>()
    this.#turn = promise
    while (this.#dirty.size > 0 && !this.#abort.signal.aborted) {
      const failed = await this.#send(this.#takeDirty())
      if (failed) await pause(retryMs(++this.#failures), this.#abort.signal)
      else this.#failures = 0
      if (this.#waiters.size === 0) break
    }
    this.#turn = undefined
    resolve()
    this.#schedule()
  }

  #schedule(): void {
    if (this.#dirty.size === 0 || this.#abort.signal.aborted) return
    this.#timer ??= setTimeout(() => void this.#flush(), this.#options.intervalMs)
  }

  #takeDirty(): Entry<Value, Key>[] {
    const entries: Entry<Value, Key>[] = []
    for (const stream of this.#dirty) {
      stream.commitPending = false
      if (stream.state === 'dropped' || stream.acks === undefined) continue
      const offset = stream.acks.committable
      entries.push({ stream, offset })
    }
    this.#dirty.clear()
    return entries
  }

  /** Returns whether some entries must be sent again. Never rejects. */
  async #send(entries: readonly Entry<Value, Key>[]): Promise<boolean> {
    this.#sent++
    const moved: Entry<Value, Key>[] = []
    for (const entry of entries) {
      if (entry.stream.committed === entry.offset) this.#confirm(entry)
      else moved.push(entry)
    }
    if (moved.length === 0) return false
    for (const { stream, offset } of moved) stream.sent(offset)
    try {
      const { port, group, memberId } = this.#options
      const offsets = moved.map(
        ({ stream, offset }) => [stream.topicId, stream.partition, stream.epoch, offset, undefined] as const,
      )
      const body = { group, memberId, offsets }
      const { results } = await port.control(commands.groupCommit, body, { signal: this.#abort.signal })
      this.commits++
      let failed = false
      for (const [index, entry] of moved.entries()) {
        const result = results[index] ?? { error: 1, message: 'the reply of the broker lacks a result' }
        if (result.error === 0) {
          this.#confirm(entry)
          if (channels.settle.hasSubscribers) this.#trace(entry)
        } else if (this.#refused(entry, errorOf(result))) failed = true
      }
      return failed
    } catch (error) {
      return this.#failed(moved, error)
    }
  }

  #confirm({ stream, offset }: Entry<Value, Key>): void {
    stream.confirmed(offset)
    for (const waiter of this.#waiters) {
      if (waiter.since >= this.#sent || !waiter.streams.delete(stream)) continue
      if (waiter.streams.size === 0) this.#settle(waiter, undefined)
    }
  }

  #trace({ stream: { topic, partition }, offset }: Entry<Value, Key>): void {
    const { group } = this.#options
    channels.settle.publish({ group, topic, partition, offset, outcome: 'commit' })
  }

  /** Returns whether the entry must be sent again. */
  #refused({ stream }: Entry<Value, Key>, error: MillraceError): boolean {
    if (error.retryable) {
      this.#options.onRetry?.(error)
      this.#again(stream)
      return true
    }
    if (isMillraceError(error, 'FENCED', 'UNKNOWN_TOPIC', 'UNKNOWN_PARTITION')) this.#options.onFenced(stream)
    else this.#fail(error)
    return false
  }

  #failed(entries: readonly Entry<Value, Key>[], error: unknown): boolean {
    if (this.#abort.signal.aborted) return false
    const unknownMember = isMillraceError(error, 'UNKNOWN_MEMBER')
    if (unknownMember) this.#options.onUnknownMember()
    else if (!isMillraceError(error) || !error.retryable) {
      this.#fail(error)
      return false
    }
    if (!unknownMember) this.#options.onRetry?.(error)
    for (const { stream } of entries) this.#again(stream)
    return true
  }

  #fail(error: unknown): void {
    for (const waiter of this.#waiters) this.#settle(waiter, error)
    this.#options.onFailed(error)
  }

  #again(stream: PartitionStream<Value, Key>): void {
    if (stream.state === 'dropped') return
    stream.commitPending = true
    this.#dirty.add(stream)
  }

  #settle(waiter: Waiter<Value, Key>, error: unknown): void {
    this.#waiters.delete(waiter)
    if (error === undefined) waiter.done.resolve()
    else waiter.done.reject(error)
  }
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the consumer was closed')
}
