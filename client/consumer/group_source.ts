import { durationText, isMillraceError, MillraceError } from '../../protocol/index.js'
import type { BrokerPort } from './broker_port.js'
import { Committer } from './committer.js'
import { deferred } from './deferred.js'
import { DeletedTopics } from './deleted_topics.js'
import { GroupAssignment } from './group_assignment.js'
import { type Assignment, type Grant, GroupMember, type MemberState } from './group_member.js'
import type { ConsumeOptions, ConsumerSettings } from './options.js'
import type { OffsetCommitter, PartitionStream } from './partition_stream.js'
import type { PartitionSource, StreamHost } from './source.js'
import type { StreamTable } from './stream_table.js'

export interface GroupSourceOptions<Value, Key> {
  readonly port: BrokerPort
  readonly group: string
  readonly topics: readonly string[]
  readonly settings: ConsumerSettings
  readonly hooks: Pick<ConsumeOptions, 'onAssigned' | 'onRevoked'>
  readonly table: StreamTable<Value, Key>
  readonly host: StreamHost<Value, Key>
  readonly newStream: (grant: Grant, committer: OffsetCommitter) => PartitionStream<Value, Key>
}

/** The partitions of a member of a stream group: combines membership, assignment and commits. */
export class GroupSource<Value, Key> implements PartitionSource<Value, Key> {
  readonly #options: GroupSourceOptions<Value, Key>
  readonly #member: GroupMember
  readonly #committer: Committer<Value, Key>
  readonly #assignment: GroupAssignment<Value, Key>
  readonly #started = deferred<void>()
  readonly #deletedTopics: DeletedTopics
  #generation: number | undefined

  constructor(options: GroupSourceOptions<Value, Key>) {
    const { port, group, topics, settings, hooks, table, host } = options
    this.#options = options
    this.#deletedTopics = new DeletedTopics({
      port,
      onMissing: (error) => host.retry(error),
      onDeleted: (error) => this.#failed(error),
    })
    this.#member = new GroupMember({
      port,
      group,
      instanceId: settings.instanceId,
      singleActive: settings.singleActive,
      topics,
      sessionTimeoutMs: settings.sessionTimeoutMs,
      owned: () => Array.from(table.values(), (stream) => [stream.topicId, stream.partition, stream.epoch]),
      onAssignment: (assignment, joined) => this.#assigned(assignment, joined),
      onSuspended: () => host.suspend(true),
      onRetry: (error) => host.retry(error),
      onFailed: (error) => this.#failed(error),
    })
    this.#committer = new Committer({
      port,
      group,
      memberId: this.#member.memberId,
      intervalMs: settings.commitIntervalMs,
      onFenced: (stream) => this.#assignment.lose(stream),
      onUnknownMember: () => this.#member.rejoin(),
      onRetry: (error) => host.retry(error),
      onFailed: (error) => this.#failed(error),
    })
    this.#assignment = new GroupAssignment({
      table,
      committer: this.#committer,
      from: settings.from,
      isRecreated: (topic) => this.#deletedTopics.has(topic),
      revokeGraceMs: settings.revokeGraceMs,
      newStream: (grant) => options.newStream(grant, this.#committer),
      locate: (starts) => host.locate(starts),
      activate: (streams) => this.#activate(streams),
      onAssigned: (partitions) => hooks.onAssigned?.(partitions),
      onRevoked: (partitions, reason) => hooks.onRevoked?.(partitions, reason),
      onChanged: () => this.#changed(),
      onFailed: (error) => this.#failed(error),
    })
  }

  get state(): MemberState {
    return this.#member.state
  }

  get memberId(): string {
    return this.#member.memberId
  }

  get commits(): number {
    return this.#committer.commits
  }

  get settled(): boolean {
    return this.#member.state === 'joined' && this.#assignment.settled
  }

  async start(): Promise<void> {
    this.#member.start()
    await this.#started.promise
  }

  acked(stream: PartitionStream<Value, Key>): void {
    this.#committer.changed(stream)
    if (stream.state !== 'active') this.#assignment.acked(stream)
  }

  moved(stream: PartitionStream<Value, Key>): void {
    this.#committer.changed(stream)
  }

  commit(): Promise<void> {
    return this.#committer.commit(this.#options.table.values())
  }

  /** The broker no longer knows the topic of a stream. */
  topicGone(stream: PartitionStream<Value, Key>): void {
    this.#deletedTopics.check(stream.topic, stream.topicId)
    this.#assignment.lose(stream)
  }

  async close(): Promise<void> {
    this.#deletedTopics.close()
    try {
      await this.#commitInTime()
    } finally {
      this.#committer.close()
      await this.#member.leave()
      this.#started.reject(new MillraceError('CLOSED', 'the consumer was closed'))
    }
  }

  #assigned(assignment: Assignment, joined: boolean): void {
    this.#checkTopics(assignment)
    const applied = this.#assignment.apply(assignment, joined)
    this.#options.host.suspend(false)
    void applied.then(this.#started.resolve)
  }

  /** A topic without partitions of this member may have been deleted; the consumer must report that. */
  #checkTopics({ generation, partitions }: Assignment): void {
    for (const { topic, topicId } of partitions) this.#deletedTopics.assigned(topic, topicId)
    // The generation changes when a topic is deleted or created.
    if (this.#generation !== undefined && generation !== this.#generation) {
      const assigned = new Set(partitions.map(({ topic }) => topic))
      for (const topic of this.#options.topics) if (!assigned.has(topic)) this.#deletedTopics.check(topic)
    }
    this.#generation = generation
  }

  #activate(streams: readonly PartitionStream<Value, Key>[]): void {
    this.#options.host.activate(streams)
    // Commit a first offset at once: a second search with "latest" would find a later offset.
    for (const stream of streams) {
      if (stream.acks !== undefined && stream.acks.committable !== stream.committed)
        this.#committer.changed(stream)
    }
  }

  #changed(): void {
    this.#options.host.changed()
    this.#member.ownedChanged()
  }

  #failed(error: unknown): void {
    this.#started.reject(error)
    this.#options.host.fail(error)
  }

  async #commitInTime(): Promise<void> {
    if (this.#member.state === 'ended') return
    const { closeTimeoutMs } = this.#options.settings
    const late = deferred<void>()
    const problem = `the consumer could not commit its acknowledged offsets within ${durationText(closeTimeoutMs)}`
    const timer = setTimeout(() => late.reject(new MillraceError('REQUEST_TIMEOUT', problem)), closeTimeoutMs)
    try {
      await Promise.race([this.commit(), late.promise])
    } catch (error) {
      // Another member has the partition: it will deliver the messages again.
      if (!isMillraceError(error, 'FENCED')) throw error
    } finally {
      clearTimeout(timer)
    }
  }
}
