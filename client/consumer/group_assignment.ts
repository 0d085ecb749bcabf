import type { Committer } from './committer.js'
import { type Deferred, deferred } from './deferred.js'
import type { Assignment, Grant } from './group_member.js'
import type { StartPosition, TopicPartition } from './options.js'
import type { PartitionStream, StreamState } from './partition_stream.js'
import type { StreamTable } from './stream_table.js'

export interface GroupAssignmentOptions<Value, Key> {
  readonly table: StreamTable<Value, Key>
  readonly committer: Committer<Value, Key>
  readonly from: StartPosition
  /** Whether the topic was created again after the consumer had started: then it reads the new topic from its start. */
  readonly isRecreated?: (topic: string) => boolean
  readonly revokeGraceMs: number
  readonly newStream: (grant: Grant) => PartitionStream<Value, Key>
  /** Finds and sets the positions of new streams. */
  readonly locate: (streams: ReadonlyMap<PartitionStream<Value, Key>, StartPosition>) => Promise<void>
  /** Streams with known positions may deliver from now on. */
  readonly activate: (streams: readonly PartitionStream<Value, Key>[]) => void
  readonly onAssigned: (partitions: readonly TopicPartition[]) => void | Promise<void>
  readonly onRevoked: (
    partitions: readonly TopicPartition[],
    reason: { readonly lost: boolean },
  ) => void | Promise<void>
  /** The table of streams has changed. */
  readonly onChanged: () => void
  readonly onFailed: (error: unknown) => void
}

/** A stream to be started. */
interface Start<Value, Key> {
  readonly grant: Grant
  readonly stream: PartitionStream<Value, Key>
  /** The stream of the same partition in the last membership. */
  readonly before: PartitionStream<Value, Key> | undefined
}

/** The changes of an assignment. */
export interface AssignmentDiff<Value, Key> {
  readonly granted: readonly Grant[]
  /** Partitions to give up in order. */
  readonly revoked: readonly PartitionStream<Value, Key>[]
  /** Partitions that are already lost, or granted again under another epoch. */
  readonly lost: readonly PartitionStream<Value, Key>[]
}

/**
 * Compares the streams of a consumer with its assignment. A stream that is being given up is not changed, even if the
 * broker grants it again during the revocation: the broker repeats the grant after it.
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
 * Applies the assignments of a group: starts streams for new partitions, gives up revoked ones without losing
 * acknowledgements, and drops lost ones.
 */
export class GroupAssignment<Value, Key> {
  readonly #options: GroupAssignmentOptions<Value, Key>
  /** Streams that wait for acknowledgements of the application. */
  readonly #draining = new Map<PartitionStream<Value, Key>, Deferred<void>>()
  /**
   * Streams that were dropped since the last assignment, because the broker refused a commit. The reason may be a new
   * membership whose assignment has not arrived yet.
   */
  #fenced: PartitionStream<Value, Key>[] = []
  /** Streams that were dropped while handlers ran, by topic and partition. */
  readonly #lingering = new Map<string, PartitionStream<Value, Key>>()
  /** Streams that the application knows: `onAssigned` is called for them, and `onRevoked` is not. */
  readonly #announced = new Set<PartitionStream<Value, Key>>()
  /** Sequential calls of the application's hooks. */
  #hooks: Promise<void> = Promise.resolve()
  /** Number of assignments whose streams are still starting or being given up. */
  #unsettled = 0

  constructor(options: GroupAssignmentOptions<Value, Key>) {
    this.#options = options
  }

  /** Whether no partition is starting or being given up. */
  get settled(): boolean {
    return this.#unsettled === 0
  }

  /**
   * Applies an assignment to the streams; resolves when new streams are active. Never rejects: an error, such as an
   * invalid assignment, ends the consumer.
   */
  async apply(assignment: Assignment, joined: boolean): Promise<void> {
    try {
      await this.#apply(assignment, joined)
    } catch (error) {
      this.#options.onFailed(error)
    }
  }

