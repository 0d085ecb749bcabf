import { MillraceError } from '../protocol/index.js'
import {
  type EngineFactory,
  type LogRead,
  type LogReadResult,
  type Op,
  openStore,
  opKinds,
  type Store,
  type StoreHealth,
} from '../storage/index.js'
import type { CommittedOffsets, PausedGroups } from './groups/index.js'
import type { DelayedView, MessageIds, SchedulesView } from './later/index.js'
import type { Partition } from './partition/partition.js'
import type { ProducersView } from './partition/producers_view.js'
import type { QueuesView, TransactionsView } from './queues/index.js'
import { ShardViews, type ViewLimits } from './shard_views.js'
import type { Catalog } from './topics/catalog.js'
import { TopicCommands, type TopicDefaults } from './topics/topic_commands.js'

export interface ShardSettings extends ViewLimits, TopicDefaults {
  readonly dir: string
  readonly engine: 'level' | 'memory'
  readonly tailCacheBytes: number
  readonly journalSegmentBytes?: number | undefined
  readonly diskFreeBytesMin: number
  /** Other databases than those that `engine` names. */
  readonly engines?: EngineFactory | undefined
}

const idsPerBoot = 0x1_0000_0000
const nothing = new Uint8Array(0)

/** One journal, its views, and its partitions. */
export class Shard {
  readonly catalog: Catalog
  readonly topics: TopicCommands
  readonly producers: ProducersView
  /** Committed offsets of the groups. */
  readonly offsets: CommittedOffsets
  readonly pausedGroups: PausedGroups
  readonly messageIds: MessageIds
  readonly delayed: DelayedView
  readonly schedules: SchedulesView
  /** Number of starts, including this one. */
  readonly bootCount: number
  readonly queues: QueuesView
  readonly transactions: TransactionsView
  readonly store: Store
  #ids = 0

  private constructor(store: Store, views: ShardViews, settings: ShardSettings) {
    this.store = store
    this.catalog = views.catalog
    this.producers = views.producers
    this.offsets = views.groupOffsets.inner.offsets
    this.pausedGroups = views.groupOffsets.paused
    this.messageIds = views.messageIds
    this.delayed = views.delayed
    this.schedules = views.schedules
    this.bootCount = views.boot.count
    this.queues = views.queues
    this.transactions = views.transactions
    this.topics = new TopicCommands({
      catalog: views.catalog,
      defaults: settings,
      commit: (kind, payload) => this.commit([{ kind, payload }]),
    })
  }

  /**
   * Opens the store, restores the views and counts the start.
   * @throws MillraceError FOLDER_IN_USE, UNKNOWN_FORMAT, STORAGE_FAILED, CORRUPT
   */
  static async open(settings: ShardSettings): Promise<Shard> {
    let views: ShardViews | undefined
    const loaded = (): ShardViews => {
      if (views === undefined) throw new MillraceError('INTERNAL', 'the views are not loaded yet')
      return views
    }
    const store = await openStore(
      {
        ...(settings.engine === 'level' && settings.engines === undefined ? { dir: settings.dir } : {}),
        tailCacheBytes: settings.tailCacheBytes,
        journalSegmentBytes: settings.journalSegmentBytes,
        freeBytesMin: settings.diskFreeBytesMin,
        engines: settings.engines,
      },
      {
        load: async (host) => {
          views = await ShardViews.load(host, settings)
        },
        apply: (kind, payload) => loaded().apply(kind, payload),
        appended: (log, header) => loaded().appended(log, header),
        nameOf: (logId) => views?.nameOf(logId),
        endLost: () => loaded().endLost(),
        save: () => loaded().save(),
        rolledBack: () => loaded().rolledBack(),
      },
    )
    await store.commit([{ kind: opKinds.boot, payload: nothing }])
    return new Shard(store, loaded(), settings)
  }

  /**
   * Returns a number that is unique forever, without a write for each: the count of starts, and a counter within a
   * start.
   */
  uniqueId(): number {
    return this.bootCount * idsPerBoot + ++this.#ids
  }

  /** @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION */
  partition(topicId: number, index: number): Partition {
    const topic = this.catalog.byId(topicId)
    if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC', `no topic has id ${topicId}`)
    const partition = topic.partitions[index]
    if (partition === undefined) {
      throw new MillraceError(
        'UNKNOWN_PARTITION',
        `topic "${topic.name}" has no partition ${index}, it has ${topic.partitions.length} partitions`,
      )
    }
    return partition
  }

  /** See Store.commit. */
  commit(ops: readonly Op[], onAssigned?: (index: number, baseOffset: number) => void): Promise<void> {
    return this.store.commit(ops, onAssigned)
  }

  /** Reads from memory; undefined if a read of the journal is needed. */
  readTail(read: LogRead): LogReadResult | undefined {
    return this.store.readTail(read)
  }

  read(reads: readonly LogRead[]): Promise<LogReadResult[]> {
    return this.store.read(reads)
  }

  get health(): StoreHealth {
    return this.store.health
  }

  close(): Promise<void> {
    return this.store.close()
  }
}
