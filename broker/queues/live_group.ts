import { setTimeout as pause } from 'node:timers/promises'
import { type commands, MillraceError, offsetsOf, type RequestOf, runsOf } from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { DataWaiter, Partition } from '../partition/partition.js'
import { type DeathReason, deadLetter } from './dead_letters.js'
import { Delays } from './delays.js'
import type { OpenMessage } from './delivery_state.js'
import { type Grant, Grants } from './grants.js'
import type { QueueHost, WorkerSession } from './host.js'
import { Lane } from './lane.js'
import { encodeQueueConfigured, encodeQueueLeased, encodeQueueSettled } from './ops.js'
import type { QueueMessage } from './queue_message.js'
import type { QueueRecord } from './queues_view.js'
import { type ReadRecord, readEach, readSome, type StoredRecord } from './read_records.js'
import { ReadyLine } from './ready_line.js'
import { retryDelayMs } from './settings.js'

export type SettleEntry = RequestOf<typeof commands.queueSettle>['entries'][number]

/** A worker that asks for messages. */
export interface Asker {
  readonly workerId: string
  readonly messagesMax: number
  readonly bytesMax: number
  readonly leaseMs: number
  /** Called once. */
  readonly given: (grant: Grant | undefined, deliveries: readonly Delivery[], error?: unknown) => void
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
/** Messages of one partition that are in memory, at most: behind keys that are held up, mostly. */
const liveMax = 100_000
/** Of their records so much stays in memory; others are read again when their turn comes. */
const recordBytesMax = 16 * 1024 * 1024
const expiryIntervalMs = 100
/** After a failed read or write. */
const failurePauseMs = 200
const priorityDefault = 4

/** How a delivery ended. */
type Ending =
  | { readonly kind: 'done' | 'released' }
  | { readonly kind: 'failed'; readonly dueAtMs: number }
  | { readonly kind: 'dead'; readonly reason: DeathReason; readonly error: string }

interface Settlement {
  readonly message: QueueMessage
  readonly ending: Ending
}

/**
 * A queue group with workers: reads ahead in the log, hands messages out under leases, and takes up how deliveries end.
 * What is durable is in its record; this is what can be built from it again.
 */
export class LiveGroup implements DataWaiter {
  readonly record: QueueRecord
  readonly workers = new Map<string, Worker>()
  readonly grants = new Grants()
  readonly #host: QueueHost
  readonly #lanes = new Map<number, Lane>()
  #laneList: Lane[] = []
  readonly #ready = new ReadyLine()
  readonly #delays = new Delays((messages) => this.#due(messages))
  readonly #askers: Asker[] = []
  readonly #expiryTimer: NodeJS.Timeout
  #recordBytes = 0
  #filling: Promise<void> | undefined
  #fillPlanned = false
  #nextLane = 0
  #deadTopic: Promise<void> | undefined
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
      else void this.#expire()
    }, expiryIntervalMs).unref()
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
    this.#plan()
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
    if (this.#askers.length > 0) this.#plan()
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
      if (messages.length > 0) void this.#lease(asker, messages)
      else this.#askers.unshift(asker)
    }
    if (this.#askers.length > 0 || this.#ready.size < readyEnough / 2) this.#plan()
  }

  /**
   * Ends deliveries. Resolves when that is durable.
   * @returns [index of the entry, offset] of what is not under its lease any more
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED: then nothing has changed
   */
  async settle(entries: readonly SettleEntry[]): Promise<(readonly [number, number])[]> {
    this.#underWay++
    try {
      return await this.#settle(entries)
    } finally {
      this.#underWay--
    }
  }

  async #settle(entries: readonly SettleEntry[]): Promise<(readonly [number, number])[]> {
    await this.opened
    const refused: (readonly [number, number])[] = []
    const settlements: Settlement[] = []
    for (const [index, entry] of entries.entries()) {
      const lane = this.lane(entry.topicId, entry.partition)
      for (const offset of offsetsOf(entry.offsets)) {
        const message = lane?.live.get(offset)
        if (message === undefined || !isUnder(message, entry.grantId)) refused.push([index, offset])
        else settlements.push({ message, ending: this.#endingOf(message, entry) })
      }
    }
    await this.#commit(settlements)
    return refused
  }

  /**
   * For a transaction: marks messages as being settled.
   * @throws MillraceError LEASE_LOST, naming the first that is not under its lease: then none is marked
   */
  async prepareAcks(
    entries: readonly Omit<SettleEntry, 'outcome'>[],
  ): Promise<{ readonly ops: Op[]; done(): void; failed(): void }> {
    this.#underWay++
    try {
      return await this.#prepareAcks(entries)
    } catch (error) {
      this.#underWay--
      throw error
    }
  }

  async #prepareAcks(
    entries: readonly Omit<SettleEntry, 'outcome'>[],
  ): Promise<{ readonly ops: Op[]; done(): void; failed(): void }> {
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
  async reopened(logId: number, offsets: readonly number[]): Promise<void> {
    this.#underWay++
    try {
      await this.refresh()
      await this.#reopen(logId, offsets)
    } finally {
      this.#underWay--
    }
  }

  async #reopen(logId: number, offsets: readonly number[]): Promise<void> {
    const lane = this.#lanes.get(logId)
    if (lane !== undefined)
      await this.#recover(
        lane,
        offsets.filter((offset) => !lane.live.has(offset)),
      )
    this.pump()
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
    this.#laneList.push(lane)
    partition.wait(this)
    await this.#recover(
      lane,
      [...state.open.keys()].sort((a, b) => a - b),
    )
  }

  #closeLane(logId: number, lane: Lane): void {
    this.#lanes.delete(logId)
    this.#laneList = this.#laneList.filter((other) => other !== lane)
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
      const message = this.#messageOf(lane, record, open.attempts)
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

  #messageOf(lane: Lane, record: ReadRecord, attempts: number): QueueMessage {
    const { settings } = this.record
    const { headers, timestamp, bytes } = record
    const keeps = this.#recordBytes < recordBytesMax
    if (keeps) this.#recordBytes += bytes.length
    const ttlMs = Math.min(settings.ttlMs || Number.POSITIVE_INFINITY, numberIn(headers, 'millrace-ttl-ms'))
    const key =
      settings.order === 'key' && record.key !== undefined
        ? Buffer.from(record.key.buffer, record.key.byteOffset, record.key.length).toString('latin1')
        : undefined
    return {
      lane,
      offset: record.offset,
      timestamp,
      key,
      priority: settings.priorities ? priorityOf(headers) : 0,
      expiresAtMs: lane.isDead ? Number.POSITIVE_INFINITY : timestamp + ttlMs,
      bytes: bytes.length,
      attempts,
      state: 'waiting',
      grant: undefined,
      record: keeps ? record : undefined,
    }
  }

  /** Reads ahead soon. */
  #plan(): void {
    if (this.#fillPlanned || this.#filling !== undefined || this.#isClosed) return
    this.#fillPlanned = true
    setImmediate(() => {
      this.#fillPlanned = false
      this.#filling ??= this.#fill().finally(() => {
        this.#filling = undefined
        // What came meanwhile has told nobody.
        if (this.#askers.length > 0 && this.#laneToScan() !== undefined) this.#plan()
      })
    })
  }

  async #fill(): Promise<void> {
    try {
      await this.opened
      while (!this.#isClosed && this.workers.size > 0 && this.#ready.size < readyEnough) {
        const lane = this.#laneToScan()
        if (lane === undefined) break
        await this.#scan(lane)
        this.pump()
      }
    } catch (error) {
      this.#host.failed(this.record.group, error)
      await pause(failurePauseMs, undefined, { ref: false })
    }
  }

  /** Lanes take turns. */
  #laneToScan(): Lane | undefined {
    const lanes = this.#laneList
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[(this.#nextLane + i) % lanes.length] as Lane
      if (!lane.hasMore || lane.live.size >= liveMax) continue
      this.#nextLane = (this.#nextLane + i + 1) % lanes.length
      return lane
    }
    return undefined
  }

  async #scan(lane: Lane): Promise<void> {
    const { records, nextOffset, lost } = await readSome(
      this.#host.reader,
      lane.partition.log,
      lane.scanOffset,
    )
    if (lost !== undefined) {
      this.#lost(lane, ...lost)
      await this.#commit([])
    }
    for (const record of records) {
      const message = this.#messageOf(lane, record, 0)
      if (!lane.add(message)) this.#ready.push(message)
    }
    lane.scanOffset = nextOffset
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
    if (expired.length > 0) void this.#expired(expired)
    return messages
  }

  async #lease(asker: Asker, messages: QueueMessage[]): Promise<void> {
    const id = this.#host.uniqueId()
    const { queueId } = this.record
    try {
      const readable = await this.#withRecords(messages)
      const ops = byLane(readable, (message) => message).map(([lane, some]) => ({
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
      for (const message of readable) this.#dropRecord(message)
      asker.given(readable.length > 0 ? grant : undefined, deliveries)
    } catch (error) {
      const waiting = messages.filter(({ state }) => state === 'leasing')
      for (const message of waiting) message.state = 'waiting'
      this.#ready.putBack(waiting)
      asker.given(undefined, [], error)
    }
  }

  /** Reads again what is not in memory; what can't be read is done with. */
  async #withRecords(messages: QueueMessage[]): Promise<QueueMessage[]> {
    const missing = messages.filter(({ record }) => record === undefined)
    if (missing.length === 0) return messages
    for (const [lane, some] of byLane(missing, (message) => message)) {
      const offsets = some.map(({ offset }) => offset).sort((a, b) => a - b)
      const records = await readEach(this.#host.reader, lane.partition.log, offsets)
      for (const message of some) {
        const record = records.get(message.offset)
        if (record === undefined) continue
        message.record = record
        this.#recordBytes += message.bytes
      }
    }
    const lost = missing.filter(({ record }) => record === undefined)
    if (lost.length === 0) return messages
    for (const { lane, offset } of lost) this.#lost(lane, offset, offset + 1)
    await this.#commit(lost.map((message) => ({ message, ending: { kind: 'done' } })))
    return messages.filter(({ record }) => record !== undefined)
  }

  #dropRecord(message: QueueMessage): void {
    if (message.record === undefined) return
    this.#recordBytes -= message.bytes
    message.record = undefined
  }

  #endingOf(message: QueueMessage, { outcome, delayMs, error = '' }: SettleEntry): Ending {
    switch (outcome) {
      case 'ack':
        return { kind: 'done' }
      case 'release':
        return { kind: 'released' }
      case 'reject':
        return { kind: 'dead', reason: 'rejected', error }
      case 'fail':
        return this.#failedEnding(message, delayMs, error)
    }
  }

  #failedEnding(message: QueueMessage, delayMs: number | undefined, error: string): Ending {
    const { settings } = this.record
    const attempts = message.attempts + 1
    if (attempts >= settings.attemptsMax) return { kind: 'dead', reason: 'attempts', error }
    const waitMs = delayMs ?? retryDelayMs(settings, attempts, Math.random())
    return { kind: 'failed', dueAtMs: waitMs === 0 ? 0 : this.#host.nowMs() + waitMs }
  }

  /** Commits how deliveries ended, together with the dead letters among them. */
  async #commit(settlements: readonly Settlement[]): Promise<void> {
    const before = settlements.map(({ message }) => message.state)
    for (const { message } of settlements) message.state = 'settling'
    try {
      const letters = await this.#letters(settlements)
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
    const { queueId } = this.record
    const ops: Op[] = []
    const lanes = new Map(byLane(settlements, ({ message }) => message))
    for (const lane of this.#lanes.values()) if (lane.lost.length > 0 && !lanes.has(lane)) lanes.set(lane, [])
    for (const [lane, some] of lanes) {
      const offsetsThat = (...kinds: Ending['kind'][]): number[] =>
        some
          .filter(({ ending }) => kinds.includes(ending.kind))
          .map(({ message }) => message.offset)
          .sort((a, b) => a - b)
      const failed: (readonly [number, number])[] = []
      for (const { message, ending } of some)
        if (ending.kind === 'failed') failed.push([message.offset, ending.dueAtMs])
      const done = [...runsOf(offsetsThat('done', 'dead')), ...lane.lost]
      lane.lost = []
      const released = runsOf(offsetsThat('released'))
      const payload = encodeQueueSettled({ queueId, logId: lane.partition.log.id, done, failed, released })
      ops.push({ kind: opKinds.queueSettled, payload })
    }
    return ops
  }

  async #letters(settlements: readonly Settlement[]): Promise<Op[]> {
    const deaths = settlements.filter(({ ending }) => ending.kind === 'dead')
    if (deaths.length === 0) return []
    await this.#withDeadTopic()
    const topic = this.#host.catalog.byId(this.record.deadTopicId)
    const log = topic?.partitions[0]?.log
    if (log === undefined) throw new MillraceError('UNKNOWN_TOPIC', 'the dead-letter topic is gone')
    const ops: Op[] = []
    for (const [lane, some] of byLane(deaths, ({ message }) => message)) {
      const offsets = some.map(({ message }) => message.offset).sort((a, b) => a - b)
      const records = await readEach(this.#host.reader, lane.partition.log, offsets)
      for (const { message, ending } of some) {
        if (ending.kind !== 'dead') continue
        const { reason, error } = ending
        const { topic, index } = lane.partition
        const origin = { topic: topic.name, partition: index, offset: message.offset }
        const attempts = message.attempts + (reason === 'expired' ? 0 : 1)
        const atMs = this.#host.nowMs()
        const death = { group: this.record.group, reason, error, attempts, atMs, origin }
        ops.push({ log, batch: deadLetter(records.get(message.offset), death) })
      }
    }
    return ops
  }

  #withDeadTopic(): Promise<void> {
    this.#deadTopic ??= this.#makeDeadTopic().finally(() => {
      this.#deadTopic = undefined
    })
    return this.#deadTopic
  }

  async #makeDeadTopic(): Promise<void> {
    const { catalog } = this.#host
    const { queueId, group, settings, deadTopicId } = this.record
    if (catalog.byId(deadTopicId) !== undefined) return
    const name = deadTopicName(group)
    const keep = { retentionMs: -1, retentionBytes: -1 }
    const topic = catalog.byName(name) ?? (await this.#host.createTopic(name, keep))
    const payload = encodeQueueConfigured({ queueId, group, settings, deadTopicId: topic.topicId })
    await this.#host.commit([{ kind: opKinds.queueConfigured, payload }])
  }

  /** What was committed takes effect. */
  #settled(settlements: readonly Settlement[]): void {
    const nowMs = this.#host.nowMs()
    for (const { message, ending } of settlements) {
      this.grants.release(message)
      switch (ending.kind) {
        case 'done':
        case 'dead': {
          this.#dropRecord(message)
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
    const settlements: Settlement[] = []
    for (const grant of over) {
      // A failed commit tries again after the next interval; a worker that is in the middle of settling goes first.
      grant.deadlineMs = performance.now() + expiryIntervalMs * 10
      for (const message of grant.messages)
        if (message.state === 'leased')
          settlements.push({ message, ending: this.#failedEnding(message, undefined, 'the lease expired') })
    }
    if (settlements.length === 0) return
    await this.#commit(settlements).catch((error: unknown) => this.#host.failed(this.record.group, error))
  }

  /** Messages that waited for too long. */
  async #expired(messages: readonly QueueMessage[]): Promise<void> {
    const ending: Ending =
      this.record.settings.expired === 'drop'
        ? { kind: 'done' }
        : { kind: 'dead', reason: 'expired', error: 'it was older than its time to live' }
    try {
      await this.#commit(messages.map((message) => ({ message, ending })))
    } catch (error) {
      this.#host.failed(this.record.group, error)
      for (const message of messages) this.#wait(message)
    }
  }
}

/** Topic of the dead letters of a queue group. */
export function deadTopicName(group: string): string {
  return `${group}.dead-letters`
}

function isUnder({ state, grant }: QueueMessage, grantId: number): boolean {
  return state === 'leased' && grant?.id === grantId
}

function byLane<T>(items: readonly T[], messageOf: (item: T) => QueueMessage): [Lane, T[]][] {
  const lanes = new Map<Lane, T[]>()
  for (const item of items) {
    const { lane } = messageOf(item)
    const some = lanes.get(lane)
    if (some === undefined) lanes.set(lane, [item])
    else some.push(item)
  }
  return [...lanes]
}

function priorityOf(headers: ReadRecord['headers']): number {
  const priority = numberIn(headers, 'millrace-priority')
  return priority <= 9 ? priority : priorityDefault
}

/** A header that holds a whole number; endless when there is none. */
function numberIn(headers: ReadRecord['headers'], name: string): number {
  const value = headers?.[name]
  if (value === undefined) return Number.POSITIVE_INFINITY
  const number = Number(Buffer.from(value).toString())
  return Number.isSafeInteger(number) && number >= 0 ? number : Number.POSITIVE_INFINITY
}
