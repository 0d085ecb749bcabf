import type { Committer } from './committer.js'
import { type Deferred, deferred } from './deferred.js'
import type { Assignment, Grant } from './group_member.js'
import type { StartPosition, TopicPartition } from './options.js'
import type { PartitionStream } from './partition_stream.js'
import type { StreamTable } from './stream_table.js'

export interface GroupAssignmentOptions<Value, Key> {
  readonly table: StreamTable<Value, Key>
  readonly committer: Committer<Value, Key>
  readonly from: StartPosition
  /** Whether the topic was created again while the consumer read it: all of the new one came after it had begun. */
  readonly isRecreated?: (topic: string) => boolean
  readonly revokeGraceMs: number
  readonly newStream: (grant: Grant) => PartitionStream<Value, Key>
  /** Finds and sets the positions of new streams. */
  readonly locate: (streams: ReadonlyMap<PartitionStream<Value, Key>, StartPosition>) => Promise<void>
  /** Streams with their positions known may deliver from now on. */
  readonly activate: (streams: readonly PartitionStream<Value, Key>[]) => void
  readonly onAssigned: (partitions: readonly TopicPartition[]) => void | Promise<void>
  readonly onRevoked: (
    partitions: readonly TopicPartition[],
    reason: { readonly lost: boolean },
  ) => void | Promise<void>
  /** The streams of the table are others than before. */
  readonly onChanged: () => void
  readonly onFailed: (error: unknown) => void
}

/** A stream to be started. */
interface Start<Value, Key> {
  readonly grant: Grant
  readonly stream: PartitionStream<Value, Key>
  /** The stream of the same partition in the membership from before. */
  readonly before: PartitionStream<Value, Key> | undefined
}

/** What an assignment changes. */
export interface AssignmentDiff<Value, Key> {
  readonly granted: readonly Grant[]
  /** To be given up in order. */
  readonly revoked: readonly PartitionStream<Value, Key>[]
  /** Gone already, or granted anew under another epoch. */
  readonly lost: readonly PartitionStream<Value, Key>[]
}

/**
 * Compares what a consumer has with what it should own. A stream that is being given up is left alone, also when the
 * broker grants it again meanwhile: the grant comes again once it has been given up.
 */
export function diffAssignment<Value, Key>(
  streams: Iterable<PartitionStream<Value, Key>>,
  grants: readonly Grant[],
  joined: boolean,
): AssignmentDiff<Value, Key> {
  const open = new Map(grants.map((grant) => [`${grant.topicId}/${grant.partition}`, grant]))
  const revoked: PartitionStream<Value, Key>[] = []
  const lost: PartitionStream<Value, Key>[] = []
  for (const stream of streams) {
    const key = `${stream.topicId}/${stream.partition}`
    const grant = open.get(key)
    if (grant?.epoch === stream.epoch) open.delete(key)
    else if (grant !== undefined || joined) lost.push(stream)
    else if (stream.state !== 'revoking') revoked.push(stream)
  }
  return { granted: [...open.values()], revoked, lost }
}

/**
 * Follows the assignments of a group: starts streams for partitions that come, gives up those that go without losing
 * acknowledgements, and drops those that are lost.
 */
export class GroupAssignment<Value, Key> {
  readonly #options: GroupAssignmentOptions<Value, Key>
  /** Streams that wait for the application to acknowledge what it holds. */
  readonly #draining = new Map<PartitionStream<Value, Key>, Deferred<void>>()
  /**
   * Streams that were dropped because a commit was refused, since the last assignment. The reason may be a new membership
   * whose assignment is still on its way.
   */
  #fenced: PartitionStream<Value, Key>[] = []
  /** Streams that were dropped while handlers ran, by topic and partition. */
  readonly #lingering = new Map<string, PartitionStream<Value, Key>>()
  /** Calls of the application's hooks, one after the other. */
  #hooks: Promise<void> = Promise.resolve()
  /** Streams that are between their grant and their activation, or being given up. */
  #unsettled = 0

  constructor(options: GroupAssignmentOptions<Value, Key>) {
    this.#options = options
  }

  /** Whether no partition is on its way in or out. */
  get settled(): boolean {
    return this.#unsettled === 0
  }

  /**
   * Brings the streams in line with an assignment; resolves when new ones are active. Never rejects: what goes wrong, as
   * with an assignment that makes no sense, ends the consumer.
   */
  async apply(assignment: Assignment, joined: boolean): Promise<void> {
    try {
      await this.#apply(assignment, joined)
    } catch (error) {
      this.#options.onFailed(error)
    }
  }