  async #apply(assignment: Assignment, joined: boolean): Promise<void> {
    const { table, onChanged, newStream } = this.#options
    const { granted, revoked, lost } = diffAssignment(table.values(), assignment.partitions, joined)
    if (granted.length + revoked.length + lost.length === 0) return
    const dropped = joined ? [...this.#fenced, ...lost] : []
    const resumable = new Map(dropped.map((stream) => [keyOf(stream), stream]))
    this.#fenced = []
    for (const stream of lost) this.drop(stream)
    this.#revoke(lost, true)
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

  /** The stream no longer belongs to the consumer. */
  drop(stream: PartitionStream<Value, Key>): void {
    stream.state = 'dropped'
    stream.clear()
    this.#options.table.delete(stream)
    this.#options.committer.forget(stream)
    if (stream.handlers !== undefined && !stream.drained) this.#lingering.set(keyOf(stream), stream)
    this.#release(stream)
  }

  /** The committer found that another member has a partition: drops it and tells the application. */
  lose(stream: PartitionStream<Value, Key>): void {
    if (stream.state === 'dropped') return
    this.drop(stream)
    this.#fenced.push(stream)
    this.#revoke([stream], true)
    this.#options.onChanged()
  }

  /** The application acknowledged messages of a revoked or dropped stream, or one of its handlers has ended. */
  acked(stream: PartitionStream<Value, Key>): void {
    if (!stream.drained) return
    if (this.#lingering.get(keyOf(stream)) === stream) this.#lingering.delete(keyOf(stream))
    this.#release(stream)
  }

  /**
   * Returns the committed offset. If the membership was lost and nobody has committed since, returns the offset that
   * was acknowledged before but could not be committed.
   */
  #startOf(grant: Grant, before: PartitionStream<Value, Key> | undefined): StartPosition {
    const { committedOffset } = grant
    const acked = before?.acks?.committable
    if (before !== undefined && acked !== undefined && before.hasCommitted(committedOffset)) return acked
    const { from, isRecreated } = this.#options
    return committedOffset ?? (isRecreated?.(grant.topic) ? 'earliest' : from)
  }

  /** A partition that returns starts when its earlier handlers have ended, the others at once. */
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
    // The search takes time: partitions that the consumer has lost meanwhile were never assigned for the application.
    const found = streams.filter(isStarting)
    for (const stream of found) this.#announced.add(stream)
    await this.#callHook(found, this.#options.onAssigned)
    this.#options.activate(found.filter(isStarting))
  }

  async #giveUp(streams: readonly PartitionStream<Value, Key>[]): Promise<void> {
    if (streams.length === 0) return
    const graceEndMs = performance.now() + this.#options.revokeGraceMs
    for (const stream of streams) {
      stream.state = 'revoking'
      stream.clear()
    }
    await this.#revoke(streams, false)
    await Promise.all(streams.map((stream) => this.#giveUpOne(stream, graceEndMs)))
  }

  async #giveUpOne(stream: PartitionStream<Value, Key>, graceEndMs: number): Promise<void> {
    await this.#drained(stream, graceEndMs - performance.now())
    if (stream.state === 'dropped') return
    // The commit fails if the broker has already revoked the partition: its next owner delivers the messages again.
    await this.#options.committer.commit([stream]).catch(noop)
    if (this.#options.table.get(stream.topicId, stream.partition) !== stream) return
    this.drop(stream)
    this.#options.onChanged()
  }

  async #drained(stream: PartitionStream<Value, Key>, waitMs: number): Promise<void> {
    // The wait for running handlers has no limit here: the broker revokes the partition if it takes too long.
    const isBounded = stream.handlers === undefined
    if (stream.state === 'dropped' || stream.drained || (isBounded && waitMs <= 0)) return
    // This change may be all that the remaining messages wait for.
    if (!isBounded) this.#options.onChanged()
    const timer = isBounded ? setTimeout(() => this.#release(stream), waitMs) : undefined
    await this.#whenReleased(stream)
    clearTimeout(timer)
  }

  /** Resolves when the stream has nothing left to wait for, or is dropped. */
  #whenReleased(stream: PartitionStream<Value, Key>): Promise<void> {
    const released = this.#draining.get(stream) ?? deferred<void>()
    this.#draining.set(stream, released)
    return released.promise
  }

  #release(stream: PartitionStream<Value, Key>): void {
    this.#draining.get(stream)?.resolve()
    this.#draining.delete(stream)
  }

  /** Calls `onRevoked` for those of the streams that the application knows. */
  #revoke(streams: readonly PartitionStream<Value, Key>[], lost: boolean): Promise<void> {
    const known = streams.filter((stream) => this.#announced.delete(stream))
    return this.#callHook(known, (partitions) => this.#options.onRevoked(partitions, { lost }))
  }

  /** Runs a hook after the earlier ones; its error ends the consumer. Never rejects. */
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

function isStarting({ state }: { readonly state: StreamState }): boolean {
  return state === 'starting'
}

function noop(): void {}
