import {
  type commands,
  durationText,
  limits,
  MillraceError,
  nameProblem,
  type QueueSettings,
  type ReplyOf,
  type RequestOf,
  suggestion,
} from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import { coarseWaitMs } from '../coarse_wait.js'
import type { Topic } from '../topics/topic.js'
import { listDeadLetters, redrive } from './dead_letter_commands.js'
import { deadTopicName } from './dead_letter_topic.js'
import { describeQueue } from './describe.js'
import type { Grant } from './grants.js'
import type { QueueHost, WorkerSession } from './host.js'
import { type Asker, type Delivery, LiveGroup, type Worker } from './live_group.js'
import { encodeQueueConfigured, encodeQueueDeleted, encodeQueueSubscribed } from './ops.js'
import { peekQueue } from './peek.js'
import { deadCount, type QueueRecord } from './queues_view.js'
import { checkRuns } from './runs.js'
import { mergeQueueSettings, queueSettingsDefault } from './settings.js'
import { SettleReplies } from './settle_replies.js'

export type OpenRequest = RequestOf<typeof commands.queueOpen>
export type LeaseRequest = RequestOf<typeof commands.queueLease>
export type SettleRequest = RequestOf<typeof commands.queueSettle>
export type ExtendRequest = RequestOf<typeof commands.queueExtend>
type OpenReply = ReplyOf<typeof commands.queueOpen>

export interface QueueLimits {
  readonly queueGroupsMax: number
  readonly queueWorkersMax: number
  readonly leaseMsMin: number
  readonly leaseMsMax: number
}

export const queueLimitsDefault: QueueLimits = {
  queueGroupsMax: 10_000,
  queueWorkersMax: 10_000,
  leaseMsMin: 1_000,
  leaseMsMax: 12 * 3_600_000,
}

/** The leased messages for a lease request. */
export interface Leased {
  readonly grant: Grant | undefined
  readonly deliveries: readonly Delivery[]
  /** Reserved room for the reply on its connection; the sender of the reply releases it. */
  readonly reservedBytes: number
}

/** The queue groups of a shard: their workers, and the changes that operators make. */
export class Queues {
  readonly #host: QueueHost
  readonly #limits: QueueLimits
  readonly #live = new Map<string, LiveGroup>()
  readonly #settleReplies = new SettleReplies()
  /** Changes of one group run one after another. */
  readonly #turns = new Map<string, Promise<unknown>>()
  #draining = false

