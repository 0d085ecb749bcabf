import type { CommitCall, Delivered, HistoryEvent, HistoryRecord, PartitionName } from './history.js'
import type { Completed, GroupPartition, PartitionIndex, Publish } from './history_index.js'
import type { MutableHistory } from './mutable_history.js'

/** Adds a violation to a history of `modelHistory`. For tests of the checker. */
export interface Mutation {
  readonly name: string
  /** A check that must find it. */
  readonly check: string
  /** The broken history, or undefined if this one has no place for it. */
  apply(history: MutableHistory): HistoryEvent[] | undefined
}

/** At least one for each check. */
export const mutations: readonly Mutation[] = [
  {
    name: 'an acknowledged value is in no drain',
    check: 'lost-write',
    apply(history) {
      const publish = history.acked()
      return publish && dropFromDrains(history, publish.call.value)
    },
  },
  {
    name: 'one value less in the drains',
    check: 'drain-incomplete',
    apply(history) {
      const publish = history.pick(history.index.partitions.flatMap(({ log }) => log))
      return publish && dropFromDrains(history, publish.call.value)
    },
  },
  {
    name: 'the tail is cut off both drains',
    check: 'lost-write',
    apply(history) {
      const cut = history.pick(history.index.partitions.filter(({ log }) => log.at(-1)?.outcome === 'ok'))
      const end = (cut?.log.length ?? 0) - 1
      return cut && cutDrains(history, cut, [1, 2], end)
    },
  },
  {
    name: 'the tail is cut off the second drain',
    check: 'truncation',
    apply(history) {
      const cut = history.pick(
        history.index.partitions.filter(({ drains }) => (drains.get(1)?.endOffset ?? 0) > 0),
      )
      const end = (cut?.drains.get(1)?.endOffset ?? 0) - 1
      return cut && cutDrains(history, cut, [2], end)
    },
  },
  {
    name: 'corrupt offsets',
    check: 'corrupt-offsets',
    apply: (history) =>
      history.changeDrains((line) => ({ ...line, corrupt: [[line.startOffset, line.startOffset + 1]] })),
  },
  {
    name: 'a value that nobody published',
    check: 'phantom',
    apply: (history) => appendToDrains(history, history.rng.pick(history.index.partitions), 'nobody'),
  },
  {
    name: 'a value twice',
    check: 'one-value-at-two-offsets',
    apply(history) {
      const publish = history.pick(history.index.partitions.flatMap(({ log }) => log))
      return (
        publish && appendToDrains(history, history.rng.pick(history.index.partitions), publish.call.value)
      )
    },
  },
  {
    name: 'an acknowledged publish had failed',
    check: 'failed-write-read',
    apply(history) {
      const publish = history.acked()
      return publish && history.changeOutcome(publish, { type: 'fail' })
    },
  },
  {
    name: 'another offset is acknowledged',
    check: 'acked-offset-differs',
    apply(history) {
      const publish = history.acked()
      return (
        publish &&
        history.changeOutcome(publish, { offset: (publish.offset ?? 0) + history.rng.int(1, 1_000) })
      )
    },
  },
  {
    name: 'the offset of another is acknowledged',
    check: 'two-values-at-one-offset',
    apply(history) {
      const [, b] = history.pick(neighbours(history, () => true)) ?? []
      return b && history.changeOutcome(b, { offset: (b.offset ?? 0) - 1 })
    },
  },
  {
    name: 'two values are out of real-time order',
    check: 'real-time-order',
    apply: (history) =>
      exchange(history, history.pick(neighbours(history, (a, b) => a.completedAt < b.invokedAt))),
  },
  {
    name: 'two values of one publisher are exchanged',
    check: 'publisher-order',
    apply: (history) =>
      exchange(history, history.pick(neighbours(history, (a, b) => a.process === b.process))),
  },
  {
    name: 'a value of unknown outcome is delivered and gone',
    check: 'read-lost',
    apply: (history) =>
      history.insert([
        {
          type: 'invoke',
          at: 0,
          process: 'x',
          id: 1,
          call: { op: 'publish', ...inTopic, value: 'gone', lane: 'a' },
        },
        {
          type: 'delivered',
          at: 0,
          process: 'r',
          group: null,
          ...inTopic,
          partition: 0,
          records: [[1e6, 'gone']],
        },
      ]),
  },
  {
    name: 'a message is left out of a delivery',
    check: 'poll-skip',
    apply(history) {
      const line = history.pick(deliveries(history, 3))
      return line && replaceRecords(history, line, line.records.toSpliced(1, 1))
    },
  },
  {
    name: 'a message is delivered twice',
    check: 'poll-back',
    apply(history) {
      const line = history.pick(deliveries(history, 1))
      return line && replaceRecords(history, line, [...line.records, ...line.records.slice(-1)])
    },
  },
  {
    name: 'a new owner begins at the end',
    check: 'assignment-skip',
    apply(history) {
      const view = history.pick(
        history.index.groupPartitions.filter(({ partition, processed }) => {
          return (
            new Set(processed.flatMap(({ offsets }) => offsets)).size <
            (partition.drains.get(1)?.records.length ?? 0) - 1
          )
        }),
      )
      const last = view?.partition.drains.get(1)?.records.at(-1)
      return view && last && history.insert(newOwner(view, last))
    },
  },
  {
    name: 'a new owner receives committed messages',
    check: 'committed-redelivered',
    apply(history) {
      const commit = history.pick(okCommits(history).filter(({ call }) => call.offset > 0))
      const offset = (commit?.call.offset ?? 0) - 1
      const value = commit?.view.partition.drains.get(2)?.records[offset]?.[1]
      return commit && value !== undefined
        ? history.insert(newOwner(commit.view, [offset, value]))
        : undefined
    },
  },
  {
    name: 'a commit is accepted after a reassignment',
    check: 'stale-commit',
    apply(history) {
      const commit = history.pick(okCommits(history))
      if (commit === undefined) return undefined
      const { process, call, view } = commit
      return history.insert([
        ...newOwner(view).slice(0, 1),
        { type: 'invoke', at: 0, process, id: 1e6, call },
        { type: 'ok', at: 0, process, id: 1e6 },
      ])
    },
  },
  {
    name: 'another process has the same epoch',
    check: 'double-owner',
    apply(history) {
      const assigned = history.pick(history.events.filter(({ type }) => type === 'assigned'))
      return assigned && history.insert([{ ...assigned, process: 'twin' }])
    },
  },
  {
    name: 'a committed offset is gone',
    check: 'committed-goes-back',
    apply(history) {
      const commit = history.pick(okCommits(history))
      if (commit === undefined) return undefined
      const { group, topic, partition } = commit.call
      return history.insert([
        {
          type: 'invoke',
          at: 0,
          process: 'admin',
          id: 1e6,
          call: { op: 'committed', group, topic, partition },
        },
        { type: 'ok', at: 0, process: 'admin', id: 1e6, offset: -1 },
      ])
    },
  },
  {
    name: 'nobody processed a committed message',
    check: 'committed-unprocessed',
    apply(history) {
      const commit = history.pick(okCommits(history).filter(({ call }) => call.offset > 0))
      const offset = history.rng.int(0, (commit?.call.offset ?? 1) - 1)
      return (
        commit &&
        history.events.map((event) => {
          if (event.type !== 'processed' || event.partition !== commit.call.partition) return event
          return { ...event, offsets: event.offsets.filter((candidate) => candidate !== offset) }
        })
      )
    },
  },
  {
    name: 'nobody received a committed message',
    check: 'group-missed',
    apply(history) {
      const view = history.pick(
        history.index.groupPartitions.filter(({ reads }) => {
          return (reads.findLast(({ outcome }) => outcome === 'ok')?.offset ?? -1) > 0
        }),
      )
      return (
        view &&
        history.changeRecords(({ 0: offset, 1: value }, { type, partition }) => {
          const hidden = type === 'delivered' && partition === view.partition.partition && offset === 0
          return hidden ? undefined : [offset, value]
        })
      )
    },
  },
  {
    name: 'nothing succeeds after healing',
    check: 'no-recovery',
    apply: (history) =>
      history.insert([
        { type: 'fault', at: 0, process: 'faults', phase: 'heal', name: 'kill' },
        {
          type: 'invoke',
          at: 0,
          process: 'x',
          id: 1,
          call: { op: 'publish', ...inTopic, value: 'no', lane: 'a' },
        },
        { type: 'info', at: 0, process: 'x', id: 1 },
      ]),
  },
]

