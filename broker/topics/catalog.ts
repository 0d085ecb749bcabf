import {
  decodeBody,
  encodeBody,
  MillraceError,
  suggestion,
  type TopicSettings,
} from '../../protocol/index.js'
import { opKinds, type PartitionLog, type ViewHost } from '../../storage/index.js'
import { Partition } from '../partition/partition.js'
import { idsKey, tableEntries, topicKey, viewTables } from '../state_keys.js'
import type { View } from '../view.js'
import type { LogRun, Topic } from './topic.js'

/** Payload of topic.created; on disk, like those below. */
export interface TopicCreated {
  readonly topicId: number
  readonly name: string
  readonly createdAtMs: number
  readonly settings: TopicSettings
  readonly logs: LogRun
}

export interface TopicAltered {
  readonly topicId: number
  readonly settings: TopicSettings
  /** Logs of the added partitions. */
  readonly logs?: LogRun | undefined
}

export interface TopicDeleted {
  readonly topicId: number
}

export type CatalogChange = 'created' | 'altered' | 'deleted'
type ChangeListener = (change: CatalogChange, topic: Topic) => void

interface StoredTopic extends Omit<TopicCreated, 'logs'> {
  readonly logRuns: readonly LogRun[]
}

/** The lowest ids that were never used. */
interface FreeIds {
  readonly topicId: number
  readonly logId: number
}

/** The topics: the view of topic.created, topic.altered and topic.deleted. */
export class Catalog implements View {
  readonly kinds = [opKinds.topicCreated, opKinds.topicAltered, opKinds.topicDeleted]
  readonly #byId = new Map<number, Topic>()
  readonly #byName = new Map<string, Topic>()
  readonly #byLog = new Map<number, Partition>()
  readonly #listeners = new Set<ChangeListener>()
  readonly #host: ViewHost
  /** The lowest unused ids; ids of deleted topics count as used. */
  #next: FreeIds = { topicId: 1, logId: 1 }

  constructor(host: ViewHost) {
    this.#host = host
  }

  get topics(): Iterable<Topic> {
    return this.#byId.values()
  }

  get topicCount(): number {
    return this.#byId.size
  }

  get partitionCount(): number {
    return this.#byLog.size
  }

  get partitions(): Iterable<Partition> {
    return this.#byLog.values()
  }

  /** The lowest unused ids. Whoever takes them must have the operation committed before the next call. */
  get next(): FreeIds {
    return this.#next
  }

  /** Never assigns the next ids: a broker that is lost may have assigned them. */
  skipIds(topicIds: number): void {
    this.#next = { ...this.#next, topicId: this.#next.topicId + topicIds }
    this.#host.state.put(idsKey, encodeBody(this.#next))
  }

  byId(topicId: number): Topic | undefined {
    return this.#byId.get(topicId)
  }

  byName(name: string): Topic | undefined {
    return this.#byName.get(name)
  }

  byLog(logId: number): Partition | undefined {
    return this.#byLog.get(logId)
  }

  /** @throws MillraceError UNKNOWN_TOPIC, naming the nearest topic */
  topic(name: string): Topic {
    const topic = this.#byName.get(name)
    if (topic === undefined) throw this.unknownTopic(name)
    return topic
  }

  unknownTopic(name: string): MillraceError {
    const known = suggestion(name, this.#byName.keys())
    return new MillraceError('UNKNOWN_TOPIC', `there is no topic ${JSON.stringify(name)}${known}`)
  }

  /** Calls back after every durable change; returns a function that unsubscribes. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async load(): Promise<void> {
    const { state } = this.#host
    const ids = await state.get(idsKey)
    if (ids !== undefined) this.#next = decodeBody(ids) as FreeIds
    for await (const [, value] of tableEntries(state, viewTables.topic)) {
      const stored = decodeBody(value) as StoredTopic
      const topic = this.#add(stored)
      // A log without a checkpoint of its own has no records yet.
      const logOf = (id: number): PartitionLog => this.#host.log(id) ?? this.#host.createLog(id)
      for (const logs of stored.logRuns) this.#addPartitions(topic, logs, logOf)
    }
  }

  apply(kind: number, payload: Uint8Array): void {
    const op = decodeBody(payload)
    if (kind === opKinds.topicCreated) this.#created(op as TopicCreated)
    else if (kind === opKinds.topicAltered) this.#altered(op as TopicAltered)
    else this.#deleted(op as TopicDeleted)
  }

  #created(op: TopicCreated): void {
    const topic = this.#add(op)
    this.#addPartitions(topic, op.logs, (id) => this.#host.createLog(id))
    this.#store(topic)
    this.#emit('created', topic)
  }

  #altered({ topicId, settings, logs }: TopicAltered): void {
    const topic = this.#byId.get(topicId)
    if (topic === undefined) return
    topic.settings = settings
    if (logs !== undefined) this.#addPartitions(topic, logs, (id) => this.#host.createLog(id))
    this.#store(topic)
    this.#emit('altered', topic)
  }

  #deleted({ topicId }: TopicDeleted): void {
    const topic = this.#byId.get(topicId)
    if (topic === undefined) return
    this.#byId.delete(topicId)
    this.#byName.delete(topic.name)
    this.#host.state.del(topicKey(topicId))
    for (const partition of topic.partitions) {
      this.#byLog.delete(partition.log.id)
      this.#host.dropLog(partition.log.id)
    }
    this.#emit('deleted', topic)
    for (const partition of topic.partitions) partition.interrupted()
  }

  #add({ topicId, name, createdAtMs, settings }: Omit<StoredTopic, 'logRuns'>): Topic {
    const topic: Topic = { topicId, name, createdAtMs, settings, logRuns: [], partitions: [] }
    this.#byId.set(topicId, topic)
    this.#byName.set(name, topic)
    return topic
  }

  #addPartitions(topic: Topic, run: LogRun, logOf: (id: number) => PartitionLog): void {
    const [firstLogId, count] = run
    topic.logRuns.push(run)
    for (let logId = firstLogId; logId < firstLogId + count; logId++) {
      const partition = new Partition(topic, topic.partitions.length, logOf(logId))
      topic.partitions.push(partition)
      this.#byLog.set(logId, partition)
    }
  }

  #store(topic: Topic): void {
    const { topicId, name, createdAtMs, settings, logRuns } = topic
    const [lastFirst, lastCount] = logRuns.at(-1) as LogRun
    this.#next = {
      topicId: Math.max(this.#next.topicId, topicId + 1),
      logId: Math.max(this.#next.logId, lastFirst + lastCount),
    }
    const { state } = this.#host
    state.put(idsKey, encodeBody(this.#next))
    state.put(topicKey(topicId), encodeBody({ topicId, name, createdAtMs, settings, logRuns }))
  }

  #emit(change: CatalogChange, topic: Topic): void {
    for (const listener of this.#listeners) listener(change, topic)
  }
}
