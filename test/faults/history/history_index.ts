import type {
  Assigned,
  Call,
  CommitCall,
  CommittedCall,
  Delivered,
  Drained,
  FaultMark,
  HistoryEvent,
  HistoryRecord,
  Outcome,
  PartitionName,
  Processed,
  PublishCall,
  Revoked,
} from './history.js'

/**
 * The data for the checks, collected in one pass. Everything is in the order of the history unless stated otherwise.
 */
export interface HistoryIndex {
  /** In the order of their invocations. */
  readonly publishes: readonly Publish[]
  readonly publishOf: ReadonlyMap<string, Publish>
  readonly partitions: readonly PartitionIndex[]
  readonly groupPartitions: readonly GroupPartition[]
  readonly faults: readonly FaultMark[]
  /** Numbers of the drains, ascending; the last one is final. */
  readonly drains: readonly number[]
  readonly counts: HistoryCounts
}

/** A call and its outcome. Times are microseconds. */
export interface Completed<C extends Call = Call> {
  readonly call: C
  readonly process: string
  readonly invokedAt: number
  /** Infinity unless it is `ok` or `fail`: an unknown call may still take effect. */
  readonly completedAt: number
  /** Time of its outcome, `info` included; undefined without one. */
  readonly notedAt: number | undefined
  readonly outcome: 'ok' | 'fail' | 'info'
  /** The error of the outcome. */
  readonly partition: number | undefined
  readonly offset: number | undefined
}

/** A publish, and the place of its value. */
export interface Publish extends Completed<PublishCall> {
  /** Place from the final drain, else an earlier one, else a delivery, else the acknowledgement. */
  readonly place: Place | undefined
  /** Bit n is set if drain n holds its value anywhere. */
  readonly inDrains: number
}

export interface Place {
  readonly partition: PartitionIndex
  readonly offset: number
}

/** One partition and all its reads. */
export interface PartitionIndex extends PartitionName {
  /** Like `orders/0`. */
  readonly name: string
  /** By number. */
  readonly drains: ReadonlyMap<number, Drain>
  /** Publishes acknowledged with this partition. */
  readonly acked: readonly Publish[]
  readonly deliveries: readonly Delivered[]
  /** Publishes in this partition, ascending by offset. */
  readonly log: readonly Publish[]
}

/** One drain of one partition. */
export interface Drain {
  readonly number: number
  /** Time of its first line. */
  readonly firstAt: number
  /** At its beginning. */
  readonly startOffset: number
  /** At its end. */
  readonly endOffset: number
  /** Ascending by offset. */
  readonly records: readonly HistoryRecord[]
  /** The first two records that are not in ascending order. */
  readonly disorder: readonly [HistoryRecord, HistoryRecord] | undefined
  readonly corrupt: readonly (readonly [from: number, to: number])[]
}

/** One partition from the view of one group; without a group, of its plain readers. */
export interface GroupPartition {
  readonly group: string | null
  readonly partition: PartitionIndex
  readonly timeline: readonly (Assigned | Revoked | Delivered)[]
  readonly processed: readonly Processed[]
  /** In the order of their invocations. */
  readonly commits: readonly Completed<CommitCall>[]
  /** In the order of their invocations. */
  readonly reads: readonly Completed<CommittedCall>[]
}

export interface HistoryCounts {
  readonly publish: OutcomeCounts
  readonly commit: OutcomeCounts
  readonly committed: OutcomeCounts
  /** Lines of delivered messages. */
  polls: number
  recordsDelivered: number
  recordsProcessed: number
  recordsDrained: number
  /** Lines of assignments. */
  assignments: number
}

export interface OutcomeCounts {
  ok: number
  fail: number
  info: number
}

/** Whether the drain could not read this offset. */
export function isCorrupt(drain: Drain, offset: number): boolean {
  return drain.corrupt.some(([from, to]) => offset >= from && offset < to)
}

/** The final drain, or undefined if the partition is not in it. */
export function finalDrain(index: HistoryIndex, partition: PartitionIndex): Drain | undefined {
  return partition.drains.get(index.drains.at(-1) ?? 0)
}

/**
 * Indexes a history, ordered by time as from `readHistories`, for the checks. Time and memory are proportional to its
 * size.
 * @throws Error if it is no valid history: not ordered, an unknown kind of line, a value published twice, a second
 * outcome
 */