const inTopic = { topic: 't' } as const

function dropFromDrains(history: MutableHistory, value: string): HistoryEvent[] {
  return history.changeRecords((record, { type }) =>
    type === 'drained' && record[1] === value ? undefined : record,
  )
}

function cutDrains(
  history: MutableHistory,
  { partition }: PartitionName,
  drains: readonly number[],
  endOffset: number,
): HistoryEvent[] {
  return history.changeDrains((line) => {
    if (line.partition !== partition || !drains.includes(line.drain)) return line
    return { ...line, endOffset, records: line.records.filter(([offset]) => offset < endOffset) }
  })
}

/** Adds a record at the end of the second drain of a partition, as a line of its own. */
function appendToDrains(
  history: MutableHistory,
  { partition, drains }: PartitionIndex,
  value: string,
): HistoryEvent[] {
  return history.events.flatMap((event, i) => {
    const next = history.events.slice(i + 1).find(({ type }) => type === 'drained')
    if (event.type !== 'drained' || event.partition !== partition) return [event]
    const goesOn = next?.type === 'drained' && next.partition === partition && next.drain === event.drain
    const offset = drains.get(2)?.endOffset ?? 0
    if (goesOn || event.drain !== 2) return [event]
    return [event, { ...event, endOffset: offset + 1, records: [[offset, value]] }]
  })
}

