import {
  decodeBody,
  encodeBody,
  limits,
  offsetsOf,
  type QueueSettings,
  runsOf,
} from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import type { Catalog } from '../topics/catalog.js'
import type { Topic } from '../topics/topic.js'
import type { View } from '../view.js'
import { DeliveryState, type DeliveryStore } from './delivery_state.js'
import {
  decodeQueueConfigured,
  decodeQueueDeleted,
  decodeQueueLeaseBounded,
  decodeQueueLeased,
  decodeQueueRedriven,
  decodeQueueSettled,
  decodeQueueSubscribed,
} from './ops.js'
import { RedrivenLetters, type RedrivenStore } from './redriven_letters.js'

/** The durable state of a queue group. */
export interface QueueRecord {
  readonly queueId: number
  readonly group: string
  settings: QueueSettings
  /** Topic id of its dead letters; 0 if there is none yet. */
  deadTopicId: number
  /** Start offsets in the partitions of each topic. */
  readonly topics: Map<number, readonly number[]>
  /** Names of deleted topics that the group read and has not opened again; oldest first. */
  readonly deletedTopics: Set<string>
  /** By log id. */
  readonly states: Map<number, DeliveryState>
  /** Redriven dead letters, by offset in their log. */
  readonly redriven: RedrivenLetters
}

interface StoredQueue {
  readonly group: string
  readonly settings: QueueSettings
  readonly deadTopicId: number
  readonly topics: readonly (readonly [topicId: number, starts: readonly number[]])[]
  readonly deletedTopics?: readonly string[]
}

/** The queue groups of a shard: the fold over their operations. */
export class QueuesView implements View {
  readonly kinds = [
    opKinds.queueConfigured,
    opKinds.queueSubscribed,
    opKinds.queueLeased,
    opKinds.queueLeaseBounded,
    opKinds.queueSettled,
    opKinds.queueRedriven,
    opKinds.queueDeleted,
  ]
  readonly #state: State
  readonly #catalog: Catalog
  readonly #byName = new Map<string, QueueRecord>()
  readonly #byId = new Map<number, QueueRecord>()
  /** Groups with delivery states that have changed since the last checkpoint. */
  readonly #changed = new Map<DeliveryState, DeliveryStore>()
  readonly #changedQueues = new Set<QueueRecord>()
  readonly #changedRedriven = new Set<QueueRecord>()

