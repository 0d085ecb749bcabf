import { randomUUID } from 'node:crypto'
import {
  commands,
  durationText,
  isMillraceError,
  MillraceError,
  offsetsOf,
  RecordCursor,
  type ReplyOf,
  splitBatches,
} from '../../protocol/index.js'
import { onAbort } from '../abort.js'
import type { Address } from '../address.js'
import { pause } from '../backoff.js'
import type { Cluster } from '../cluster.js'
import { channels, traceHandle } from '../diagnostics.js'
import type { LinkOptions } from '../link.js'
import { TopicWait, topicPollMs, topicWaitMs } from '../topic_wait.js'
import { undisturbed } from '../warnings.js'
import { acknowledged, isThenable, outcomeOf } from './handling.js'
import { LeaseKeeper } from './lease_keeper.js'
import { monotonicMs } from './loop_watch.js'
import type { SettledOutcome, WorkSettings } from './options.js'
import { workerReports } from './reports.js'
import { settingsConflict } from './settings_report.js'
import { type Outcome, Settler } from './settler.js'
import { BatchSlots, WorkBatch } from './work_batch.js'
import { WorkMessage, type WorkOwner, type WorkSource } from './work_message.js'

/** Handles a message: resolves to acknowledge it, throws if the attempt has failed. */
export type WorkHandler<Value, Key, Name extends string = string> = (
  message: WorkMessage<Value, Key, Name>,
) => unknown

/**
 * Handles a batch: resolves to acknowledge all messages that it has not settled itself; throws if the attempt of each
 * message that is not settled has failed.
 */
export type WorkBatchHandler<Value, Key, Name extends string = string> = (
  batch: WorkBatch<WorkMessage<Value, Key, Name>>,
) => unknown

export interface WorkTopic<Value, Key> {
  readonly name: string
  readonly source: WorkSource<Value, Key>
  /** Whether to decode values before the call of the handler: their schema may be asynchronous. */
  readonly ahead: boolean
}

/** The parts of the client that a worker needs. */
export interface WorkerHost {
  readonly cluster: Cluster
  /** For the thread that extends leases. */
  readonly addresses: readonly Address[]
  readonly options: LinkOptions
  /** Called when the worker has ended. */
  readonly ended: () => void
}

/** Counters of a worker since its start. */
export interface WorkerStats {
  /** Messages with a running handler. */
  readonly running: number
  /** Messages that wait for a handler. */
  readonly buffered: number
  readonly acked: number
  readonly failed: number
  readonly rejected: number
  /** Handlers that timed out; they may still run. */
  readonly timedOut: number
  /** Messages that lost their lease before the broker knew their outcome. */
  readonly lost: number
}

type LeaseReply = ReplyOf<typeof commands.queueLease>

const leaseWaitMsMax = 5_000
const leaseBytesMax = 4 * 1024 * 1024
const leaseRequestsMax = 2
const leaseMessagesMax = 10_000
const timeoutCheckMs = 50
/** Interval at which a worker without running handlers checks for delayed replies. */
const idleCheckMsMax = 1_000
const retryPauseMs = 200
const leaveTimeoutMs = 5_000
const closePollMs = 5
/** Time limit for the last released messages, independent of the time limit of `close`. */
const settleTimeoutMs = 1_000

