import { type Op, opKinds } from '../../storage/index.js'
import type { DataWaiter, Partition } from '../partition/partition.js'
import { Delays } from './delays.js'
import type { Grants } from './grants.js'
import type { QueueHost } from './host.js'
import { Lane } from './lane.js'
import { encodeQueueSettled } from './ops.js'
import { isExpired, messageOf, type QueueMessage } from './queue_message.js'
import type { QueueRecord } from './queues_view.js'
import { ReadAhead } from './read_ahead.js'
import { type ReadRecord, readEach, readSome, type UnreadableBatch } from './read_records.js'
import { ReadyLine } from './ready_line.js'
import { RecordCache } from './record_cache.js'
import { type Settlement, settledOps } from './settlements.js'

/** Number of messages to keep ready, so that a lease request does not wait for the log. */
const readyEnough = 4_000
/** Number of open messages whose records are in memory at a time during recovery. */
const recoveredAtOnce = 256

/** Delivers the messages. */
export interface MessagesOwner {
  /** Whether workers will want messages. */
  readonly hasWorkers: boolean
  /** Whether a request waits for messages now. */
  readonly hasAskers: boolean
  readonly grants: Grants
  /** Messages are ready. */
  pump(): void
  /** Reading ahead has failed; it will be retried. */
  readFailed(error: unknown): void
  /** Reading ahead has made progress. */
  readOn(): void
  /** Returns the operation that makes a dead letter of a batch that cannot be opened. */
  deadBatch(lane: Lane, batch: UnreadableBatch): Promise<Op>
  /** Runs work that must not be interrupted by unloading the group. */
  busy<T>(work: () => Promise<T>): Promise<T>
}

/** The limits of a lease request. */
export interface Taken {
  readonly messages: QueueMessage[]
  /** Receives messages whose time to live is over. */
  readonly expired: QueueMessage[]
}

