import { MillraceError, offsetsOf, runsOf } from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import { LivenessClock } from '../liveness_clock.js'
import type { Topic } from '../topics/topic.js'
import { DeadLetterTopic } from './dead_letter_topic.js'
import { type Grant, Grants } from './grants.js'
import { GroupMessages, type MessagesOwner } from './group_messages.js'
import type { QueueHost, WorkerSession } from './host.js'
import type { Lane } from './lane.js'
import { leaseBatch } from './lease_batch.js'
import { encodeQueueLeaseBounded, encodeQueueLeased } from './ops.js'
import { byLane, type MessageState, type QueueMessage } from './queue_message.js'
import type { QueueRecord } from './queues_view.js'
import type { StoredRecord, UnreadableBatch } from './read_records.js'
import {
  endingOf,
  expiredEnding,
  partsOf,
  type SettledOps,
  type SettleEntry,
  type Settlement,
  settledOps,
  tooLargeEnding,
} from './settlements.js'

/** A lease request that waits for messages. */
export interface Asker {
  readonly workerId: string
  readonly session: WorkerSession
  readonly messagesMax: number
  readonly bytesMax: number
  readonly leaseMs: number
  /** Reserved room for the reply on its connection; the sender of the reply releases it. */
  reservedBytes: number
  /** Its connection has no room for a reply now. */
  waitsForRoom: boolean
  /** Called exactly once. */
  readonly given: (grant: Grant | undefined, deliveries: readonly Delivery[], error?: unknown) => void
}

/** Acknowledgements that a transaction commits. */
export interface PreparedAcks {
  readonly ops: readonly Op[]
  done(): void
  failed(): void
}

/** A message that is delivered to a worker. */
export interface Delivery {
  readonly message: QueueMessage
  readonly record: StoredRecord
}

export interface Worker {
  readonly workerId: string
  readonly session: WorkerSession
  readonly concurrency: number
  /** Topics that the worker has opened. */
  readonly topicIds: readonly number[]
  /** Time of the worker's last report of all its leases, ms of the group's clock. */
  reportedAtMs: number
  /** Stops watching its connection. */
  unwatch(): void
}

/** Actions of a group that the broker retries. */
export type Task =
  | 'load its messages'
  | 'read messages'
  | 'lease messages'
  | 'settle messages'
  | 'write dead letters'

const expiryIntervalMs = 100
/** A longer pause of the event loop does not count for leases. */
const stallMsMax = 900
/** Pause before the broker retries to load messages. */
const reopenPauseMs = 1_000
/** Pause before the next attempt to commit the end of expired leases. */
const expiryPauseMs = 1_000

/**
 * A queue group with workers: delivers messages under leases, and processes outcomes. The record of the group holds the
 * durable state; this class holds the state in memory that can be rebuilt from it.
 */
export class LiveGroup implements MessagesOwner {
  readonly record: QueueRecord
  readonly workers = new Map<string, Worker>()
  /** Stops while this process stands still: extensions of leases then wait in the sockets. */
  readonly clock = new LivenessClock(expiryIntervalMs + stallMsMax)
  readonly grants = new Grants(() => this.clock.nowMs)
  /** Actions that failed at their last attempt, and their errors. */
  readonly failures = new Map<Task, unknown>()
  readonly #host: QueueHost
  readonly #messages: GroupMessages
  readonly #deadLetterTopic: DeadLetterTopic
  readonly #askers: Asker[] = []
  readonly #expiryTimer: NodeJS.Timeout
  #isClosed = false
  /** Number of open calls. */
  #underWay = 0
  #opening: Promise<void> | undefined
  /** Time of the next attempt to load messages, ms of the group's clock. */
  #reopenAtMs = Number.POSITIVE_INFINITY

