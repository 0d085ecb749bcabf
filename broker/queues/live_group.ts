import { MillraceError, offsetsOf, runsOf } from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { DataWaiter, Partition } from '../partition/partition.js'
import { DeadLetterTopic } from './dead_letter_topic.js'
import { Delays } from './delays.js'
import type { OpenMessage } from './delivery_state.js'
import { type Grant, Grants } from './grants.js'
import type { QueueHost, WorkerSession } from './host.js'
import { Lane } from './lane.js'
import { encodeQueueLeased } from './ops.js'
import { byLane, messageOf, type QueueMessage } from './queue_message.js'
import type { QueueRecord } from './queues_view.js'
import { ReadAhead, type ReadAheadHost } from './read_ahead.js'
import { type ReadRecord, readEach, readSome, type StoredRecord } from './read_records.js'
import { ReadyLine } from './ready_line.js'
import { RecordCache } from './record_cache.js'
import { endingOf, expiredEnding, type SettleEntry, type Settlement, settledOps } from './settlements.js'

/** A worker that asks for messages. */
export interface Asker {
  readonly workerId: string
  readonly messagesMax: number
  readonly bytesMax: number
  readonly leaseMs: number
  /** Called once. */
  readonly given: (grant: Grant | undefined, deliveries: readonly Delivery[], error?: unknown) => void
}

/** Acknowledgements that a transaction commits. */
export interface PreparedAcks {
  readonly ops: readonly Op[]
  done(): void
  failed(): void
}

/** A message that is handed to a worker. */
export interface Delivery {
  readonly message: QueueMessage
  readonly record: StoredRecord
}

export interface Worker {
  readonly workerId: string
  readonly session: WorkerSession
  readonly concurrency: number
}

/** Messages that stand in line so that one who asks needs not wait for the log. */
const readyEnough = 4_000
const expiryIntervalMs = 100

/**
 * A queue group with workers: reads ahead in the log, hands messages out under leases, and takes up how deliveries end.
 * What is durable is in its record; this is what can be built from it again.
 */
export class LiveGroup implements DataWaiter, ReadAheadHost {
  readonly record: QueueRecord
  readonly workers = new Map<string, Worker>()
  readonly grants = new Grants()
  readonly #host: QueueHost
  readonly #lanes = new Map<number, Lane>()
  readonly #ready = new ReadyLine()
  readonly #delays = new Delays((messages) => this.#due(messages))
  readonly #askers: Asker[] = []
  readonly #expiryTimer: NodeJS.Timeout
  readonly #records = new RecordCache()
  readonly #readAhead: ReadAhead
  readonly #deadLetterTopic: DeadLetterTopic
  #isClosed = false
  /** Calls that are not answered yet, opening among them. */
  #underWay = 1
  /** Resolves when what was not done is in memory. */
  readonly opened: Promise<void>