/** The messages of a queue group in memory, and the position of each: ready, delayed, or behind its key. */
export class GroupMessages implements DataWaiter {
  readonly #host: QueueHost
  readonly #record: QueueRecord
  readonly #owner: MessagesOwner
  readonly #lanes = new Map<number, Lane>()
  readonly #ready = new ReadyLine()
  readonly #records = new RecordCache()
  readonly #readAhead: ReadAhead
  readonly #delays = new Delays((messages) => {
    for (const message of messages) this.wait(message)
    this.#owner.pump()
  })
  #isClosed = false

  constructor(host: QueueHost, record: QueueRecord, owner: MessagesOwner) {
    this.#host = host
    this.#record = record
    this.#owner = owner
    this.#readAhead = new ReadAhead({
      wants: () => !this.#isClosed && owner.hasWorkers && this.#ready.size < readyEnough,
      scan: (lane) => owner.busy(() => this.#scan(lane)),
      failed: (error) => owner.readFailed(error),
    })
  }

  get lanes(): Iterable<Lane> {
    return this.#lanes.values()
  }

  lane(topicId: number, partition: number): Lane | undefined {
    const found = this.#host.catalog.byId(topicId)?.partitions[partition]
    return found && this.#lanes.get(found.log.id)
  }

  get readyCount(): number {
    return this.#ready.size
  }

  /** Opens partitions that the group reads and that are not open yet, and recovers their open messages. */
  async open(): Promise<void> {
    const { topics, deadTopicId } = this.#record
    for (const topicId of [...topics.keys(), deadTopicId])
      for (const partition of this.#host.catalog.byId(topicId)?.partitions ?? [])
        await this.#openLane(partition)
  }

  close(): void {
    this.#isClosed = true
    this.#delays.close()
    for (const lane of this.#lanes.values()) lane.partition.stopWaiting(this)
  }

  dataArrived(): void {
    if (this.#owner.hasAskers) this.#readAhead.plan()
  }

  interrupted(): void {
    for (const [logId, lane] of [...this.#lanes])
      if (this.#host.catalog.byLog(logId) === undefined) this.#closeLane(logId, lane)
  }

  /** Reads ahead if too few messages are ready. */
  refill(): void {
    if (this.#owner.hasAskers || this.#ready.size < readyEnough / 2) this.#readAhead.plan()
  }

  /** Takes ready messages: at least one, if there is one. */
  take(messagesMax: number, bytesMax: number): Taken {
    const messages: QueueMessage[] = []
    const expired: QueueMessage[] = []
    const nowMs = this.#host.nowMs()
    for (let bytes = 0; messages.length < messagesMax; ) {
      const message = this.#ready.shift()
      if (message === undefined) break
      if (message.lane.isClosed) continue
      if (isExpired(this.#record.settings, message, nowMs)) {
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
    return { messages, expired }
  }

  /** Returns taken messages to their place. */
  putBack(messages: readonly QueueMessage[]): void {
    for (const message of messages) message.state = 'waiting'
    this.#ready.putBack(messages)
  }

  /**
   * Reads the records of taken messages.
   * @returns the messages that cannot be read any more
   * @throws MillraceError STORAGE_FAILED
   */
  async load(messages: readonly QueueMessage[]): Promise<QueueMessage[]> {
    const lost = await this.#records.load(this.#host.reader, messages)
    for (const { lane, offset } of lost) this.#lost(lane, offset, offset + 1)
    return lost
  }

  /** The message was delivered. */
  dropRecord(message: QueueMessage): void {
    this.#records.drop(message)
  }

  /** The message is ready again. */
  wait(message: QueueMessage): void {
    if (message.lane.isClosed) return
    message.state = 'waiting'
    this.#ready.push(message)
  }

  /** Moves a message to the position that the state has for it. */
  takeOver(message: QueueMessage): void {
    const { lane, offset } = message
    if (lane.state.isDone(offset)) {
      this.settled([{ message, ending: { kind: 'done' } }])
      return
    }
    const { attempts = 0, dueAtMs = 0 } = lane.state.open.get(offset) ?? {}
    message.attempts = attempts
    this.#waitUntil(message, dueAtMs, this.#host.nowMs())
  }

  /** Applies committed settlements. */
  settled(settlements: readonly Settlement[]): void {
    const nowMs = this.#host.nowMs()
    for (const { message, ending } of settlements) {
      if (ending.kind === 'released') this.wait(message)
      else if (ending.kind === 'failed') {
        message.attempts++
        this.#waitUntil(message, ending.dueAtMs, nowMs)
      } else {
        this.#records.drop(message)
        const next = message.lane.remove(message)
        if (next !== undefined) this.wait(next)
      }
    }
  }

  /** Loads messages that are open in the state: from before a restart, or redriven. */
  async recover(logId: number, offsets: readonly number[]): Promise<void> {
    const lane = this.#lanes.get(logId)
    if (lane === undefined) return
    const unknown = offsets.filter((offset) => !lane.live.has(offset) && lane.state.open.has(offset))
    for (let i = 0; i < unknown.length; i += recoveredAtOnce)
      await this.#recoverSome(lane, unknown.slice(i, i + recoveredAtOnce))
  }

  async #recoverSome(lane: Lane, unknown: readonly number[]): Promise<void> {
    const records = await readEach(this.#host.reader, lane.partition.log, unknown)
    const nowMs = this.#host.nowMs()
    for (const offset of unknown) {
      const open = lane.state.open.get(offset)
      if (open === undefined || lane.live.has(offset) || lane.isClosed) continue
      const record = records.get(offset)
      if (record === undefined) {
        this.#lost(lane, offset, offset + 1)
        continue
      }
      const message = this.#takeUp(lane, record, open.attempts)
      this.#records.detach(message)
      if (lane.add(message)) continue
      if (open.grantId !== 0) this.#owner.grants.inherit(message, open, this.#host.latestMs())
      else this.#waitUntil(message, open.dueAtMs, nowMs)
    }
  }

  async #openLane(partition: Partition): Promise<void> {
    const logId = partition.log.id
    if (this.#lanes.has(logId) || this.#isClosed) return
    const state = this.#host.view.stateOf(this.#record, logId)
    if (state === undefined) return
    const lane = new Lane(partition, state, partition.topic.topicId === this.#record.deadTopicId)
    this.#lanes.set(logId, lane)
    partition.wait(this)
    try {
      await this.recover(
        logId,
        [...state.open.keys()].sort((a, b) => a - b),
      )
    } catch (error) {
      // A retry must not find a half-loaded lane.
      this.#closeLane(logId, lane)
      throw error
    }
    // The topic may have been deleted during the read.
    if (!lane.isClosed) this.#readAhead.add(lane)
  }

  #closeLane(logId: number, lane: Lane): void {
    this.#lanes.delete(logId)
    this.#readAhead.remove(lane)
    lane.partition.stopWaiting(this)
    for (const message of lane.live.values()) {
      this.#owner.grants.release(message)
      this.#records.drop(message)
    }
    lane.close()
  }

  async #scan(lane: Lane): Promise<void> {
    const { log } = lane.partition
    const { scanOffset, readMax } = lane
    const { records, nextOffset, lost, unreadable } = await readSome(
      this.#host.reader,
      log,
      scanOffset,
      readMax,
    )
    if (lane.isClosed) return
    if (lost !== undefined) {
      this.#lost(lane, ...lost)
      const told = settledOps(this.#record.queueId, [], this.lanes)
      try {
        await this.#host.commit(told.ops)
      } catch (error) {
        told.failed()
        throw error
      }
    }
    if (unreadable !== undefined) {
      await this.#giveUp(lane, unreadable)
      if (lane.isClosed) return
    }
    for (const record of records) {
      const message = this.#takeUp(lane, record, 0)
      if (lane.add(message)) this.#records.detach(message)
      else {
        if (this.#record.settings.priorities) this.#records.detach(message)
        this.#ready.push(message)
      }
    }
    lane.scanOffset = nextOffset
    this.#owner.readOn()
    this.#owner.pump()
  }

  /** Makes a dead letter of a batch that cannot be opened, in the commit that ends its messages. */
  async #giveUp(lane: Lane, batch: UnreadableBatch): Promise<void> {
    const { topic, index, log } = lane.partition
    const { group, queueId } = this.#record
    const letter = await this.#owner.deadBatch(lane, batch)
    const done = [batch.first, batch.end - batch.first]
    const payload = encodeQueueSettled({ queueId, logId: log.id, done, failed: [], released: [] })
    await this.#host.commit([letter, { kind: opKinds.queueSettled, payload }])
    this.#host.unreadable(group, topic.name, index, batch)
  }

  /** Records for delivery stay in memory while there is room. */
  #takeUp(lane: Lane, record: ReadRecord, attempts: number): QueueMessage {
    const message = messageOf(this.#record.settings, lane, record, attempts)
    if (this.#records.hasRoom) this.#records.keep(message, record)
    return message
  }

  #waitUntil(message: QueueMessage, dueAtMs: number, nowMs: number): void {
    if (dueAtMs <= nowMs || message.lane.isClosed) {
      this.wait(message)
      return
    }
    message.state = 'delayed'
    this.#delays.add(message, dueAtMs - nowMs)
  }

  #lost(lane: Lane, first: number, end: number): void {
    lane.lost.push(first, end - first)
    const { topic, index } = lane.partition
    this.#host.lost(this.#record.group, topic.name, index, first, end)
  }
}
