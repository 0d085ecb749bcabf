import type { Check } from '../check.js'
import { drainText, publishText } from '../evidence.js'
import type { HistoryRecord } from '../history.js'
import { type Drain, isCorrupt, type PartitionIndex, type Publish } from '../history_index.js'

export const drainIncomplete: Check = {
  name: 'drain-incomplete',
  title: 'a drain has gaps or repeats, or lacks a partition',
  run({ index, report }) {
    for (const partition of index.partitions) {
      for (const number of index.drains) {
        const drain = partition.drains.get(number)
        if (drain !== undefined)
          for (const problem of holes(drain)) report(() => `${partition.name} ${problem}`)
        else if (isInUse(partition)) report(() => `${partition.name} is in use, and not in drain ${number}`)
      }
    }
  },
}

function isInUse({ acked, deliveries, drains }: PartitionIndex): boolean {
  return acked.length > 0 || deliveries.length > 0 || drains.size > 0
}

/** Errors in the offsets of a single drain. */
function* holes(drain: Drain): Generator<string> {
  if (drain.disorder !== undefined) {
    const [[before], [offset, value]] = drain.disorder
    yield `${drainText(drain)} read '${value}' at offset ${offset} after offset ${before}`
  }
  let next = drain.startOffset
  for (const [offset, value] of drain.records) {
    const hole = uncovered(drain, next, Math.min(offset, drain.endOffset))
    if (hole !== undefined) yield `${drainText(drain)} has nothing at ${hole}, before '${value}' at ${offset}`
    if (offset < drain.startOffset || offset >= drain.endOffset) {
      yield `${drainText(drain)} has '${value}' at ${offset}, outside of its offsets`
    }
    next = Math.max(next, offset + 1)
  }
  const hole = uncovered(drain, next, drain.endOffset)
  if (hole !== undefined) yield `${drainText(drain)} has nothing at ${hole}, at its end`
}

/** The first and last offsets in [from, to) that are not known to be corrupt. */
function uncovered(drain: Drain, from: number, to: number): string | undefined {
  let first: number | undefined
  let last: number | undefined
  for (let offset = from; offset < to; offset++) {
    if (isCorrupt(drain, offset)) continue
    first ??= offset
    last = offset
  }
  if (first === undefined) return undefined
  return first === last ? `offset ${first}` : `offsets ${first} to ${last}`
}

export const truncation: Check = {
  name: 'truncation',
  title: 'the log became shorter, between drains or below acknowledged offsets',
  run({ index, options, report }) {
    const retention = options.retention === true
    for (const partition of index.partitions) {
      const drains = [...partition.drains.values()].sort((a, b) => a.number - b.number)
      for (const [position, drain] of drains.entries()) {
        const beyond = ackedBeyond(partition, drain)
        if (beyond !== undefined)
          report(() => `${partition.name} ${drainText(drain)} ends before ${publishText(beyond)}`)
        const later = drains[position + 1]
        if (later === undefined) continue
        for (const problem of shrinkage(drain, later, retention)) {
          report(() => `${partition.name} ${drainText(drain)}, then ${drainText(later)}: ${problem}`)
        }
      }
    }
  },
}

/** The acknowledged publish before the drain that is furthest behind the end. */
function ackedBeyond({ acked }: PartitionIndex, drain: Drain): Publish | undefined {
  let furthest: Publish | undefined
  for (const publish of acked) {
    const offset = publish.offset ?? -1
    if (publish.completedAt >= drain.firstAt || offset < drain.endOffset) continue
    if (offset > (furthest?.offset ?? -1)) furthest = publish
  }
  return furthest
}

function* shrinkage(drain: Drain, later: Drain, retention: boolean): Generator<string> {
  if (later.endOffset < drain.endOffset) yield 'its end went back'
  if (later.startOffset < drain.startOffset) yield 'its start went back'
  if (later.startOffset > drain.startOffset && !retention)
    yield 'its start moved on, and nothing may be dropped'
  for (const [offset, value] of missingIn(later, drain.records)) {
    if (isCorrupt(later, offset) || (retention && offset < later.startOffset)) continue
    yield `'${value}' at offset ${offset} is gone`
  }
}

/** Both ascend. Another value at the same offset is not missing: another check finds it. */
function* missingIn(later: Drain, records: readonly HistoryRecord[]): Generator<HistoryRecord> {
  let position = 0
  for (const record of records) {
    while ((later.records[position]?.[0] ?? Number.POSITIVE_INFINITY) < record[0]) position++
    if (later.records[position]?.[0] !== record[0]) yield record
  }
}

export const corruptOffsets: Check = {
  name: 'corrupt-offsets',
  title: 'the broker reports damage, and nothing was damaged',
  run({ index, options, report }) {
    if (options.rotInjected === true) return
    for (const partition of index.partitions) {
      for (const drain of partition.drains.values()) {
        for (const [from, to] of drain.corrupt) {
          report(() => `${partition.name} offsets ${from} up to ${to} are corrupt in ${drainText(drain)}`)
        }
      }
    }
  },
}