  /** @param onIdle called again and again while nobody needs it */
  constructor(host: QueueHost, record: QueueRecord, onIdle: () => void) {
    this.#host = host
    this.record = record
    this.#expiryTimer = setInterval(() => {
      if (this.isIdle) onIdle()
      else void this.#busy(() => this.#expire())
    }, expiryIntervalMs).unref()
    this.#deadLetterTopic = new DeadLetterTopic(host, record)
    this.#readAhead = new ReadAhead(this)
    this.opened = this.#open().finally(() => this.#underWay--)
    this.opened.catch(() => {})
  }

  get lanes(): Iterable<Lane> {
    return this.#lanes.values()
  }

  get isIdle(): boolean {
    const { workers, grants } = this
    return workers.size === 0 && grants.size === 0 && this.#askers.length === 0 && this.#underWay === 0
  }

  get askers(): readonly Asker[] {
    return this.#askers
  }

  get readyCount(): number {
    return this.#ready.size
  }

  lane(topicId: number, partition: number): Lane | undefined {
    const found = this.#host.catalog.byId(topicId)?.partitions[partition]
    return found && this.#lanes.get(found.log.id)
  }

  /** Takes up the partitions that the group reads and this does not know yet. */
  async refresh(): Promise<void> {
    await this.opened
    for (const partition of this.#partitions()) await this.#openLane(partition)
    this.#readAhead.plan()
  }

  /** Puts a worker in line for messages. */
  ask(asker: Asker): void {
    this.#askers.push(asker)
    this.pump()
  }

  /** A worker does not wait any more. */
  stopAsking(asker: Asker): void {
    const at = this.#askers.indexOf(asker)
    if (at < 0) return
    this.#askers.splice(at, 1)
    asker.given(undefined, [])
  }

  /** Ends all waiting, and what is in memory. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearInterval(this.#expiryTimer)
    this.#delays.close()
    for (const asker of this.#askers.splice(0)) asker.given(undefined, [])
    for (const lane of this.#lanes.values()) lane.partition.stopWaiting(this)
  }

  dataArrived(): void {
    if (this.#askers.length > 0) this.#readAhead.plan()
  }

  interrupted(): void {
    for (const [logId, lane] of [...this.#lanes])
      if (this.#host.catalog.byLog(logId) === undefined) this.#closeLane(logId, lane)
  }

  /** Hands out what can be handed out. */
  pump(): void {
    if (this.#isClosed || this.record.settings.paused) return
    while (this.#askers.length > 0 && this.#ready.size > 0) {
      const asker = this.#askers.shift() as Asker
      const messages = this.#take(asker)
      if (messages.length > 0) void this.#busy(() => this.#lease(asker, messages))
      else this.#askers.unshift(asker)
    }
    if (this.#askers.length > 0 || this.#ready.size < readyEnough / 2) this.#readAhead.plan()
  }

  /**
   * Ends deliveries. Resolves when that is durable.
   * @returns [index of the entry, offset] of what is not under its lease any more
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED: then nothing has changed
   */
  settle(entries: readonly SettleEntry[]): Promise<(readonly [number, number])[]> {
    return this.#busy(async () => {
      await this.opened
      const nowMs = this.#host.nowMs()
      const refused: (readonly [number, number])[] = []
      const settlements: Settlement[] = []
      for (const [index, entry] of entries.entries()) {
        const lane = this.lane(entry.topicId, entry.partition)
        for (const offset of offsetsOf(entry.offsets)) {
          const message = lane?.live.get(offset)
          if (message === undefined || !isUnder(message, entry.grantId)) refused.push([index, offset])
          else settlements.push({ message, ending: endingOf(this.record.settings, message, entry, nowMs) })
        }
      }
      await this.#commit(settlements)
      return refused
    })
  }

  /**
   * For a transaction: marks messages as being settled, until it calls `done` or `failed`.
   * @throws MillraceError LEASE_LOST, naming the first that is not under its lease: then none is marked
   */
  prepareAcks(entries: readonly Omit<SettleEntry, 'outcome'>[]): Promise<PreparedAcks> {
    return this.#busy(async () => {
      await this.opened
      const settlements: Settlement[] = []
      for (const { topicId, partition, grantId, offsets } of entries) {
        const lane = this.lane(topicId, partition)
        for (const offset of offsetsOf(offsets)) {
          const message = lane?.live.get(offset)
          if (message === undefined || !isUnder(message, grantId))
            throw new MillraceError(
              'LEASE_LOST',
              `offset ${offset} of partition ${partition} is not under the lease ${grantId} of group "${this.record.group}" any more`,
            )
          settlements.push({ message, ending: { kind: 'done' } })
        }
      }
      for (const { message } of settlements) message.state = 'settling'
      this.#underWay++
      return {
        ops: this.#settledOps(settlements),
        done: () => {
          this.#underWay--
          this.#settled(settlements)
        },
        failed: () => {
          this.#underWay--
          for (const { message } of settlements) message.state = 'leased'
        },
      }
    })
  }

  /** Prolongs leases; returns those that are over. */
  extend(grantIds: readonly number[], leaseMs: number | undefined): number[] {
    const lost: number[] = []
    for (const id of grantIds) {
      const grant = this.grants.get(id)
      if (grant === undefined) lost.push(id)
      else grant.deadlineMs = Math.max(grant.deadlineMs, performance.now() + (leaseMs ?? grant.leaseMs))
    }
    return lost
  }

  /** Takes up dead letters that were redriven. */
  reopened(logId: number, offsets: readonly number[]): Promise<void> {
    return this.#busy(async () => {
      await this.refresh()
      const lane = this.#lanes.get(logId)
      if (lane !== undefined)
        await this.#recover(
          lane,
          offsets.filter((offset) => !lane.live.has(offset)),
        )
      this.pump()
    })
  }

  /** Whether messages should be read ahead. */
  wants(): boolean {
    return !this.#isClosed && this.workers.size > 0 && this.#ready.size < readyEnough
  }

  /** Reads some more of a lane ahead. */
  scan(lane: Lane): Promise<void> {
    return this.#busy(async () => {
      const { log } = lane.partition
      const { records, nextOffset, lost } = await readSome(this.#host.reader, log, lane.scanOffset)
      if (lost !== undefined) {
        this.#lost(lane, ...lost)
        await this.#commit([])
      }
      for (const record of records) {
        const message = this.#takeUp(lane, record, 0)
        if (!lane.add(message)) this.#ready.push(message)
      }
      lane.scanOffset = nextOffset
      this.pump()
    })
  }

  failed(error: unknown): void {
    this.#host.failed(this.record.group, error)
  }

  /** Nobody may take the group out of memory meanwhile. */
  async #busy<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay++
    try {
      return await work()
    } finally {
      this.#underWay--
    }
  }

  async #open(): Promise<void> {
    for (const partition of this.#partitions()) await this.#openLane(partition)
    this.pump()
  }

  *#partitions(): Iterable<Partition> {
    const { topics, deadTopicId } = this.record
    for (const topicId of [...topics.keys(), deadTopicId])
      yield* this.#host.catalog.byId(topicId)?.partitions ?? []
  }

  async #openLane(partition: Partition): Promise<void> {
    const logId = partition.log.id
    if (this.#lanes.has(logId) || this.#isClosed) return
    const state = this.#host.view.stateOf(this.record, logId)
    if (state === undefined) return
    const lane = new Lane(partition, state, partition.topic.topicId === this.record.deadTopicId)
    this.#lanes.set(logId, lane)
    this.#readAhead.add(lane)
    partition.wait(this)
    await this.#recover(
      lane,
      [...state.open.keys()].sort((a, b) => a - b),
    )
  }

  #closeLane(logId: number, lane: Lane): void {
    this.#lanes.delete(logId)
    this.#readAhead.remove(lane)
    lane.partition.stopWaiting(this)
    for (const message of lane.live.values()) {
      this.grants.release(message)
      message.state = 'settling'
    }
    lane.live.clear()
  }

  /** Takes up messages that were open before. */
  async #recover(lane: Lane, offsets: readonly number[]): Promise<void> {
    if (offsets.length === 0) return
    const records = await readEach(this.#host.reader, lane.partition.log, offsets)
    const nowMs = this.#host.nowMs()
    for (const offset of offsets) {
      const open = lane.state.open.get(offset)
      if (open === undefined || lane.live.has(offset)) continue
      const record = records.get(offset)
      if (record === undefined) {
        this.#lost(lane, offset, offset + 1)
        continue
      }
      const message = this.#takeUp(lane, record, open.attempts)
      if (lane.add(message)) continue
      if (open.grantId !== 0) this.#inherit(message, open)
      else if (open.dueAtMs > nowMs) this.#delay(message, open.dueAtMs - nowMs)
      else this.#ready.push(message)
    }
  }

  /** A lease from before a restart begins anew, so that its worker has time to come back. */
  #inherit(message: QueueMessage, { grantId: id, leaseMs }: OpenMessage): void {
    let grant = this.grants.get(id)
    if (grant === undefined) {
      grant = { id, workerId: '', leaseMs, deadlineMs: performance.now() + leaseMs, messages: new Set() }
      this.grants.add(grant)
    }
    message.state = 'leased'
    message.grant = grant
    grant.messages.add(message)
  }

  /** Takes a record up; what is to be sent stays in memory while there is room. */
  #takeUp(lane: Lane, record: ReadRecord, attempts: number): QueueMessage {
    const message = messageOf(this.record.settings, lane, record, attempts)
    if (this.#records.hasRoom) this.#records.keep(message, record)
    return message
  }

  #lost(lane: Lane, first: number, end: number): void {
    lane.lost.push(first, end - first)
    const { topic, index } = lane.partition
    this.#host.lost(this.record.group, topic.name, index, first, end)
  }

  /** Takes messages for one who asks; those that have expired are done with on the way. */
  #take({ messagesMax, bytesMax }: Asker): QueueMessage[] {
    const messages: QueueMessage[] = []
    const expired: QueueMessage[] = []
    const nowMs = this.#host.nowMs()
    for (let bytes = 0; messages.length < messagesMax; ) {
      const message = this.#ready.shift()
      if (message === undefined) break
      if (message.expiresAtMs <= nowMs) {
        expired.push(message)
        continue
      }
      if (messages.length > 0 && bytes + message.bytes > bytesMax) {
        this.#ready.putBack([message])
        break
      }
      bytes += message.bytes
      message.state = 'leasing'
      messages.push(message)
    }
    if (expired.length > 0) void this.#busy(() => this.#expired(expired))
    return messages
  }

  async #lease(asker: Asker, messages: QueueMessage[]): Promise<void> {
    const id = this.#host.uniqueId()
    const { queueId } = this.record
    try {
      const readable = await this.#readable(messages)
      const ops = byLane(readable).map(([lane, some]) => ({
        kind: opKinds.queueLeased,
        payload: encodeQueueLeased({
          queueId,
          logId: lane.partition.log.id,
          grantId: id,
          leaseMs: asker.leaseMs,
          offsets: runsOf(some.map(({ offset }) => offset).sort((a, b) => a - b)),
        }),
      }))
      if (ops.length > 0) await this.#host.commit(ops)
      const { workerId, leaseMs } = asker
      const deadlineMs = performance.now() + leaseMs
      const grant: Grant = { id, workerId, leaseMs, deadlineMs, messages: new Set(readable) }
      if (readable.length > 0) this.grants.add(grant)
      for (const message of readable) {
        message.state = 'leased'
        message.grant = grant
      }
      const deliveries = readable.map((message) => ({ message, record: message.record as StoredRecord }))
      for (const message of readable) this.#records.drop(message)
      asker.given(readable.length > 0 ? grant : undefined, deliveries)
    } catch (error) {
      const waiting = messages.filter(({ state }) => state === 'leasing')
      for (const message of waiting) message.state = 'waiting'
      this.#ready.putBack(waiting)
      asker.given(undefined, [], error)
    }
  }

  /** Those that can be read; the others are done with. */
  async #readable(messages: QueueMessage[]): Promise<QueueMessage[]> {
    const lost = await this.#records.load(this.#host.reader, messages)
    if (lost.length === 0) return messages
    for (const { lane, offset } of lost) this.#lost(lane, offset, offset + 1)
    await this.#commit(lost.map((message) => ({ message, ending: { kind: 'done' } })))
    return messages.filter(({ record }) => record !== undefined)
  }

  /** Commits how deliveries ended, together with the dead letters among them. */
  async #commit(settlements: readonly Settlement[]): Promise<void> {
    const before = settlements.map(({ message }) => message.state)
    for (const { message } of settlements) message.state = 'settling'
    try {
      const letters = await this.#deadLetterTopic.letters(settlements)
      const ops = [...letters, ...this.#settledOps(settlements)]
      if (ops.length > 0) await this.#host.commit(ops)
    } catch (error) {
      for (const [index, { message }] of settlements.entries())
        message.state = before[index] as QueueMessage['state']
      throw error
    }
    this.#settled(settlements)
  }

  #settledOps(settlements: readonly Settlement[]): Op[] {
    return settledOps(this.record.queueId, settlements, this.#lanes.values())
  }

  /** What was committed takes effect. */
  #settled(settlements: readonly Settlement[]): void {
    const nowMs = this.#host.nowMs()
    for (const { message, ending } of settlements) {
      this.grants.release(message)
      switch (ending.kind) {
        case 'done':
        case 'dead': {
          this.#records.drop(message)
          const next = message.lane.remove(message)
          if (next !== undefined) this.#wait(next)
          break
        }
        case 'released':
          this.#wait(message)
          break
        case 'failed':
          message.attempts++
          if (ending.dueAtMs > nowMs) this.#delay(message, ending.dueAtMs - nowMs)
          else this.#wait(message)
      }
    }
    this.pump()
  }

  #wait(message: QueueMessage): void {
    message.state = 'waiting'
    this.#ready.push(message)
  }

  #delay(message: QueueMessage, delayMs: number): void {
    message.state = 'delayed'
    this.#delays.add(message, delayMs)
  }

  #due(messages: readonly QueueMessage[]): void {
    for (const message of messages) if (message.state === 'delayed') this.#wait(message)
    this.pump()
  }

  /** Ends the leases whose time is over: each counts an attempt. */
  async #expire(): Promise<void> {
    const over = this.grants.over(performance.now())
    const outcome = { outcome: 'fail', error: 'the lease expired' } as const
    const nowMs = this.#host.nowMs()
    const settlements: Settlement[] = []
    for (const grant of over) {
      // A failed commit tries again after the next interval; a worker that is in the middle of settling goes first.
      grant.deadlineMs = performance.now() + expiryIntervalMs * 10
      for (const message of grant.messages)
        if (message.state === 'leased')
          settlements.push({ message, ending: endingOf(this.record.settings, message, outcome, nowMs) })
    }
    if (settlements.length === 0) return
    await this.#commit(settlements).catch((error: unknown) => this.failed(error))
  }

  /** Messages that waited for too long. */
  async #expired(messages: readonly QueueMessage[]): Promise<void> {
    const ending = expiredEnding(this.record.settings)
    try {
      await this.#commit(messages.map((message) => ({ message, ending })))
    } catch (error) {
      this.failed(error)
      for (const message of messages) this.#wait(message)
    }
  }
}

function isUnder({ state, grant }: QueueMessage, grantId: number): boolean {
  return state === 'leased' && grant?.id === grantId
}