/** Handles the messages of a queue group. Created by `client.work`; ends with `close` or with its client. */
export class Worker<Value = unknown, Key = unknown> implements AsyncDisposable {
  /** Globally unique; `queue describe` shows it. */
  readonly id = randomUUID()
  readonly #host: WorkerHost
  readonly #topics: ReadonlyMap<string, WorkTopic<Value, Key>>
  readonly #settings: WorkSettings
  readonly #handler: WorkHandler<Value, Key>
  readonly #batchHandler: WorkBatchHandler<Value, Key>
  /** Only for a worker with a batch handler. */
  readonly #slots: BatchSlots | undefined
  readonly #settler: Settler<WorkMessage<Value, Key>>
  readonly #keeper: LeaseKeeper
  readonly #onError: (error: unknown) => void
  readonly #onSettled: WorkSettings['onSettled']
  readonly #onFailed: (message: WorkMessage<Value, Key>, error: unknown) => void
  readonly #closing = new AbortController()
  readonly #killing = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #isCheckedOften = false
  readonly #owner: WorkOwner
  readonly #topicNames = new Map<number, string>()
  /** Messages that wait for a handler, oldest first. */
  #buffered: WorkMessage<Value, Key>[] = []
  #bufferedHead = 0
  /** Start time of each handler, oldest first; ms of the monotonic clock. */
  readonly #running = new Map<WorkMessage<Value, Key>, number>()
  /** Messages of each lease whose outcome the broker has not confirmed: until then the lease must last. */
  readonly #grants = new Map<number, Set<WorkMessage<Value, Key>>>()
  readonly #reportedConflicts = new Set<string>()
  #asked = 0
  /** Start time of each open lease request, oldest first; ms of the monotonic clock. */
  readonly #requested = new Set<{ readonly atMs: number }>()
  readonly #leaseWaitMs: number
  /** Whether a lost reply may have carried leases that the broker still counts as held. */
  #mayHaveLost = false
  /** Until this time a lease from a lost reply may last; ms of the monotonic clock. */
  #doubtUntilMs = 0
  /** Time of the last report of all leases; ms of the monotonic clock. */
  #reportedAtMs = 0
  #opening: Promise<void> | undefined
  #isOpen = false
  #isOver = false
  #wasOpen = false
  readonly #topicWait = new TopicWait()
  #acked = 0
  #failed = 0
  #rejected = 0
  #timedOut = 0
  #lost = 0
  #ended: Promise<void> | undefined
  #unwatchSignal: (() => void) | undefined
  readonly #onAbort = (): void => void this.close()
  #resolveClosed: () => void = () => {}
  #rejectClosed: (error: unknown) => void = () => {}
  #resolveReady: () => void = () => {}
  #rejectReady: (error: unknown) => void = () => {}
  readonly #ready: Promise<void>
  #isReadyAwaited = false
  /**
   * Resolves when the worker is closed; rejects on a permanent error of the broker, such as an unknown topic. If the
   * program handles neither this rejection nor that of `ready`, and gave no `onError`, it is an unhandled rejection,
   * which ends the process: a failed worker must not look alive.
   */
  readonly closed: Promise<void>