  constructor(state: State, catalog: Catalog) {
    this.#state = state
    this.#catalog = catalog
    catalog.onChange((change, topic) => {
      if (change !== 'deleted') return
      const logIds = topic.partitions.map(({ log }) => log.id)
      for (const queue of this.#byId.values()) this.#forgetTopic(queue, topic, logIds)
    })
  }

  get queues(): Iterable<QueueRecord> {
    return this.#byName.values()
  }

  byName(group: string): QueueRecord | undefined {
    return this.#byName.get(group)
  }

  async load(): Promise<void> {
    await this.#loadQueues()
    for await (const [key, value] of tableEntries(this.#state, viewTables.queueRedriven))
      this.#byId.get(readU64(key, 1))?.redriven.load(readU64(key, 9), value)
    await this.#loadProgress()
  }

  async #loadQueues(): Promise<void> {
    for await (const [key, value] of tableEntries(this.#state, viewTables.queue)) {
      const { group, settings, deadTopicId, topics, deletedTopics } = decodeBody(value) as StoredQueue
      const queueId = readU64(key, 1)
      this.#add({
        queueId,
        group,
        settings,
        deadTopicId,
        topics: new Map(topics),
        deletedTopics: new Set(deletedTopics),
        states: new Map(),
        redriven: new RedrivenLetters(),
      })
    }
  }

  async #loadProgress(): Promise<void> {
    for await (const [key, value] of tableEntries(this.#state, viewTables.queueProgress)) {
      const queue = this.#byId.get(readU64(key, 1))
      if (queue === undefined) continue
      // The record stored redriven letters here before they got their own pages.
      const [next, redriven = []] = decodeBody(value) as [number, number[]?]
      const logId = readU32(key, 9)
      queue.states.set(logId, new DeliveryState(next))
      if (redriven.length > 0) this.#changedRedriven.add(queue)
      for (const offset of offsetsOf(redriven)) queue.redriven.add(offset)
    }
    for await (const [key, value] of tableEntries(this.#state, viewTables.queuePage)) {
      const queue = this.#byId.get(readU64(key, 1))
      queue?.states.get(readU32(key, 9))?.load(readU64(key, 13), value)
    }
  }

  apply(kind: number, payload: Uint8Array): void {
    switch (kind) {
      case opKinds.queueConfigured:
        this.#configured(payload)
        return
      case opKinds.queueSubscribed:
        this.#subscribed(payload)
        return
      case opKinds.queueLeased: {
        const { queueId, logId, grantId, leaseMs, offsets, workerId } = decodeQueueLeased(payload)
        this.#change(queueId, logId)?.leased(grantId, leaseMs, offsets, workerId)
        return
      }
      case opKinds.queueLeaseBounded: {
        const { queueId, logId, grantId, endsAtMs, offsets } = decodeQueueLeaseBounded(payload)
        this.#change(queueId, logId)?.bounded(grantId, endsAtMs, offsets)
        return
      }
      case opKinds.queueSettled: {
        const { queueId, logId, done, failed, released } = decodeQueueSettled(payload)
        const state = this.#change(queueId, logId)
        if (state === undefined) return
        state.done(done)
        for (const [offset, dueAtMs] of failed) state.failed(offset, dueAtMs)
        state.released(released)
        return
      }
      case opKinds.queueRedriven: {
        const { queueId, logId, offsets } = decodeQueueRedriven(payload)
        const queue = this.#byId.get(queueId)
        if (queue === undefined) return
        // Two concurrent requests may name the same letters: a letter may be in progress again when the second one is
        // applied.
        const fresh = [...offsetsOf(offsets)].filter((offset) => !queue.redriven.has(offset))
        for (const offset of fresh) queue.redriven.add(offset)
        this.#changedRedriven.add(queue)
        this.#change(queueId, logId)?.reopened(runsOf(fresh))
        return
      }
      default:
        this.#deleted(payload)
    }
  }

  /** Writes the changes since the last call to the state. */
  save(): void {
    for (const [state, store] of this.#changed) state.save(store)
    this.#changed.clear()
    for (const queue of this.#changedQueues) {
      const { queueId, group, settings, deadTopicId, topics, deletedTopics } = queue
      const stored: StoredQueue = {
        group,
        settings,
        deadTopicId,
        topics: [...topics],
        ...(deletedTopics.size > 0 ? { deletedTopics: [...deletedTopics] } : {}),
      }
      this.#state.put(queueKey(queueId), encodeBody(stored))
    }
    this.#changedQueues.clear()
    for (const queue of this.#changedRedriven) {
      const log = this.#catalog.byId(queue.deadTopicId)?.partitions[0]?.log
      queue.redriven.save(this.#redrivenStoreOf(queue), log?.startOffset ?? 0)
    }
    this.#changedRedriven.clear()
  }

  /** Progress of a queue group in a log; undefined if it does not read the log. */
  stateOf(queue: QueueRecord, logId: number): DeliveryState | undefined {
    const known = queue.states.get(logId)
    if (known !== undefined) return known
    const partition = this.#catalog.byLog(logId)
    if (partition === undefined) return undefined
    const { topicId } = partition.topic
    const starts = queue.topics.get(topicId)
    if (starts === undefined && topicId !== queue.deadTopicId) return undefined
    const next = starts === undefined ? Number.MAX_SAFE_INTEGER : (starts[partition.index] ?? 0)
    const state = new DeliveryState(next)
    queue.states.set(logId, state)
    return state
  }

  #change(queueId: number, logId: number): DeliveryState | undefined {
    const queue = this.#byId.get(queueId)
    const state = queue && this.stateOf(queue, logId)
    if (queue !== undefined && state !== undefined && !this.#changed.has(state))
      this.#changed.set(state, this.#storeOf(queue, logId))
    return state
  }

  #configured(payload: Uint8Array): void {
    const { queueId, group, settings, deadTopicId } = decodeQueueConfigured(payload)
    let queue = this.#byId.get(queueId)
    if (queue === undefined) {
      queue = {
        queueId,
        group,
        settings,
        deadTopicId,
        topics: new Map(),
        deletedTopics: new Set(),
        states: new Map(),
        redriven: new RedrivenLetters(),
      }
      this.#add(queue)
    }
    queue.settings = settings
    if (deadTopicId !== 0) queue.deadTopicId = deadTopicId
    this.#changedQueues.add(queue)
  }

  #subscribed(payload: Uint8Array): void {
    const { queueId, topicId, starts } = decodeQueueSubscribed(payload)
    const queue = this.#byId.get(queueId)
    const topic = this.#catalog.byId(topicId)
    if (queue === undefined || topic === undefined || queue.topics.has(topicId)) return
    queue.topics.set(topicId, starts)
    queue.deletedTopics.delete(topic.name)
    this.#changedQueues.add(queue)
  }

  #deleted(payload: Uint8Array): void {
    const queue = this.#byId.get(decodeQueueDeleted(payload).queueId)
    if (queue === undefined) return
    for (const logId of [...queue.states.keys()]) this.#forgetLog(queue, logId)
    this.#byId.delete(queue.queueId)
    this.#byName.delete(queue.group)
    this.#changedQueues.delete(queue)
    this.#changedRedriven.delete(queue)
    queue.redriven.drop(this.#redrivenStoreOf(queue))
    this.#state.del(queueKey(queue.queueId))
  }

  #forgetTopic(queue: QueueRecord, { topicId, name }: Topic, logIds: readonly number[]): void {
    for (const logId of logIds) this.#forgetLog(queue, logId)
    const isDeadTopic = queue.deadTopicId === topicId
    if (isDeadTopic) {
      queue.deadTopicId = 0
      queue.redriven.drop(this.#redrivenStoreOf(queue))
      this.#changedRedriven.delete(queue)
    }
    const wasRead = queue.topics.delete(topicId)
    if (wasRead) keepName(queue.deletedTopics, name)
    if (wasRead || isDeadTopic) this.#changedQueues.add(queue)
  }

  #forgetLog(queue: QueueRecord, logId: number): void {
    const state = queue.states.get(logId)
    if (state === undefined) return
    this.#changed.delete(state)
    state.drop(this.#storeOf(queue, logId))
    queue.states.delete(logId)
    this.#state.del(progressKey(queue.queueId, logId))
  }

  #add(queue: QueueRecord): void {
    this.#byId.set(queue.queueId, queue)
    this.#byName.set(queue.group, queue)
  }

  #redrivenStoreOf({ queueId }: QueueRecord): RedrivenStore {
    return {
      putPage: (page, value) => this.#state.put(redrivenKey(queueId, page), value),
      delPage: (page) => this.#state.del(redrivenKey(queueId, page)),
    }
  }

