import { type BatchHeader, MillraceError } from '../protocol/index.js'
import { opKinds, type PartitionLog, type State, type ViewHost, type Views } from '../storage/index.js'
import { decodeGroupDeleted, OffsetsView, PausedGroups } from './groups/index.js'
import { DelayedView, MessageIds, SchedulesView } from './later/index.js'
import { type ProducerLimits, ProducersView } from './partition/producers_view.js'
import { QueuesView, TransactionsView } from './queues/index.js'
import { tableEntries, viewTables } from './state_keys.js'
import { Catalog } from './topics/catalog.js'
import { decodeIdsSkipped, type SkippedIds, StartCount, skippedForLostEnd } from './unique_ids.js'
import type { View } from './view.js'

/** The durable state of stream groups as a view of the shard. */
class GroupOffsetsView implements View {
  readonly kinds = [opKinds.offsetsCommitted, opKinds.groupDeleted, opKinds.groupPaused]
  readonly inner: OffsetsView
  readonly paused: PausedGroups
  readonly #state: State
  readonly #catalog: Catalog

  constructor(state: State, catalog: Catalog) {
    this.#state = state
    this.#catalog = catalog
    this.inner = new OffsetsView(state, String.fromCharCode(viewTables.offsets))
    this.paused = new PausedGroups(state, viewTables.pausedGroups)
    catalog.onChange((change, { topicId }) => {
      if (change === 'deleted') this.inner.topicDeleted(topicId)
    })
  }

  async load(): Promise<void> {
    for await (const [key, value] of tableEntries(this.#state, viewTables.offsets))
      this.inner.load(key, value)
    for await (const [key] of tableEntries(this.#state, viewTables.pausedGroups)) this.paused.load(key)
  }

  apply(kind: number, payload: Uint8Array): void {
    if (kind === opKinds.groupPaused) this.paused.apply(payload)
    else if (kind === opKinds.groupDeleted) {
      this.inner.applyDeleted(payload)
      this.paused.forget(decodeGroupDeleted(payload))
    } else this.inner.applyCommitted(payload, (topicId) => this.#catalog.byId(topicId) !== undefined)
  }
}

export interface ViewLimits extends ProducerLimits {
  readonly messageIdsMax?: number | undefined
}

/** All views of a shard's journal. */
export class ShardViews implements Omit<Views, 'load'> {
  readonly catalog: Catalog
  readonly producers: ProducersView
  readonly starts: StartCount
  readonly groupOffsets: GroupOffsetsView
  readonly queues: QueuesView
  readonly transactions: TransactionsView
  readonly messageIds: MessageIds
  readonly delayed: DelayedView
  readonly schedules: SchedulesView
  readonly #byKind = new Map<number, Pick<View, 'apply'>>()

  private constructor(host: ViewHost, limits: ViewLimits) {
    this.catalog = new Catalog(host)
    this.producers = new ProducersView(host.state, limits)
    this.starts = new StartCount(host.state)
    this.groupOffsets = new GroupOffsetsView(host.state, this.catalog)
    this.queues = new QueuesView(host.state, this.catalog)
    this.transactions = new TransactionsView(host.state)
    const topicOf = (topicId: number) => this.catalog.byId(topicId)
    this.messageIds = new MessageIds(host.state, topicOf, limits.messageIdsMax)
    this.delayed = new DelayedView(host.state, this.messageIds, topicOf)
    this.schedules = new SchedulesView(host.state, topicOf)
    this.catalog.onChange((change, topic) => {
      if (change !== 'deleted') return
      for (const partition of topic.partitions) this.producers.dropped(partition)
      this.messageIds.topicDeleted(topic.topicId)
      this.schedules.topicDeleted(topic.topicId)
    })
    const { catalog, starts, groupOffsets, queues, transactions, messageIds, delayed, schedules } = this
    const all = [catalog, starts, groupOffsets, queues, transactions, messageIds, delayed, schedules]
    for (const view of all) {
      for (const kind of view.kinds) this.#byKind.set(kind, view)
    }
    this.#byKind.set(opKinds.idsSkipped, {
      apply: (_, payload) => this.#skipIds(decodeIdsSkipped(payload)),
    })
    this.#byKind.set(opKinds.producersForgotten, {
      apply: (_, payload) => this.producers.applyForgotten(payload, (logId) => this.catalog.byLog(logId)),
    })
  }

  /** Restores the views from the last checkpoint of a store. */
  static async load(host: ViewHost, limits: ViewLimits): Promise<ShardViews> {
    const views = new ShardViews(host, limits)
    await views.starts.load()
    await views.catalog.load()
    await views.producers.load((logId) => views.catalog.byLog(logId))
    await views.groupOffsets.load()
    await views.queues.load()
    await views.transactions.load()
    await views.messageIds.load()
    await views.delayed.load()
    await views.schedules.load()
    return views
  }

  apply(kind: number, payload: Uint8Array): void {
    const view = this.#byKind.get(kind)
    if (view === undefined) {
      throw new MillraceError(
        'UNKNOWN_FORMAT',
        `the journal contains an operation of the unknown kind ${kind}`,
      )
    }
    view.apply(kind, payload)
  }

  appended(log: PartitionLog, header: BatchHeader): void {
    const partition = this.catalog.byLog(log.id)
    if (partition === undefined) return
    this.producers.appended(partition, header)
    partition.appended(header)
  }

  nameOf(logId: number): string | undefined {
    const partition = this.catalog.byLog(logId)
    return partition && `partition ${partition.index} of topic "${partition.topic.name}"`
  }

  /** Ids that lost blocks have used must not come back. */
  endLost(): void {
    this.#skipIds(skippedForLostEnd)
  }

  save(): void {
    this.producers.save()
    this.queues.save()
    this.messageIds.save()
    this.delayed.save()
    this.schedules.save()
  }

  rolledBack(): void {
    this.producers.rolledBack()
  }

  #skipIds({ starts, topicIds }: SkippedIds): void {
    this.starts.skip(starts)
    this.catalog.skipIds(topicIds)
  }
}