  async #apply(assignment: Assignment, joined: boolean): Promise<void> {
    const { table, onRevoked, onChanged, newStream } = this.#options
    const { granted, revoked, lost } = diffAssignment(table.values(), assignment.partitions, joined)
    if (granted.length + revoked.length + lost.length === 0) return
    const dropped = joined ? [...this.#fenced, ...lost] : []
    const resumable = new Map(dropped.map((stream) => [keyOf(stream), stream]))
    this.#fenced = []
    for (const stream of lost) this.drop(stream)
    this.#callHook(lost, (partitions) => onRevoked(partitions, { lost: true }))
    const starts = granted.map((grant) => {
      const stream = newStream(grant)
      table.add(stream)
      return { grant, stream, before: resumable.get(keyOf(grant)) }
    })
    onChanged()
    this.#unsettled++
    try {
      await Promise.all([this.#giveUp(revoked), this.#startInOrder(starts)])
    } finally {
      this.#unsettled--
      onChanged()
    }
  }

  /** The stream is not the consumer's any more. */
  drop(stream: PartitionStream<Value, Key>): void {
    stream.state = 'dropped'
    stream.clear()
    this.#options.table.delete(stream)
    this.#options.committer.forget(stream)
    if (stream.handlers !== undefined && !stream.drained) this.#lingering.set(keyOf(stream), stream)
    this.#release(stream)
  }

  /** The committer found that a partition is another's: it is dropped, and the application told. */
  lose(stream: PartitionStream<Value, Key>): void {
    if (stream.state === 'dropped') return
    this.drop(stream)
    this.#fenced.push(stream)
    this.#callHook([stream], (partitions) => this.#options.onRevoked(partitions, { lost: true }))
    this.#options.onChanged()
  }

  /** Something of a stream that goes, or is gone, was acknowledged, or one of its handlers has ended. */
  acked(stream: PartitionStream<Value, Key>): void {
    if (!stream.drained) return
    if (this.#lingering.get(keyOf(stream)) === stream) this.#lingering.delete(keyOf(stream))
    this.#release(stream)
  }

  /**
   * The committed offset; or, when the membership was lost and nobody has committed since, what was acknowledged before
   * and could not be committed any more.
   */
  #startOf(grant: Grant, before: PartitionStream<Value, Key> | undefined): StartPosition {
    const { committedOffset } = grant
    const acked = before?.acks?.committable
    if (before !== undefined && acked !== undefined && before.hasCommitted(committedOffset)) return acked
    const { from, isRecreated } = this.#options
    return committedOffset ?? (isRecreated?.(grant.topic) ? 'earliest' : from)
  }

  /** A partition that comes back starts when its handlers from before have ended, the others at once. */
  async #startInOrder(starts: readonly Start<Value, Key>[]): Promise<void> {
    const later = starts.filter(({ stream }) => this.#lingering.has(keyOf(stream)))
    const atOnce = starts.filter((start) => !later.includes(start))
    await Promise.all([this.#start(atOnce), ...later.map((start) => this.#startAfterHandlers(start))])
  }

  async #startAfterHandlers(start: Start<Value, Key>): Promise<void> {
    const before = this.#lingering.get(keyOf(start.stream))
    if (before !== undefined && !before.drained) await this.#whenReleased(before)
    if (start.stream.state === 'starting') await this.#start([start])
  }

  async #start(list: readonly Start<Value, Key>[]): Promise<void> {
    if (list.length === 0) return
    const starts = new Map(list.map(({ stream, grant, before }) => [stream, this.#startOf(grant, before)]))
    const streams = [...starts.keys()]
    await this.#options.locate(starts)
    await this.#callHook(streams, this.#options.onAssigned)
    this.#options.activate(streams.filter((stream) => stream.state === 'starting'))
  }

  async #giveUp(streams: readonly PartitionStream<Value, Key>[]): Promise<void> {
    if (streams.length === 0) return
    const graceEndMs = performance.now() + this.#options.revokeGraceMs
    for (const stream of streams) {
      stream.state = 'revoking'
      stream.clear()
    }
    await this.#callHook(streams, (partitions) => this.#options.onRevoked(partitions, { lost: false }))
    await Promise.all(streams.map((stream) => this.#giveUpOne(stream, graceEndMs)))
  }

  async #giveUpOne(stream: PartitionStream<Value, Key>, graceEndMs: number): Promise<void> {
    await this.#drained(stream, graceEndMs - performance.now())
    if (stream.state === 'dropped') return
    // Refused when the partition was taken away meanwhile: its next owner delivers the messages again.
    await this.#options.committer.commit([stream]).catch(noop)
    if (this.#options.table.get(stream.topicId, stream.partition) !== stream) return
    this.drop(stream)
    this.#options.onChanged()
  }

  async #drained(stream: PartitionStream<Value, Key>, waitMs: number): Promise<void> {
    // A handler that runs is waited for: the broker takes the partition away when that takes too long.
    const isBounded = stream.handlers === undefined
    if (stream.state === 'dropped' || stream.drained || (isBounded && waitMs <= 0)) return
    // Messages that have to be handled first may wait for nothing but this.
    if (!isBounded) this.#options.onChanged()
    const timer = isBounded ? setTimeout(() => this.#release(stream), waitMs) : undefined
    await this.#whenReleased(stream)
    clearTimeout(timer)
  }

  /** Resolves when the stream has nothing to wait for any more, or is dropped. */
  #whenReleased(stream: PartitionStream<Value, Key>): Promise<void> {
    const released = this.#draining.get(stream) ?? deferred<void>()
    this.#draining.set(stream, released)
    return released.promise
  }

  #release(stream: PartitionStream<Value, Key>): void {
    this.#draining.get(stream)?.resolve()
    this.#draining.delete(stream)
  }

  /** Runs a hook after those before it; what it throws ends the consumer. Never rejects. */
  #callHook(
    streams: readonly PartitionStream<Value, Key>[],
    hook: (partitions: readonly TopicPartition[]) => void | Promise<void>,
  ): Promise<void> {
    if (streams.length === 0) return this.#hooks
    const partitions = streams.map(({ topic, partition }) => ({ topic, partition }))
    this.#hooks = this.#hooks.then(() => hook(partitions)).catch(this.#options.onFailed)
    return this.#hooks
  }
}

function keyOf({ topicId, partition }: { readonly topicId: number; readonly partition: number }): string {
  return `${topicId}/${partition}`
}

function noop(): void {}