  /** @param onIdle called repeatedly while nothing needs the group */
  constructor(host: QueueHost, record: QueueRecord, onIdle: () => void) {
    this.#host = host
    this.record = record
    this.#messages = new GroupMessages(host, record, this)
    this.#deadLetterTopic = new DeadLetterTopic(host, record)
    this.#expiryTimer = setInterval(() => {
      this.clock.tick()
      if (this.isIdle) onIdle()
      else {
        if (this.grants.size > 0) void this.busy(() => this.#expire())
        if (this.clock.nowMs >= this.#reopenAtMs) this.refreshSoon()
      }
    }, expiryIntervalMs).unref()
    // The failure is recorded and retried.
    this.opened.catch(() => {})
  }

  /** Resolves when unfinished messages are in memory; after a failure, the next request tries again. */
  get opened(): Promise<void> {
    this.#opening ??= this.busy(() => this.#openMessages()).catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  get lanes(): Iterable<Lane> {
    return this.#messages.lanes
  }

  get isIdle(): boolean {
    return !this.hasWorkers && this.grants.size === 0 && !this.hasAskers && this.#underWay === 0
  }

  get askers(): readonly Asker[] {
    return this.#askers
  }

  get hasAskers(): boolean {
    return this.#askers.length > 0
  }

  get hasWorkers(): boolean {
    return this.workers.size > 0
  }

  get readyCount(): number {
    return this.#messages.readyCount
  }

  lane(topicId: number, partition: number): Lane | undefined {
    return this.#messages.lane(topicId, partition)
  }

  /** Opens partitions that the group reads and that are not open yet. */
  async refresh(): Promise<void> {
    await this.opened
    await this.#openMessages()
    this.pump()
  }

  /** Like `refresh`; a failure is recorded in `failures` and retried. */
  refreshSoon(): void {
    this.#reopenAtMs = Number.POSITIVE_INFINITY
    void this.busy(() => this.refresh()).catch(() => {})
  }

