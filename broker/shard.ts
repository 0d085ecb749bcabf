import { MillraceError } from '../protocol/index.js'
import {
  type EngineFactory,
  type LogRead,
  type LogReadResult,
  type Op,
  openStore,
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
import { bootOp, idsSkippedOp, skippedForRestore, UniqueIds } from './unique_ids.js'

export interface ShardSettings extends ViewLimits, TopicDefaults {
  readonly dir: string
  readonly engine: 'level' | 'memory'
  readonly tailCacheBytes: number
  readonly journalSegmentBytes?: number | undefined
  readonly diskFreeBytesMin: number
  /** Databases to use instead of the ones that `engine` selects. */
  readonly engines?: EngineFactory | undefined
}

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
  readonly #ids: UniqueIds

  private constructor(store: Store, views: ShardViews, settings: ShardSettings) {
    this.store = store
    this.catalog = views.catalog
    this.producers = views.producers
    this.offsets = views.groupOffsets.inner.offsets
    this.pausedGroups = views.groupOffsets.paused
    this.messageIds = views.messageIds
    this.delayed = views.delayed
    this.schedules = views.schedules
    this.bootCount = views.starts.count
    this.#ids = new UniqueIds(views.starts, (ops) => this.commit(ops))
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
    const { isRestored } = store
    await store.commit(isRestored ? [idsSkippedOp(skippedForRestore()), bootOp] : [bootOp])
    if (isRestored) await store.idsSkipped()
    return new Shard(store, loaded(), settings)
  }

  /** See UniqueIds. @throws MillraceError STORAGE_FAILED */
  uniqueId(): number {
    return this.#ids.next()
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
