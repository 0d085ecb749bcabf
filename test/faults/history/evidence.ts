import type { HistoryRecord } from './history.js'
import type { Completed, Drain, PartitionIndex, Publish } from './history_index.js'

/** The description of a publish in evidence. */
export function publishText(publish: Publish): string {
  const { call, process, invokedAt, completedAt, outcome } = publish
  const end = completedAt === Number.POSITIVE_INFINITY ? '' : ` to ${completedAt}`
  return `'${call.value}', published by ${process} (lane ${call.lane}, ${invokedAt}${end} us: ${outcome}${ackText(publish)})`
}

function ackText({ outcome, call, partition, offset }: Publish): string {
  return outcome === 'ok' ? ` as ${call.topic}/${partition ?? '?'} offset ${offset ?? '?'}` : ''
}

/** The description of a commit or of a read of a committed offset in evidence. */
export function callText({ call, process, invokedAt, completedAt }: Completed): string {
  const epoch = call.op === 'commit' && call.epoch !== undefined ? `, epoch ${call.epoch}` : ''
  return `${call.op} by ${process} (${invokedAt} to ${completedAt} us${epoch})`
}

export function drainText(drain: Drain): string {
  return `drain ${drain.number} (offsets ${drain.startOffset} to ${drain.endOffset}, at ${drain.firstAt} us)`
}

/** Records of one partition from one source. */
export interface Source {
  /** Its name in evidence. */
  readonly name: () => string
  readonly at: number
  readonly records: readonly HistoryRecord[]
}

/** All reads of a partition: drains, the last first, then deliveries in their order. */
export function* readsOf(partition: PartitionIndex): Generator<Source> {
  for (const drain of [...partition.drains.values()].sort((a, b) => b.number - a.number)) {
    yield { name: () => drainText(drain), at: drain.firstAt, records: drain.records }
  }
  for (const { process, group, at, records } of partition.deliveries) {
    const reader = group === null ? process : `${process} of ${group}`
    yield { name: () => `delivery to ${reader} at ${at} us`, at, records }
  }
}