export function indexHistory(events: readonly HistoryEvent[]): HistoryIndex {
  const builder = new IndexBuilder()
  let last = Number.NEGATIVE_INFINITY
  for (const event of events) {
    if (!(event.at >= last)) throw new Error(`the history is not ordered by time at ${JSON.stringify(event)}`)
    last = event.at
    builder.add(event)
  }
  return builder.build()
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type OpenCall = Mutable<Completed>
type OpenPublish = Mutable<Publish>

interface OpenDrain extends Mutable<Omit<Drain, 'records' | 'corrupt'>> {
  records: HistoryRecord[]
  readonly corrupt: (readonly [number, number])[]
}

interface OpenPartition extends PartitionIndex {
  readonly drains: Map<number, OpenDrain>
  readonly acked: Publish[]
  readonly deliveries: Delivered[]
  readonly log: Publish[]
  readonly groups: Map<string | null, OpenGroupPartition>
}

interface OpenGroupPartition extends GroupPartition {
  readonly timeline: (Assigned | Revoked | Delivered)[]
  readonly processed: Processed[]
  readonly commits: Completed<CommitCall>[]
  readonly reads: Completed<CommittedCall>[]
}

const drainNumberMax = 30

class IndexBuilder {
  readonly #publishes: OpenPublish[] = []
  readonly #publishOf = new Map<string, OpenPublish>()
  readonly #partitions = new Map<string, OpenPartition>()
  readonly #groupPartitions: OpenGroupPartition[] = []
  readonly #faults: FaultMark[] = []
  readonly #drains = new Set<number>()
  readonly #calls: OpenCall[] = []
  /** Calls without an outcome, by process and id. */
  readonly #pending = new Map<string, Map<number, OpenCall>>()
  readonly #counts: HistoryCounts = {
    publish: { ok: 0, fail: 0, info: 0 },
    commit: { ok: 0, fail: 0, info: 0 },
    committed: { ok: 0, fail: 0, info: 0 },
    polls: 0,
    recordsDelivered: 0,
    recordsProcessed: 0,
    recordsDrained: 0,
    assignments: 0,
  }

  add(event: HistoryEvent): void {
    switch (event.type) {
      case 'invoke':
        this.#invoke(event.process, event.id, event.call, event.at)
        return
      case 'ok':
      case 'fail':
      case 'info':
        this.#complete(event)
        return
      case 'assigned':
      case 'revoked':
        if (event.type === 'assigned') this.#counts.assignments++
        for (const name of event.partitions) this.#group(event.group, name).timeline.push(event)
        return
      case 'delivered':
        this.#counts.polls++
        this.#counts.recordsDelivered += event.records.length
        this.#partition(event).deliveries.push(event)
        this.#group(event.group, event).timeline.push(event)
        return
      case 'processed':
        this.#counts.recordsProcessed += event.offsets.length
        this.#group(event.group, event).processed.push(event)
        return
      case 'drained':
        this.#drained(event)
        return
      case 'fault':
        this.#faults.push(event)
        return
      default:
        throw new Error(`not an event of a history: ${JSON.stringify(event)}`)
    }
  }

  build(): HistoryIndex {
    for (const { call, outcome } of this.#calls) this.#counts[call.op][outcome]++
    for (const publish of this.#publishes) this.#noteAck(publish)
    for (const partition of this.#partitions.values())
      for (const drain of partition.drains.values()) sort(drain)
    this.#place()
    return {
      publishes: this.#publishes,
      publishOf: this.#publishOf,
      partitions: [...this.#partitions.values()],
      groupPartitions: this.#groupPartitions,
      faults: this.#faults,
      drains: [...this.#drains].sort((a, b) => a - b),
      counts: this.#counts,
    }
  }

  #invoke(process: string, id: number, call: Call, at: number): void {
    const open: OpenCall = {
      call,
      process,
      invokedAt: at,
      completedAt: Number.POSITIVE_INFINITY,
      notedAt: undefined,
      outcome: 'info',
      partition: undefined,
      offset: undefined,
    }
    let pending = this.#pending.get(process)
    if (pending === undefined) {
      pending = new Map()
      this.#pending.set(process, pending)
    }
    if (pending.has(id)) throw new Error(`${process} invoked call ${id} twice, again at ${at} us`)
    pending.set(id, open)
    this.#calls.push(open)
    if (call.op === 'publish') this.#publish(open, call)
    else if (call.op === 'commit') this.#group(call.group, call).commits.push(open as Completed<CommitCall>)
    else if (call.op === 'committed')
      this.#group(call.group, call).reads.push(open as Completed<CommittedCall>)
    else throw new Error(`not a call of a history: ${JSON.stringify(call)}`)
  }

  #publish(open: OpenCall, call: PublishCall): void {
    const publish = Object.assign(open, { call, place: undefined, inDrains: 0 })
    const other = this.#publishOf.get(call.value)
    if (other !== undefined) {
      const first = `${other.process} at ${other.invokedAt} us`
      throw new Error(
        `values must be unique: '${call.value}' was published by ${first} and by ${open.process} at ${open.invokedAt} us`,
      )
    }
    this.#publishOf.set(call.value, publish)
    this.#publishes.push(publish)
  }

  #complete(event: Outcome): void {
    const pending = this.#pending.get(event.process)
    const open = pending?.get(event.id)
    if (open === undefined) {
      throw new Error(`${event.process} has no call ${event.id} that waits for its outcome at ${event.at} us`)
    }
    pending?.delete(event.id)
    open.outcome = event.type
    open.notedAt = event.at
    if (event.type !== 'info') open.completedAt = event.at
    open.partition = event.partition
    open.offset = event.offset
  }

  #drained(event: Drained): void {
    if (!(event.drain >= 1 && event.drain <= drainNumberMax)) {
      throw new Error(`drains are numbered from 1 to ${drainNumberMax}: ${event.drain} at ${event.at} us`)
    }
    this.#drains.add(event.drain)
    this.#counts.recordsDrained += event.records.length
    const { drains } = this.#partition(event)
    let drain = drains.get(event.drain)
    if (drain === undefined) {
      const { at: firstAt, drain: number, startOffset, endOffset } = event
      drain = { number, firstAt, startOffset, endOffset, records: [], disorder: undefined, corrupt: [] }
      drains.set(number, drain)
    }
    drain.endOffset = event.endOffset
    for (const record of event.records) drain.records.push(record)
    for (const range of event.corrupt ?? []) drain.corrupt.push(range)
  }

  #noteAck(publish: Publish): void {
    if (publish.outcome !== 'ok' || publish.partition === undefined) return
    this.#partition({ topic: publish.call.topic, partition: publish.partition }).acked.push(publish)
  }

  /** Gives publishes their places, from the most reliable source to the least reliable. */
  #place(): void {
    const partitions = [...this.#partitions.values()]
    const numbers = [...this.#drains].sort((a, b) => b - a)
    for (const number of numbers) {
      for (const partition of partitions) {
        for (const [offset, value] of partition.drains.get(number)?.records ?? []) {
          const publish = this.#placeValue(partition, offset, value)
          if (publish !== undefined) publish.inDrains |= 1 << number
        }
      }
    }
    for (const partition of partitions) {
      for (const { records } of partition.deliveries) {
        for (const [offset, value] of records) this.#placeValue(partition, offset, value)
      }
    }
    for (const partition of partitions) {
      for (const { offset, call } of partition.acked) {
        if (offset !== undefined && offset >= 0) this.#placeValue(partition, offset, call.value)
      }
    }
    for (const { log } of partitions) log.sort((a, b) => (a.place?.offset ?? 0) - (b.place?.offset ?? 0))
  }

  #placeValue(partition: OpenPartition, offset: number, value: string): OpenPublish | undefined {
    const publish = this.#publishOf.get(value)
    if (publish === undefined || publish.place !== undefined) return publish
    publish.place = { partition, offset }
    partition.log.push(publish)
    return publish
  }

  #partition({ topic, partition }: PartitionName): OpenPartition {
    const name = `${topic}/${partition}`
    let found = this.#partitions.get(name)
    if (found === undefined) {
      found = {
        name,
        topic,
        partition,
        drains: new Map(),
        acked: [],
        deliveries: [],
        log: [],
        groups: new Map(),
      }
      this.#partitions.set(name, found)
    }
    return found
  }

  #group(group: string | null, name: PartitionName): OpenGroupPartition {
    const partition = this.#partition(name)
    let found = partition.groups.get(group)
    if (found === undefined) {
      found = { group, partition, timeline: [], processed: [], commits: [], reads: [] }
      partition.groups.set(group, found)
      this.#groupPartitions.push(found)
    }
    return found
  }
}

function sort(drain: OpenDrain): void {
  for (let i = 1; i < drain.records.length; i++) {
    const [before, record] = [drain.records[i - 1], drain.records[i]]
    if (before === undefined || record === undefined || record[0] > before[0]) continue
    drain.disorder = [before, record]
    drain.records = drain.records.toSorted((a, b) => a[0] - b[0])
    return
  }
}