  #storeOf(queue: QueueRecord, logId: number): DeliveryStore {
    const { queueId } = queue
    return {
      putProgress: (next) => this.#state.put(progressKey(queueId, logId), encodeBody([next])),
      putPage: (page, value) => this.#state.put(pageKey(queueId, logId, page), value),
      delPage: (page) => this.#state.del(pageKey(queueId, logId, page)),
    }
  }
}

/** Adds a name as the newest one; removes the oldest if there are too many. */
function keepName(names: Set<string>, name: string): void {
  names.delete(name)
  names.add(name)
  if (names.size <= limits.topicsPerGroupMax) return
  for (const oldest of names) {
    names.delete(oldest)
    return
  }
}

/** Number of dead letters of a queue group that were not redriven. */
export function deadCount(queue: QueueRecord, catalog: Catalog): number {
  let dead = 0
  const partitions = catalog.byId(queue.deadTopicId)?.partitions ?? []
  for (const { log } of partitions) dead += log.endOffset - log.startOffset
  // Retention may have dropped some redriven letters.
  dead -= queue.redriven.countFrom(partitions[0]?.log.startOffset ?? 0)
  return Math.max(0, dead)
}

function queueKey(queueId: number): Buffer {
  const key = Buffer.allocUnsafe(9)
  key[0] = viewTables.queue
  writeU64(key, queueId, 1)
  return key
}

function progressKey(queueId: number, logId: number): Buffer {
  const key = Buffer.allocUnsafe(13)
  key[0] = viewTables.queueProgress
  writeU64(key, queueId, 1)
  key.writeUInt32BE(logId, 9)
  return key
}

function pageKey(queueId: number, logId: number, page: number): Buffer {
  const key = Buffer.allocUnsafe(21)
  key[0] = viewTables.queuePage
  writeU64(key, queueId, 1)
  key.writeUInt32BE(logId, 9)
  writeU64(key, page, 13)
  return key
}

function redrivenKey(queueId: number, page: number): Buffer {
  const key = Buffer.allocUnsafe(17)
  key[0] = viewTables.queueRedriven
  writeU64(key, queueId, 1)
  writeU64(key, page, 9)
  return key
}

function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
  bytes.writeUInt32BE(value % 0x1_0000_0000, at + 4)
}

function readU32(bytes: Uint8Array, at: number): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readUInt32BE(at)
}

function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 4)
}
