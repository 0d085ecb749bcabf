import type { Check, CheckOptions } from '../check.js'
import { drainText, publishText } from '../evidence.js'
import {
  type Drain,
  type HistoryIndex,
  isCorrupt,
  type PartitionIndex,
  type Publish,
} from '../history_index.js'

export const lostWrite: Check = {
  name: 'lost-write',
  title: 'acknowledged, and not in a drain that began afterwards',
  run({ index, options, report }) {
    const partitions = new Map(index.partitions.map((partition) => [partition.name, partition]))
    const all = index.drains.reduce((bits, number) => bits | (1 << number), 0)
    for (const publish of index.publishes) {
      if (publish.outcome !== 'ok' || publish.inDrains === all) continue
      const partition =
        partitions.get(`${publish.call.topic}/${publish.partition}`) ?? publish.place?.partition
      const missing = index.drains.filter((number) => isMissing(publish, partition, number, options))
      if (missing.length > 0)
        report(() => `${publishText(publish)}, ${whereText(index, partition, publish, missing)}`)
    }
  },
}

function isMissing(
  publish: Publish,
  partition: PartitionIndex | undefined,
  number: number,
  options: CheckOptions,
): boolean {
  if ((publish.inDrains & (1 << number)) !== 0) return false
  const drain = partition?.drains.get(number)
  if (drain === undefined) return true
  return publish.completedAt < drain.firstAt && !isExcused(publish, drain, options)
}

/** Damaged by the test or dropped by retention, or perhaps so if its place is unknown. */
function isExcused(publish: Publish, drain: Drain, options: CheckOptions): boolean {
  const acked = publish.offset !== undefined && publish.offset >= 0 ? publish.offset : publish.place?.offset
  if (acked === undefined)
    return drain.corrupt.length > 0 || (options.retention === true && drain.startOffset > 0)
  return isCorrupt(drain, acked) || (options.retention === true && acked < drain.startOffset)
}

function whereText(
  index: HistoryIndex,
  partition: PartitionIndex | undefined,
  publish: Publish,
  missing: readonly number[],
): string {
  const drains = missing.map((number) => {
    const drain = partition?.drains.get(number)
    return drain === undefined ? `drain ${number}, which has not its partition` : drainText(drain)
  })
  const elsewhere = index.drains.filter((number) => (publish.inDrains & (1 << number)) !== 0)
  const found = elsewhere.length === 0 ? '' : `, though in drain ${elsewhere.join(', ')}`
  return `is not in ${drains.join(' nor ')}${found}`
}