  async #openMessages(): Promise<void> {
    try {
      await this.#messages.open()
    } catch (error) {
      this.#failed('load its messages', error)
      this.#reopenAtMs = this.clock.nowMs + reopenPauseMs
      throw error
    }
    this.failures.delete('load its messages')
    const { nowMs } = this.clock
    this.#bound(
      this.grants.takeRenewed(),
      ({ deadlineMs }) => this.#host.latestMs() + Math.ceil(deadlineMs - nowMs),
    )
  }

  /** Adds a lease request to the queue. */
  ask(asker: Asker): void {
    this.#askers.push(asker)
    this.pump()
  }

  /** Removes a lease request from the queue. */
  stopAsking(asker: Asker): void {
    const at = this.#askers.indexOf(asker)
    if (at < 0) return
    this.#askers.splice(at, 1)
    asker.given(undefined, [])
  }

  /**
   * A topic was deleted: its workers must open the group again, so that they continue with a new topic of the same name
   * or get an error.
   */
  topicDeleted({ topicId, name }: Topic): void {
    for (const [workerId, worker] of this.workers) {
      if (!worker.topicIds.includes(topicId)) continue
      worker.unwatch()
      this.workers.delete(workerId)
      const problem = `topic "${name}", which worker "${workerId}" reads, was deleted; open the group again`
      for (let at = this.#askers.length - 1; at >= 0; at--) {
        if (this.#askers[at]?.workerId !== workerId) continue
        const [asker] = this.#askers.splice(at, 1)
        asker?.given(undefined, [], new MillraceError('UNKNOWN_WORKER', problem))
      }
    }
  }

  readFailed(error: unknown): void {
    this.#failed('read messages', error)
  }

  readOn(): void {
    this.failures.delete('read messages')
  }

  /** Ends all waiting requests, and discards the messages in memory. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearInterval(this.#expiryTimer)
    this.#messages.close()
    for (const asker of this.#askers.splice(0)) asker.given(undefined, [])
  }

  /** Delivers the messages that can be delivered. */
  pump(): void {
    if (this.#isClosed || this.record.settings.paused) return
    while (this.#messages.readyCount > 0) {
      const asker = this.#askers.find(canTake)
      if (asker === undefined) break
      const { roomBytes } = asker.session
      if (roomBytes === 0) {
        this.#awaitRoom(asker, 1)
        continue
      }
      const { messages, expired } = this.#messages.take(
        asker.messagesMax,
        Math.min(asker.bytesMax, roomBytes),
      )
      if (expired.length > 0) void this.busy(() => this.#expired(expired))
      if (messages.length > 0) this.#give(asker, messages)
    }
    this.#messages.refill()
  }

  /** Leases messages for a request, if its connection has room for them. */
  #give(asker: Asker, messages: QueueMessage[]): void {
    const { session } = asker
    let bytes = 0
    for (const message of messages) bytes += message.bytes
    if (bytes > session.roomBytes && !session.hasRoom) {
      this.#messages.putBack(messages)
      this.#awaitRoom(asker, bytes)
      return
    }
    this.#askers.splice(this.#askers.indexOf(asker), 1)
    session.reserve(bytes)
    asker.reservedBytes = bytes
    void this.busy(() => this.#lease(asker, messages))
  }

  /** Waits for room on the connection; the group serves other requests during the wait. */
  #awaitRoom(asker: Asker, bytes: number): void {
    asker.waitsForRoom = true
    void asker.session.roomChange(bytes).then(() => {
      asker.waitsForRoom = false
      this.pump()
    })
  }

  /**
   * Ends deliveries. Resolves when the outcome is durable.
   * @returns [index of the entry, offset] of messages that are no longer under their lease
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED: nothing has changed
   */
  settle(entries: readonly SettleEntry[]): Promise<(readonly [number, number])[]> {
    return this.busy(async () => {
      await this.opened
      const nowMs = this.#host.nowMs()
      const refused: (readonly [number, number])[] = []
      const settlements: Settlement[] = []
      for (const [index, entry] of entries.entries()) {
        const lane = this.lane(entry.topicId, entry.partition)
        for (const offset of offsetsOf(entry.offsets)) {
          const message = beginSettling(lane, offset, entry.grantId)
          if (message === undefined) {
            refused.push([index, offset])
            continue
          }
          if (message.grant !== undefined) message.grant.isReceived = true
          settlements.push({ message, ending: endingOf(this.record.settings, message, entry, nowMs) })
        }
      }
      await this.#commit(settlements, 'leased')
      return refused
    })
  }

  /**
   * For a transaction: marks messages as being settled, until the transaction calls `done` or `failed`.
   * @throws MillraceError LEASE_LOST that names the first message without its lease; no message is marked
   */
  prepareAcks(entries: readonly Omit<SettleEntry, 'outcome'>[]): Promise<PreparedAcks> {
    return this.busy(async () => {
      await this.opened
      const settlements: Settlement[] = []
      for (const { topicId, partition, grantId, offsets } of entries) {
        const lane = this.lane(topicId, partition)
        for (const offset of offsetsOf(offsets)) {
          const message = beginSettling(lane, offset, grantId)
          if (message === undefined) {
            setState(settlements, 'leased')
            throw new MillraceError(
              'LEASE_LOST',
              `lease ${grantId} of group "${this.record.group}" no longer holds offset ${offset} of partition ${partition}`,
            )
          }
          if (message.grant !== undefined) message.grant.isReceived = true
          settlements.push({ message, ending: { kind: 'done' } })
        }
      }
      this.#underWay++
      const settled = this.#settledOps(settlements)
      return {
        ops: settled.ops,
        done: () => {
          this.#underWay--
          this.#settled(settlements)
        },
        failed: () => {
          this.#underWay--
          settled.failed()
          setState(settlements, 'leased')
        },
      }
    })
  }

  /** Extends leases; returns leases that are over. */
  extend(grantIds: readonly number[], leaseMs: number | undefined): number[] {
    const lost: number[] = []
    const bounded: Grant[] = []
    for (const id of grantIds) {
      const grant = this.grants.get(id)
      if (grant === undefined) {
        lost.push(id)
        continue
      }
      grant.deadlineMs = Math.max(grant.deadlineMs, this.clock.nowMs + (leaseMs ?? grant.leaseMs))
      grant.isReceived = true
      if (grant.isBounded) bounded.push(grant)
    }
    this.#bound(bounded, () => 0)
    return lost
  }

  /**
   * Releases leases of a worker from earlier connections that never reached it: leases that it does not report and has
   * never reported. Extends the reported leases. Released messages do not count an attempt.
   * @param session the current connection of the worker: replies on it may still be in flight; undefined if the worker
   * requests no more messages
   * @param held all leases that the worker holds
   */
  reported(workerId: string, session: WorkerSession | undefined, held: readonly number[]): Promise<void> {
    const isHeld = new Set(held)
    const received: number[] = []
    const lost: QueueMessage[] = []
    for (const grant of this.grants.values()) {
      if (grant.workerId !== workerId) continue
      if (isHeld.has(grant.id)) received.push(grant.id)
      else if (!grant.isReceived && (session === undefined || grant.session !== session))
        for (const message of grant.messages) if (message.state === 'leased') lost.push(message)
    }
    this.extend(received, undefined)
    return this.busy(() => this.#releaseAll(lost))
  }

  /** Releases messages that were leased for a reply that could not be sent. */
  giveBack(grant: Grant): Promise<void> {
    const leased = [...grant.messages].filter(({ state }) => state === 'leased')
    return this.busy(() => this.#releaseAll(leased))
  }

  /** Loads redriven dead letters. */
  reopened(logId: number, offsets: readonly number[]): Promise<void> {
    return this.busy(async () => {
      await this.refresh()
      await this.#messages.recover(logId, offsets)
      this.pump()
    })
  }

  /**
   * Returns the operation that makes a dead letter of a batch that cannot be opened. @throws MillraceError
   * STORAGE_FULL, STORAGE_FAILED
   */
  deadBatch(lane: Lane, batch: UnreadableBatch): Promise<Op> {
    return this.#deadLetterTopic.unreadable(lane, batch)
  }

  /** Keeps the group in memory while the work runs. */
  async busy<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay++
    try {
      return await work()
    } finally {
      this.#underWay--
    }
  }

  async #lease(asker: Asker, messages: QueueMessage[]): Promise<void> {
    const id = this.#host.uniqueId()
    const { workerId, leaseMs } = asker
    try {
      const readable = await this.#readable(messages)
      const ops = this.#leasedOps(id, asker, readable)
      if (ops.length > 0) await this.#host.commit(ops)
      if (this.failures.size > 0) this.failures.delete('lease messages')
      const deadlineMs = this.clock.nowMs + leaseMs
      const grant: Grant = {
        id,
        workerId,
        session: asker.session,
        leaseMs,
        deadlineMs,
        isReceived: false,
        isCounted: true,
        isBounded: false,
        messages: new Set(),
      }
      for (const message of readable) message.grant = grant
      const leased = readable.filter(isDurable)
      for (const message of leased) {
        message.state = 'leased'
        grant.messages.add(message)
      }
      if (leased.length > 0) this.grants.add(grant)
      const deliveries = leased.map((message) => ({ message, record: message.record as StoredRecord }))
      for (const message of leased) this.#messages.dropRecord(message)
      if (this.#isReplaced(asker)) {
        // The worker has another connection by now, and has already reported its leases.
        asker.given(undefined, [], new MillraceError('UNKNOWN_WORKER'))
        await this.#releaseAll(leased)
      } else asker.given(leased.length > 0 ? grant : undefined, deliveries)
      if (leased.length < readable.length)
        this.#takeOver(readable.filter((message) => !grant.messages.has(message)))
    } catch (error) {
      this.failures.set('lease messages', error)
      this.#messages.putBack(messages.filter(({ state }) => state === 'leasing'))
      asker.given(undefined, [], error)
    }
  }

  #leasedOps(grantId: number, { workerId, leaseMs }: Asker, messages: readonly QueueMessage[]): Op[] {
    const { queueId } = this.record
    return byLane(messages).map(([lane, some]) => {
      const offsets = runsOf(some.map(({ offset }) => offset).sort((a, b) => a - b))
      const logId = lane.partition.log.id
      const payload = encodeQueueLeased({ queueId, logId, grantId, leaseMs, offsets, workerId })
      return { kind: opKinds.queueLeased, payload }
    })
  }

  /** Returns the readable messages; ends the others. */
  async #readable(messages: QueueMessage[]): Promise<QueueMessage[]> {
    const lost = await this.#messages.load(messages)
    // A large message is taken alone.
    const tooLarge = messages.length === 1 ? messages.filter((message) => !this.#fitsFrame(message)) : []
    if (lost.length === 0 && tooLarge.length === 0) return messages
    await this.#commit(
      [
        ...lost.map((message) => ({ message, ending: { kind: 'done' } as const })),
        ...tooLarge.map((message) => ({ message, ending: tooLargeEnding(message) })),
      ],
      'leasing',
    )
    return messages.filter((message) => message.record !== undefined && !tooLarge.includes(message))
  }

  /** Only a message from a compressed batch can be larger than a frame. */
  #fitsFrame({ record, timestamp, bytes }: QueueMessage): boolean {
    const { payloadBytesMax } = this.#host
    if (record === undefined || bytes < payloadBytesMax / 2) return true
    return leaseBatch([record.bytes], record.firstTimestamp, timestamp, payloadBytesMax) !== undefined
  }

  /**
   * Commits the outcomes of deliveries, together with their dead letters.
   * @param before the state of the messages, restored after a failure
   */
  async #commit(settlements: readonly Settlement[], before: MessageState): Promise<void> {
    setState(settlements, 'settling')
    let settled: SettledOps | undefined
    try {
      const letters = await this.#deadLetterTopic.letters(settlements)
      settled = this.#settledOps(settlements)
      const ops = [...letters, ...settled.ops]
      if (ops.length > 0) await this.#host.commit(ops)
    } catch (error) {
      settled?.failed()
      setState(settlements, before)
      this.failures.set(taskOf(settlements), error)
      throw error
    }
    if (this.failures.size > 0) this.failures.delete(taskOf(settlements))
    this.#settled(settlements)
  }

  #settledOps(settlements: readonly Settlement[]): SettledOps {
    return settledOps(this.record.queueId, settlements, this.lanes)
  }

  #settled(settlements: readonly Settlement[]): void {
    for (const { message } of settlements) this.grants.release(message)
    this.#messages.settled(settlements)
    this.pump()
  }

  #failed(task: Task, error: unknown): void {
    this.failures.set(task, error)
    this.#host.failed(this.record.group, error)
  }

  #isReplaced({ workerId, session }: Asker): boolean {
    const worker = this.workers.get(workerId)
    return worker !== undefined && worker.session !== session
  }

  /** Ends leases without counting an attempt. If that fails, their expiry does not count an attempt either. */
  async #releaseAll(messages: readonly QueueMessage[]): Promise<void> {
    for (const { grant } of messages) if (grant !== undefined) grant.isCounted = false
    this.#takeOver(messages.filter((message) => !isDurable(message)))
    const settlements = messages
      .filter(isDurable)
      .map((message) => ({ message, ending: { kind: 'released' } as const }))
    if (settlements.length > 0) await this.#commitEach(settlements, 'leased')
  }

  /** Records the ends of leases in the journal; 0 means that a restart renews them. */
  #bound(grants: readonly Grant[], endsAtMsOf: (grant: Grant) => number): void {
    if (grants.length === 0) return
    const { queueId } = this.record
    const ops: Op[] = []
    for (const grant of grants) {
      const endsAtMs = endsAtMsOf(grant)
      grant.isBounded = endsAtMs !== 0
      for (const [lane, some] of byLane([...grant.messages])) {
        const offsets = runsOf(some.map(({ offset }) => offset).sort((a, b) => a - b))
        const logId = lane.partition.log.id
        const payload = encodeQueueLeaseBounded({ queueId, logId, grantId: grant.id, endsAtMs, offsets })
        ops.push({ kind: opKinds.queueLeaseBounded, payload })
      }
    }
    // A failure only costs one more renewal.
    void this.busy(() => this.#host.commit(ops)).catch((error: unknown) =>
      this.#host.failed(this.record.group, error),
    )
  }

  /**
   * Whether a worker is alive but has never reported the lease: it reported others while this one ran out, or it had no
   * time to report yet.
   */
  #isUnreceived({ workerId, isReceived, isCounted, deadlineMs, leaseMs }: Grant): boolean {
    const reportedAtMs = this.workers.get(workerId)?.reportedAtMs ?? Number.NEGATIVE_INFINITY
    return !isReceived && (!isCounted || reportedAtMs >= deadlineMs - leaseMs / 2)
  }

  /** Ends expired leases: each counts an attempt, unless its worker is alive and never received it. */
  async #expire(): Promise<void> {
    const over = this.grants.over(this.clock.nowMs)
    const outcome = { outcome: 'fail', error: 'the lease expired' } as const
    const nowMs = this.#host.nowMs()
    const leased: QueueMessage[] = []
    const unreceived: QueueMessage[] = []
    for (const grant of over) {
      const some = this.#isUnreceived(grant) ? unreceived : leased
      // Messages that are being settled may return to the lease if that fails.
      grant.deadlineMs = this.clock.nowMs + expiryPauseMs
      for (const message of grant.messages) if (message.state === 'leased') some.push(message)
    }
    const released = this.#releaseAll(unreceived)
    this.#takeOver(leased.filter((message) => !isDurable(message)))
    const settlements = leased
      .filter(isDurable)
      .map((message) => ({ message, ending: endingOf(this.record.settings, message, outcome, nowMs) }))
    if (settlements.length > 0) await this.#commitEach(settlements, 'leased')
    await released
  }

  /**
   * Applies the state of these messages in the view: a commit may have been written although it reported a failure.
   */
  #takeOver(messages: readonly QueueMessage[]): void {
    if (messages.length === 0) return
    for (const message of messages) {
      this.grants.release(message)
      this.#messages.takeOver(message)
    }
    this.pump()
  }

  /** Ends messages whose time to live is over. */
  async #expired(messages: readonly QueueMessage[]): Promise<void> {
    const ending = expiredEnding(this.record.settings)
    this.#takeOver(messages.filter(({ lane, offset }) => lane.state.isDone(offset)))
    const left = messages.filter(({ lane, offset }) => !lane.state.isDone(offset))
    const settlements = left.map((message) => ({ message, ending }))
    for (const { message } of await this.#commitEach(settlements, 'waiting')) this.#messages.wait(message)
  }

  /**
   * Commits in parts of limited size, so that one failure does not affect other parts; returns the settlements that
   * failed.
   */
  async #commitEach(settlements: readonly Settlement[], before: MessageState): Promise<Settlement[]> {
    setState(settlements, 'settling')
    const failed: Settlement[] = []
    for (const part of partsOf(settlements))
      await this.#commit(part, before).catch((error: unknown) => {
        failed.push(...part)
        this.#host.failed(this.record.group, error)
      })
    return failed
  }
}

function canTake({ waitsForRoom }: Asker): boolean {
  return !waitsForRoom
}

/** Removes a message from its lease for all other operations; undefined if it is not under that lease. */
function beginSettling(lane: Lane | undefined, offset: number, grantId: number): QueueMessage | undefined {
  const message = lane?.live.get(offset)
  if (message?.state !== 'leased' || message.grant?.id !== grantId || !isDurable(message)) return undefined
  message.state = 'settling'
  return message
}

/** Whether the state agrees that a message is leased: a commit may have been written although it reported a failure. */
function isDurable({ lane, offset, grant }: QueueMessage): boolean {
  return grant !== undefined && lane.state.open.get(offset)?.grantId === grant.id
}

function taskOf(settlements: readonly Settlement[]): Task {
  return settlements.some(({ ending }) => ending.kind === 'dead') ? 'write dead letters' : 'settle messages'
}

function setState(settlements: readonly Settlement[], state: MessageState): void {
  for (const { message } of settlements) message.state = state
}