  /** Use `client.work`. */
  constructor(
    host: WorkerHost,
    topics: readonly WorkTopic<Value, Key>[],
    settings: WorkSettings,
    handler: WorkHandler<Value, Key> | WorkBatchHandler<Value, Key>,
  ) {
    this.#host = host
    this.#topics = new Map(topics.map((topic) => [topic.name, topic]))
    this.#settings = settings
    this.#handler = handler as WorkHandler<Value, Key>
    this.#batchHandler = handler as WorkBatchHandler<Value, Key>
    const { batch, concurrency } = settings
    this.#slots = batch && new BatchSlots(batch, concurrency, () => this.#work())
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve
      this.#rejectClosed = reject
    })
    this.#ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve
      this.#rejectReady = reject
    })
    this.#ready.catch(() => {})
    const { group, leaseMs, blockedMsMax } = settings
    // A reply that takes longer counts as delayed, and the worker reports its leases before the lease of that reply
    // ends.
    this.#leaseWaitMs = Math.min(leaseWaitMsMax, Math.floor(leaseMs / 4))
    const { onError, onFailed } = workerReports(settings)
    this.#onError = onError
    this.#onFailed = onFailed
    this.#onSettled = settings.onSettled && undisturbed(settings.onSettled)
    this.#settler = new Settler({
      send: (entries, requestNumber) => {
        const request = { group, workerId: this.id, requestNumber, entries }
        return host.cluster.call(commands.queueSettle, request, { repeatable: true })
      },
      refused: ({ place: { grantId, offset } }) => {
        this.#lost++
        onError(new MillraceError('LEASE_LOST', `lease ${grantId} no longer held offset ${offset}`))
      },
      failed: onError,
      confirmed: (message, { outcome, cause }) => {
        if (channels.settle.hasSubscribers) this.#traceSettle(message, outcome, cause)
        this.#onSettled?.(message as unknown as WorkMessage, outcome, cause)
      },
      ended: (message) => this.#release(message),
    })
    this.#keeper = new LeaseKeeper(
      { addresses: host.addresses, options: host.options, group, workerId: this.id, leaseMs, blockedMsMax },
      (grantIds) => this.#leasesLost(grantIds),
      () => this.#work(),
      onError,
    )
    this.#owner = {
      group,
      settledElsewhere: (message) => {
        this.#acked++
        if (channels.settle.hasSubscribers) this.#traceSettle(message as WorkMessage<Value, Key>, 'ack')
        this.#running.delete(message as WorkMessage<Value, Key>)
        this.#release(message as WorkMessage<Value, Key>)
        this.#work()
        this.#ask()
      },
    }
    this.#checkLater()
    if (settings.signal?.aborted === true) this.#onAbort()
    if (settings.signal !== undefined) this.#unwatchSignal = onAbort(settings.signal, this.#onAbort)
    this.#ask()
  }

  /**
   * Resolves when the broker knows the worker and its group; rejects if the broker refuses, or if the worker closes
   * first.
   */
  get ready(): Promise<void> {
    this.#isReadyAwaited = true
    return this.#ready
  }

  stats(): WorkerStats {
    return {
      running: this.#running.size,
      buffered: this.#buffered.length - this.#bufferedHead,
      acked: this.#acked,
      failed: this.#failed,
      rejected: this.#rejected,
      timedOut: this.#timedOut,
      lost: this.#lost,
    }
  }

  /**
   * Takes no more messages, releases messages without a running handler, and waits for handlers for `closeTimeoutMs`.
   * It also releases messages whose handlers have not finished by then. No released message counts as an attempt.
   */
  close(): Promise<void> {
    this.#ended ??= this.#end().then(() => {
      this.#host.ended()
      this.#resolveClosed()
    })
    return this.#ended
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Ends the worker without waiting; other workers get its messages when the leases end. @internal */
  kill(): void {
    this.#killing.abort()
    this.#settler.close()
    void this.close()
  }

  async #end(): Promise<void> {
    const { group, closeTimeoutMs } = this.#settings
    this.#unwatchSignal?.()
    this.#slots?.stop()
    this.#closing.abort(closedError())
    this.#rejectReady(closedError())
    const { signal } = this.#killing
    const timeoutMs = Math.max(1, Math.min(closeTimeoutMs, leaveTimeoutMs))
    await this.#host.cluster
      .call(commands.queueLeave, { group, workerId: this.id }, { timeoutMs, signal })
      .catch(() => {})
    for (const message of this.#buffered.splice(this.#bufferedHead))
      this.#settle(message, { outcome: 'release' })
    const deadlineMs = performance.now() + closeTimeoutMs
    while (this.#running.size + this.#requested.size > 0 && performance.now() < deadlineMs && !signal.aborted)
      await pause(closePollMs, signal)
    for (const message of [...this.#running.keys()]) {
      message.lose(closedError())
      this.#settle(message, { outcome: 'release' })
    }
    const leftMs = Math.max(settleTimeoutMs, deadlineMs - performance.now())
    const gaveUp = new AbortController()
    const waited = AbortSignal.any([signal, gaveUp.signal])
    await Promise.race([this.#settler.idle(), pause(leftMs, waited)])
    gaveUp.abort()
    this.#settler.close()
    clearTimeout(this.#timer)
    this.#isOver = true
    await this.#keeper.close()
    const isInDoubt = this.#mayHaveLost || this.#requested.size > 0
    if (!isInDoubt || signal.aborted) return
    const held = [...this.#grants.keys()]
    await this.#host.cluster
      .call(commands.queueLeave, { group, workerId: this.id, held }, { timeoutMs: settleTimeoutMs, signal })
      .catch(() => {})
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted
  }

  /** Leased messages without an outcome. */
  get #held(): number {
    return this.#running.size + this.#buffered.length - this.#bufferedHead
  }

  /** Requests as many messages as there is room for, once the number is worth a request. */
  #ask(): void {
    if (this.#isClosing) return
    if (!this.#isOpen) {
      // Replies to open requests belong to the leases that the worker lists when it opens the group again.
      if (this.#requested.size > 0) return
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined
        this.#ask()
      })
      return
    }
    const { prefetch } = this.#settings
    while (this.#requested.size < leaseRequestsMax) {
      const room = Math.min(prefetch - this.#held - this.#asked, leaseMessagesMax)
      const isWorth = room >= Math.max(1, Math.ceil(prefetch / 4)) || (this.#asked === 0 && room > 0)
      if (!isWorth) return
      void this.#lease(room)
    }
  }

  async #open(): Promise<void> {
    const { group, settings, start, concurrency } = this.#settings
    const request = {
      group,
      workerId: this.id,
      topics: [...this.#topics.keys()],
      settings,
      // After a reconnect the worker must not undo changes of the settings by an operator.
      again: this.#wasOpen,
      ...(this.#wasOpen ? { held: [...this.#grants.keys()] } : {}),
      start,
      concurrency,
    }
    try {
      const { body } = await this.#host.cluster.toOwner(0, 'fetch', commands.queueOpen, request, {
        signal: this.#closing.signal,
      })
      this.#reportConflict(settingsConflict(group, settings, body.settings, body.replaced))
      for (const { topic, topicId } of body.topics) this.#topicNames.set(topicId, topic)
      // Wait for lease keeping: the first handler may block the event loop for longer than its lease.
      await this.#keeper.started
      this.#isOpen = true
      this.#wasOpen = true
      this.#mayHaveLost = false
      this.#topicWait.found()
      this.#resolveReady()
    } catch (error) {
      if (this.#wasOpen && isMillraceError(error, 'UNKNOWN_TOPIC')) await this.#topicGone(error)
      else await this.#trouble(error)
    }
  }

  /** Waits for a new topic of the same name, or ends the worker when none was created in time. */
  async #topicGone(cause: MillraceError): Promise<void> {
    if (!this.#topicWait.isWaiting && !this.#isClosing) this.#onError(cause)
    if (!this.#topicWait.isOver) return pause(topicPollMs, this.#closing.signal)
    const problem = `a topic of the worker was deleted and not created again within ${durationText(topicWaitMs)}: ${cause.message}`
    return this.#trouble(new MillraceError('UNKNOWN_TOPIC', problem, { cause }))
  }

  /** Reports each conflict once, not again after each reconnect. */
  #reportConflict(conflict: MillraceError | undefined): void {
    if (conflict === undefined || this.#reportedConflicts.has(conflict.message)) return
    this.#reportedConflicts.add(conflict.message)
    this.#onError(conflict)
  }

  async #lease(messagesMax: number): Promise<void> {
    const { group, leaseMs } = this.#settings
    this.#asked += messagesMax
    const request = {
      group,
      workerId: this.id,
      messagesMax,
      bytesMax: leaseBytesMax,
      waitMs: this.#leaseWaitMs,
      leaseMs,
    }
    const requested = { atMs: monotonicMs() }
    this.#requested.add(requested)
    try {
      const { body, payload } = await this.#host.cluster.toOwner(0, 'fetch', commands.queueLease, request, {
        timeoutMs: this.#leaseWaitMs + this.#host.options.requestTimeoutMs,
      })
      if (body.grantId !== 0) this.#take(body, payload, requested.atMs)
    } catch (error) {
      if (isMillraceError(error, 'CONNECTION_LOST', 'REQUEST_TIMEOUT')) this.#mayHaveLost = true
      if (isMillraceError(error, 'REQUEST_TIMEOUT')) this.#doubtUntilMs = monotonicMs() + leaseMs
      if (isMillraceError(error, 'UNKNOWN_WORKER', 'UNKNOWN_GROUP', 'CONNECTION_LOST')) this.#isOpen = false
      else if (!this.#isClosing) await this.#trouble(error)
    }
    this.#requested.delete(requested)
    this.#asked -= messagesMax
    this.#work()
    this.#ask()
  }

  #take({ grantId, batches }: LeaseReply, payload: Uint8Array, requestedAtMs: number): void {
    const messages = this.#read(grantId, batches, payload)
    // A lease without readable messages is left to expire: no handler would ever settle it.
    if (messages.size === 0) return
    this.#grants.set(grantId, messages)
    this.#keeper.add(grantId, requestedAtMs)
    if (channels.receive.hasSubscribers) {
      const { group } = this.#settings
      for (const message of messages) channels.receive.publish({ group, message })
    }
    for (const message of messages) {
      if (this.#isClosing) this.#settle(message, { outcome: 'release' })
      else this.#buffered.push(message)
    }
  }

  #read(grantId: number, batches: LeaseReply['batches'], payload: Uint8Array): Set<WorkMessage<Value, Key>> {
    const messages = new Set<WorkMessage<Value, Key>>()
    const runs = splitBatches(payload)
    for (const [index, [topicId, partition, , offsets, attempts]] of batches.entries()) {
      const cursor = new RecordCursor(runs[index] as Uint8Array)
      const name = this.#topicNames.get(topicId)
      let n = 0
      for (const offset of offsetsOf(offsets)) {
        if (!cursor.next()) break
        const place = { topicId, partition, offset, grantId }
        const { source } = this.#topicOf(name, cursor)
        messages.add(new WorkMessage(name, source, cursor, place, attempts[n++] ?? 0, this.#owner))
      }
    }
    return messages
  }

  /** A redriven dead letter has another topic, and so other decoders. */
  #topicOf(name: string | undefined, cursor: RecordCursor): WorkTopic<Value, Key> {
    const known = name === undefined ? undefined : this.#topics.get(name)
    if (known !== undefined) return known
    const first = this.#topics.values().next().value as WorkTopic<Value, Key>
    const place = { topicId: 0, partition: 0, offset: 0, grantId: 0 }
    const origin = new WorkMessage(undefined, first.source, cursor, place, 0, this.#owner).topic
    return this.#topics.get(origin) ?? first
  }

  #work(): void {
    if (this.#slots !== undefined) {
      this.#workBatches(this.#slots)
      return
    }
    const { concurrency } = this.#settings
    while (this.#running.size < concurrency) {
      const message = this.#takeBuffered()
      if (message === undefined) return
      this.#running.set(message, performance.now())
      if (!this.#isCheckedOften) this.#checkLater()
      this.#run(message)
    }
  }

  #workBatches(slots: BatchSlots): void {
    while (!this.#isClosing) {
      const size = slots.sizeFor(this.#buffered.length - this.#bufferedHead)
      const messages: WorkMessage<Value, Key>[] = []
      while (messages.length < size) {
        const message = this.#takeBuffered()
        if (message === undefined) break
        messages.push(message)
      }
      if (messages.length === 0) return
      const slot = slots.start(performance.now())
      for (const message of messages) this.#running.set(message, slot.startedMs)
      if (!this.#isCheckedOften) this.#checkLater()
      void this.#runBatch(messages).then(() => {
        slots.end(slot)
        this.#work()
      })
    }
  }

  #takeBuffered(): WorkMessage<Value, Key> | undefined {
    const message = this.#buffered[this.#bufferedHead]
    // Another worker may have handled the message. The keeper soon reports whether the lease still exists.
    if (message === undefined || !this.#keeper.holds(message.place.grantId)) return undefined
    this.#bufferedHead++
    if (this.#bufferedHead > 1_024 && this.#bufferedHead * 2 > this.#buffered.length) {
      this.#buffered = this.#buffered.slice(this.#bufferedHead)
      this.#bufferedHead = 0
    }
    return message
  }

  /** Never rejects. */
  async #runBatch(messages: readonly WorkMessage<Value, Key>[]): Promise<void> {
    // A message that does not decode must not fail the attempts of the others.
    const decoded = await Promise.all(messages.map((message) => this.#decode(message)))
    const good = messages.filter((message, index) => decoded[index] === true && this.#running.has(message))
    if (good.length === 0) return
    let outcome = acknowledged
    try {
      const batch = new WorkBatch(good, (message, one) => this.#finish(message, one))
      const handle = (): unknown => this.#batchHandler(batch)
      if (channels.handle.hasSubscribers)
        await traceHandle(this.#settings.group, batch as unknown as WorkBatch, handle)
      else await handle()
    } catch (error) {
      outcome = outcomeOf(error)
    }
    for (const message of good) this.#finish(message, outcome)
  }

  /** Checks that key and value of a message decode; if not, its attempt has failed. */
  async #decode(message: WorkMessage<Value, Key>): Promise<boolean> {
    try {
      void message.key
      await message.decode()
      return true
    } catch (error) {
      this.#finish(message, outcomeOf(error))
      return false
    }
  }

  #run(message: WorkMessage<Value, Key>): void {
    // Runs in a microtask: handlers that return or throw at once must not nest on the stack.
    const finishSoon = (outcome: Outcome): void => queueMicrotask(() => this.#finish(message, outcome))
    let result: unknown
    try {
      const ahead = this.#topics.get(message.topic)?.ahead ?? false
      const value = ahead ? message.decode() : undefined
      result = value instanceof Promise ? value.then(() => this.#handle(message)) : this.#handle(message)
    } catch (error) {
      finishSoon(outcomeOf(error))
      return
    }
    if (isThenable(result)) {
      result.then(
        () => this.#finish(message, acknowledged),
        (error: unknown) => this.#finish(message, outcomeOf(error)),
      )
    } else finishSoon(acknowledged)
  }

  #handle(message: WorkMessage<Value, Key>): unknown {
    if (!channels.handle.hasSubscribers) return this.#handler(message)
    return traceHandle(this.#settings.group, message as unknown as WorkMessage, () => this.#handler(message))
  }

  #traceSettle(message: WorkMessage<Value, Key>, outcome: SettledOutcome, error?: unknown): void {
    const { topic, partition, offset } = message
    const { group } = this.#settings
    channels.settle.publish({ group, topic, partition, offset, message, outcome, error })
  }

  #finish(message: WorkMessage<Value, Key>, outcome: Outcome): void {
    if (!this.#running.has(message)) return
    if (outcome.outcome !== 'ack') this.#onFailed(message, outcome.cause)
    this.#settle(message, outcome)
    if (this.#isClosing) return
    this.#work()
    this.#ask()
  }

  #settle(message: WorkMessage<Value, Key>, outcome: Outcome): void {
    if (outcome.outcome === 'ack') this.#acked++
    else if (outcome.outcome === 'fail') this.#failed++
    else if (outcome.outcome === 'reject') this.#rejected++
    this.#running.delete(message)
    this.#settler.add(message, outcome)
  }

  #release(message: WorkMessage<Value, Key>): void {
    const { grantId } = message.place
    const messages = this.#grants.get(grantId)
    messages?.delete(message)
    if (messages?.size !== 0) return
    this.#grants.delete(grantId)
    this.#keeper.remove(grantId)
  }

  /** Checks often while handlers run, because they have a time limit, and rarely while the worker is idle. */
  #checkLater(): void {
    clearTimeout(this.#timer)
    if (this.#isOver) return
    this.#isCheckedOften = this.#running.size > 0
    const { leaseMs } = this.#settings
    const idleMs = Math.min(idleCheckMsMax, Math.max(timeoutCheckMs, leaseMs / 16))
    this.#timer = setTimeout(
      () => {
        this.#checkTimes()
        this.#checkLater()
      },
      this.#isCheckedOften ? timeoutCheckMs : idleMs,
    )
  }

  #checkTimes(): void {
    const nowMs = performance.now()
    const { timeoutMs, leaseMs } = this.#settings
    const [oldest] = this.#requested
    const overdueMs = oldest === undefined ? 0 : monotonicMs() - oldest.atMs - this.#leaseWaitMs
    const isInDoubt = overdueMs > leaseMs / 4 || monotonicMs() < this.#doubtUntilMs
    this.#keeper.reportAlways(isInDoubt)
    if (isInDoubt) this.#reportHeld()
    const isFreed = this.#slots?.expire(nowMs - timeoutMs) ?? false
    for (const [message, startedMs] of this.#running) {
      if (nowMs - startedMs < timeoutMs) break
      const error = new MillraceError(
        'REQUEST_TIMEOUT',
        `the handler took longer than ${durationText(timeoutMs)}`,
      )
      this.#timedOut++
      message.lose(error)
      this.#finish(message, { outcome: 'fail', error: error.message, cause: error })
    }
    if (isFreed) this.#work()
  }

  /**
   * Reports all leases over a connection that is already open. The lease thread replaces a connection without replies,
   * but the replies on a new one may be delayed too, and then its requests would not arrive.
   */
  #reportHeld(): void {
    const { group, leaseMs } = this.#settings
    const nowMs = monotonicMs()
    if (this.#isClosing || nowMs - this.#reportedAtMs < leaseMs / 8) return
    this.#reportedAtMs = nowMs
    const grants = [...this.#grants.keys()]
    const { cluster } = this.#host
    // The lease thread learns of lost leases, and the next report follows soon.
    cluster.control(commands.queueExtend, { group, workerId: this.id, grants }).catch(() => {})
  }

  #leasesLost(grantIds: readonly number[]): void {
    for (const grantId of grantIds) {
      const messages = this.#grants.get(grantId)
      if (messages === undefined) continue
      this.#grants.delete(grantId)
      const buffered = this.#buffered.slice(this.#bufferedHead)
      this.#buffered = buffered.filter((message) => !messages.has(message))
      this.#bufferedHead = 0
      const lost = buffered.filter((message) => messages.has(message))
      // Messages without a running handler are being settled; the reply to that tells their outcome.
      for (const message of messages) if (this.#running.delete(message)) lost.push(message)
      const error = new MillraceError('LEASE_LOST')
      this.#lost += lost.length
      for (const message of lost) message.lose(error)
      if (lost.length > 0) this.#onError(error)
    }
    this.#work()
    this.#ask()
  }

  /** Waits a moment, or ends the worker if the error is permanent. */
  async #trouble(error: unknown): Promise<void> {
    if (this.#isClosing) return
    const isFinal = isMillraceError(error) && !error.retryable
    // An error that ends the worker rejects `closed` if nothing else reports it.
    if (this.#settings.onError !== undefined || !isFinal) this.#onError(error)
    if (isFinal) {
      const isReported = this.#settings.onError !== undefined || (this.#isReadyAwaited && !this.#wasOpen)
      if (isReported) this.closed.catch(() => {})
      this.#rejectClosed(error)
      this.#rejectReady(error)
      void this.close()
      return
    }
    await pause(retryPauseMs, this.#closing.signal)
  }
}

function closedError(): MillraceError {
  return new MillraceError('CLOSED', 'the worker is closed')
}