/** Adjacent publishes in a log, both acknowledged with their offsets, that satisfy the condition. */
function neighbours(
  { index }: MutableHistory,
  accept: (a: Publish, b: Publish) => boolean,
): (readonly [Publish, Publish])[] {
  return index.partitions.flatMap(({ log }) =>
    log.slice(1).flatMap((b, i) => {
      const a = log[i]
      const placed =
        a?.outcome === 'ok' && b.outcome === 'ok' && (a.offset ?? -1) >= 0 && (b.offset ?? -1) >= 0
      return a !== undefined && placed && accept(a, b) ? [[a, b] as const] : []
    }),
  )
}

/** Swaps two values everywhere: in drains, deliveries and acknowledgements. */
function exchange(
  history: MutableHistory,
  pair: readonly [Publish, Publish] | undefined,
): HistoryEvent[] | undefined {
  if (pair === undefined) return undefined
  const [a, b] = pair
  const other = new Map([
    [a.call.value, b.call.value],
    [b.call.value, a.call.value],
  ])
  const offsets = new Map([
    [history.idOf(a.call), b.offset ?? 0],
    [history.idOf(b.call), a.offset ?? 0],
  ])
  return history
    .changeRecords(([offset, value]) => [offset, other.get(value) ?? value])
    .map((event) => {
      const offset = event.type === 'ok' ? offsets.get(event.id) : undefined
      return event.type !== 'ok' || offset === undefined ? event : { ...event, offset }
    })
}

interface OkCommit extends Completed<CommitCall> {
  readonly view: GroupPartition
}

function okCommits({ index }: MutableHistory): OkCommit[] {
  return index.groupPartitions.flatMap((view) =>
    view.commits.filter(({ outcome }) => outcome === 'ok').map((commit) => ({ ...commit, view })),
  )
}

/** A new owner that can get one message. */
function newOwner(
  { group, partition: { topic, partition } }: GroupPartition,
  record?: HistoryRecord,
): HistoryEvent[] {
  const name = { topic, partition }
  const at = 0
  const process = 'new'
  return [
    { type: 'assigned', at, process, group, partitions: [name], epoch: 1e9 },
    { type: 'delivered', at, process, group, ...name, records: record === undefined ? [] : [record] },
  ]
}

/** Deliveries of at least this many messages. */
function deliveries({ events }: MutableHistory, count: number): Delivered[] {
  return events.filter((event) => event.type === 'delivered').filter(({ records }) => records.length >= count)
}

function replaceRecords(
  history: MutableHistory,
  line: Delivered,
  records: readonly HistoryRecord[],
): HistoryEvent[] {
  return history.events.map((event) => (event === line ? { ...line, records } : event))
}