  constructor(host: QueueHost, queueLimits: QueueLimits = queueLimitsDefault) {
    this.#host = host
    this.#limits = queueLimits
    host.catalog.onChange((change, topic) => {
      if (change === 'deleted') for (const live of this.#live.values()) live.topicDeleted(topic)
      if (change !== 'altered') return
      for (const live of this.#live.values()) if (live.record.topics.has(topic.topicId)) live.refreshSoon()
    })
  }

  /** Largest batch that fits into a frame of a reply, bytes. */
  get payloadBytesMax(): number {
    return this.#host.payloadBytesMax
  }

  /**
   * Adds a worker, and makes the group a queue group of its topics.
   * @throws MillraceError BAD_NAME, UNKNOWN_TOPIC, BAD_CONFIG, GROUP_ACTIVE, LIMIT_EXCEEDED, DRAINING, STORAGE_FAILED
   */
  async open(request: OpenRequest, session: WorkerSession): Promise<OpenReply> {
    if (this.#draining) throw new MillraceError('DRAINING')
    const { group, workerId, concurrency } = request
    checkGroup(group)
    if (request.topics.includes(deadTopicName(group)))
      throw new MillraceError(
        'BAD_CONFIG',
        `"${deadTopicName(group)}" contains the dead letters of group "${group}" itself: redrive them, or read them in another group`,
      )
    const topics = request.topics.map((name) => this.#host.catalog.topic(name))
    const { record, replaced } = await this.#inTurn(group, () => this.#prepare(request, topics))
    // From here on, a deletion of a topic finds the worker.
    for (const { topicId, name } of topics)
      if (this.#host.catalog.byId(topicId) === undefined) throw this.#host.catalog.unknownTopic(name)
    const live = this.#liveOf(record)
    const topicIds = topics.map(({ topicId }) => topicId)
    this.#takeIn(live, { workerId, session, concurrency, topicIds })
    await live.refresh()
    if (request.held !== undefined) await live.reported(workerId, session, request.held)
    return {
      settings: record.settings,
      replaced,
      topics: topics.map(({ name, topicId, partitions }) => ({
        topic: name,
        topicId,
        partitions: partitions.length,
      })),
      deadLetterTopic: deadTopicName(group),
    }
  }

  /** @throws MillraceError LIMIT_EXCEEDED */
  #takeIn(live: LiveGroup, opened: Omit<Worker, 'unwatch' | 'reportedAtMs'>): void {
    const { workerId, session } = opened
    const known = live.workers.get(workerId)
    if (known === undefined && live.workers.size >= this.#limits.queueWorkersMax)
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `group "${live.record.group}" has ${live.workers.size} workers, which is the maximum`,
      )
    known?.unwatch()
    // Otherwise messages would be leased to requests of the old connection.
    if (known !== undefined && known.session !== session) stopAskers(live, workerId)
    const worker = { ...opened, reportedAtMs: Number.NEGATIVE_INFINITY, unwatch: noop }
    live.workers.set(workerId, worker)
    worker.unwatch = session.onClose(() => {
      if (live.workers.get(workerId) === worker) live.workers.delete(workerId)
      this.#unloadIdle(live)
    })
  }

  /**
   * Leases messages to a worker, as soon as there are some.
   * @throws MillraceError UNKNOWN_GROUP, UNKNOWN_WORKER, DRAINING, STORAGE_FAILED
   */
  async lease(request: LeaseRequest, session: WorkerSession): Promise<Leased> {
    if (this.#draining) throw new MillraceError('DRAINING')
    const { group, workerId } = request
    const { payloadBytesMax } = this
    const messagesMax = Math.min(
      request.messagesMax,
      leasedMessagesMax,
      Math.floor(payloadBytesMax / bytesPerLeasedMessage),
    )
    const bytesMax = Math.min(request.bytesMax, leasedBytesMax, Math.floor(payloadBytesMax / 2))
    const live = this.#live.get(this.#record(group).group)
    if (live?.workers.get(workerId)?.session !== session)
      throw new MillraceError(
        'UNKNOWN_WORKER',
        `group "${group}" does not know worker "${workerId}" on this connection; open it again`,
      )
    const leaseMs = Math.min(Math.max(request.leaseMs, this.#limits.leaseMsMin), this.#limits.leaseMsMax)
    const waitMs = Math.min(request.waitMs, limits.fetchWaitMsMax)
    return new Promise<Leased>((resolve, reject) => {
      const asker: Asker = {
        workerId,
        session,
        messagesMax,
        bytesMax,
        leaseMs,
        reservedBytes: 0,
        waitsForRoom: false,
        given: (grant, deliveries, error) => {
          clearTimeout(timer)
          unsubscribe()
          const { reservedBytes } = asker
          if (error === undefined) resolve({ grant, deliveries, reservedBytes })
          else {
            session.release(reservedBytes)
            reject(error)
          }
        },
      }
      const timer = setTimeout(() => live.stopAsking(asker), coarseWaitMs(waitMs))
      const unsubscribe = session.onClose(() => live.stopAsking(asker))
      live.ask(asker)
    })
  }

  /** Releases the messages of a request whose connection ended before the reply. */
  async giveBack(group: string, { grant }: Leased): Promise<void> {
    const live = this.#live.get(group)
    if (grant === undefined || live === undefined) return
    await live.giveBack(grant)
    this.#unloadIdle(live)
  }

  /**
   * A worker requests no more messages. With `held` it also ignores pending replies: all other leases of the worker are
   * released.
   * @throws MillraceError UNKNOWN_GROUP, STORAGE_FAILED: only with `held`
   */
  async leave({ group, workerId, held }: RequestOf<typeof commands.queueLeave>): Promise<void> {
    const live = held === undefined ? this.#live.get(group) : this.#liveOf(this.#record(group))
    if (live === undefined) return
    live.workers.get(workerId)?.unwatch()
    live.workers.delete(workerId)
    stopAskers(live, workerId)
    if (held !== undefined) {
      await live.opened
      await live.reported(workerId, undefined, held)
    }
    this.#unloadIdle(live)
  }

  /** @throws MillraceError UNKNOWN_GROUP, STORAGE_FULL, STORAGE_FAILED */
  settle(request: SettleRequest): Promise<ReplyOf<typeof commands.queueSettle>> {
    const { group, workerId, requestNumber } = request
    if (workerId === undefined || requestNumber === undefined) return this.#settle(request)
    return this.#settleReplies.answer(`${group}/${workerId}`, requestNumber, () => this.#settle(request))
  }

  async #settle({ group, entries }: SettleRequest): Promise<ReplyOf<typeof commands.queueSettle>> {
    checkRuns(entries.map(({ offsets }) => offsets))
    for (const { delayMs = 0 } of entries)
      if (delayMs > delayMsMax)
        throw new MillraceError(
          'LIMIT_EXCEEDED',
          `the delay is ${durationText(delayMs)}, expected at most ${durationText(delayMsMax)}`,
        )
    const live = this.#liveOf(this.#record(group))
    const refused = await live.settle(entries)
    this.#unloadIdle(live)
    return { refused }
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  async extend({
    group,
    workerId,
    grants,
    leaseMs,
  }: ExtendRequest): Promise<ReplyOf<typeof commands.queueExtend>> {
    const live = this.#liveOf(this.#record(group))
    await live.opened
    const { leaseMsMin, leaseMsMax } = this.#limits
    const ms = leaseMs === undefined ? undefined : Math.min(Math.max(leaseMs, leaseMsMin), leaseMsMax)
    const worker = workerId === undefined ? undefined : live.workers.get(workerId)
    if (worker !== undefined) worker.reportedAtMs = live.clock.nowMs
    return { lost: live.extend(grants, ms) }
  }

  /** For a transaction. @throws MillraceError UNKNOWN_GROUP, LEASE_LOST */
  async prepareAcks(
    group: string,
    entries: Parameters<LiveGroup['prepareAcks']>[0],
  ): ReturnType<LiveGroup['prepareAcks']> {
    checkRuns(entries.map(({ offsets }) => offsets))
    return this.#liveOf(this.#record(group)).prepareAcks(entries)
  }

  /** @throws MillraceError UNKNOWN_GROUP, BAD_CONFIG, GROUP_ACTIVE, STORAGE_FAILED */
  configure({ group, settings }: RequestOf<typeof commands.queueConfigure>): Promise<QueueSettings> {
    return this.#inTurn(group, async () => {
      const record = this.#record(group)
      await this.#commitSettings(record, mergeQueueSettings(record.settings, settings))
      return record.settings
    })
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  describe(group: string): ReplyOf<typeof commands.queueDescribe> {
    return describeQueue(this.#host, this.#record(group), this.#live.get(group))
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  peek({ group, ...which }: RequestOf<typeof commands.queuePeek>): ReplyOf<typeof commands.queuePeek> {
    return { messages: peekQueue(this.#host, this.#record(group), which) }
  }

  list(): ReplyOf<typeof commands.queueList> {
    const { view, catalog } = this.#host
    const groups = [...view.queues].map((record) => ({
      group: record.group,
      workers: this.#live.get(record.group)?.workers.size ?? 0,
      topics: record.topics.size,
      dead: deadCount(record, catalog),
    }))
    return { groups }
  }

  /** @throws MillraceError UNKNOWN_GROUP, STORAGE_FAILED */
  async deadLetters({
    group,
    ...page
  }: RequestOf<typeof commands.queueDeadLetters>): Promise<ReplyOf<typeof commands.queueDeadLetters>> {
    return listDeadLetters(this.#host, this.#record(group), page)
  }

  /** @throws MillraceError UNKNOWN_GROUP, LIMIT_EXCEEDED, STORAGE_FAILED */
  redrive({
    group,
    offsets,
  }: RequestOf<typeof commands.queueRedrive>): Promise<ReplyOf<typeof commands.queueRedrive>> {
    checkRuns([offsets])
    return this.#inTurn(group, () =>
      redrive(this.#host, this.#record(group), offsets, (logId, letters) =>
        this.#live.get(group)?.reopened(logId, letters),
      ),
    )
  }

  /** @throws MillraceError UNKNOWN_GROUP, GROUP_ACTIVE, STORAGE_FAILED */
  delete(group: string): Promise<void> {
    return this.#inTurn(group, async () => {
      const record = this.#record(group)
      const live = this.#live.get(group)
      if (live !== undefined && live.workers.size > 0)
        throw new MillraceError(
          'GROUP_ACTIVE',
          `group "${group}" has ${live.workers.size} workers; stop them first`,
        )
      const payload = encodeQueueDeleted({ queueId: record.queueId })
      await this.#host.commit([{ kind: opKinds.queueDeleted, payload }])
      // Delete it after the commit: a request during the commit would load it again.
      this.#live.get(group)?.close()
      this.#live.delete(group)
    })
  }

  /** Ends waiting requests; leases can still be settled. */
  drain(): void {
    this.#draining = true
    for (const live of this.#live.values()) for (const asker of [...live.askers]) live.stopAsking(asker)
  }

  /** Ends timers and discards the messages in memory. */
  close(): void {
    for (const live of this.#live.values()) live.close()
    this.#live.clear()
  }

  async #prepare(
    { group, workerId, settings, again, start }: OpenRequest,
    topics: readonly Topic[],
  ): Promise<{ readonly record: QueueRecord; readonly replaced: QueueSettings | undefined }> {
    const { view } = this.#host
    let record = view.byName(group)
    let replaced: QueueSettings | undefined
    if (record === undefined) {
      const count = [...view.queues].length
      if (count >= this.#limits.queueGroupsMax)
        throw new MillraceError(
          'LIMIT_EXCEEDED',
          `the broker has ${count} queue groups, which is the maximum`,
        )
      const first = mergeQueueSettings(queueSettingsDefault, settings)
      const queueId = this.#host.uniqueId()
      const payload = encodeQueueConfigured({ queueId, group, settings: first, deadTopicId: 0 })
      await this.#host.commit([{ kind: opKinds.queueConfigured, payload }])
      record = view.byName(group) as QueueRecord
    } else if (again !== true) {
      const before = record.settings
      const others = [...(this.#live.get(group)?.workers.keys() ?? [])].some((id) => id !== workerId)
      await this.#commitSettings(record, mergeQueueSettings(record.settings, settings))
      if (others && !isSame(before, record.settings)) replaced = before
    }
    const ops: Op[] = []
    for (const { topicId, name, partitions } of topics) {
      if (record.topics.has(topicId)) continue
      // All messages of a recreated topic are newer than the group's start.
      const isLatest = start === 'latest' && !record.deletedTopics.has(name)
      const starts = partitions.map(({ startOffset, endOffset }) => (isLatest ? endOffset : startOffset))
      const payload = encodeQueueSubscribed({ queueId: record.queueId, topicId, starts })
      ops.push({ kind: opKinds.queueSubscribed, payload })
    }
    if (ops.length > 0) await this.#host.commit(ops)
    return { record, replaced }
  }

  async #commitSettings(record: QueueRecord, settings: QueueSettings): Promise<void> {
    const { queueId, group, deadTopicId } = record
    if (isSame(settings, record.settings)) return
    const live = this.#live.get(group)
    const isRearranged =
      settings.order !== record.settings.order || settings.priorities !== record.settings.priorities
    const isLeased = isRearranged && live === undefined && hasLeases(record)
    // Leases from before a restart expire only while the group is in memory.
    if (isLeased) this.#liveOf(record)
    if (isRearranged && (live !== undefined || isLeased))
      throw new MillraceError(
        'GROUP_ACTIVE',
        `"order" and "priorities" of group "${group}" can't change while it has workers or leases; stop them first`,
      )
    const payload = encodeQueueConfigured({ queueId, group, settings, deadTopicId })
    await this.#host.commit([{ kind: opKinds.queueConfigured, payload }])
    live?.pump()
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  #record(group: string): QueueRecord {
    const { view } = this.#host
    const record = view.byName(group)
    if (record !== undefined) return record
    const hint = this.#host.isStreamGroup(group)
      ? '; a stream group has this name: use "millrace group" or client.groups'
      : suggestion(
          group,
          [...view.queues].map((queue) => queue.group),
        )
    throw new MillraceError('UNKNOWN_GROUP', `there is no queue group ${JSON.stringify(group)}${hint}`)
  }

  #liveOf(record: QueueRecord): LiveGroup {
    let live = this.#live.get(record.group)
    if (live?.record !== record) {
      live?.close()
      const made = new LiveGroup(this.#host, record, () => this.#unloadIdle(made))
      live = made
      this.#live.set(record.group, live)
    }
    return live
  }

  #unloadIdle(live: LiveGroup): void {
    if (!live.isIdle || this.#live.get(live.record.group) !== live) return
    live.close()
    this.#live.delete(live.record.group)
  }

  #inTurn<T>(group: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(group) ?? Promise.resolve()
    const done = before.then(work, work)
    const settled = done
      .then(noop, noop)
      .then(() => void (this.#turns.get(group) === settled && this.#turns.delete(group)))
    this.#turns.set(group, settled)
    return done
  }
}

const delayMsMax = 366 * 86_400_000
/** Limit of the messages in one reply, whatever the request asks for. */
const leasedMessagesMax = 10_000
/** Size of a batch header and of an entry in the body; each message may need its own. */
const bytesPerLeasedMessage = 256
const leasedBytesMax = 4 * 1024 * 1024

/** @throws MillraceError BAD_NAME */
function checkGroup(group: string): void {
  const room = limits.topicNameBytesMax - deadTopicName('').length
  const problem = nameProblem(group, Math.min(limits.groupNameBytesMax, room))
  if (problem !== undefined)
    throw new MillraceError('BAD_NAME', `the group name ${JSON.stringify(group)} is not allowed: ${problem}`)
}

function stopAskers(live: LiveGroup, workerId: string): void {
  for (const asker of live.askers.filter((one) => one.workerId === workerId)) live.stopAsking(asker)
}

function hasLeases({ states }: QueueRecord): boolean {
  for (const { open } of states.values())
    for (const { grantId } of open.values()) if (grantId !== 0) return true
  return false
}

function noop(): void {}

function isSame(a: QueueSettings, b: QueueSettings): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
