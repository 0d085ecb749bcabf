import type { Check, CheckContext } from '../check.js'
import { publishText, readsOf, type Source } from '../evidence.js'
import { finalDrain, isCorrupt, type PartitionIndex, type Publish } from '../history_index.js'

export const phantom: Check = {
  name: 'phantom',
  title: 'read, and never published to that topic before',
  run(context) {
    forEachRead(context, (partition, offset, value, source, publish) => {
      if (publish === undefined)
        return `'${value}' at ${partition.name} offset ${offset} in ${source.name()}: nobody published it`
      if (publish.call.topic !== partition.topic) {
        return `${publishText(publish)} to ${publish.call.topic}, is at ${partition.name} offset ${offset} in ${source.name()}`
      }
      if (source.at >= publish.invokedAt) return undefined
      return `${publishText(publish)}, was at ${partition.name} offset ${offset} before, in ${source.name()}`
    })
  },
}

export const failedWriteRead: Check = {
  name: 'failed-write-read',
  title: 'read, though its publish had failed for good',
  run(context) {
    forEachRead(context, (partition, offset, _value, source, publish) => {
      if (publish?.outcome !== 'fail') return undefined
      return `${publishText(publish)}, is at ${partition.name} offset ${offset} in ${source.name()}`
    })
  },
}

/** Lost writes that were never acknowledged: readers see only durable data. */
export const readLost: Check = {
  name: 'read-lost',
  title: 'delivered of unknown outcome, and not in any drain',
  run(context) {
    const { index, options } = context
    forEachRead(context, (partition, offset, _value, source, publish) => {
      if (publish === undefined || publish.outcome === 'ok' || publish.inDrains !== 0) return undefined
      const drain = finalDrain(index, partition)
      if (drain === undefined || source.at >= drain.firstAt || isCorrupt(drain, offset)) return undefined
      if (options.retention === true && offset < drain.startOffset) return undefined
      return `${publishText(publish)}, was at ${partition.name} offset ${offset} in ${source.name()} and is in no drain`
    })
  },
}

type Judge = (
  partition: PartitionIndex,
  offset: number,
  value: string,
  source: Source,
  publish: Publish | undefined,
) => string | undefined

/** Looks at all reads, and reports a value once. */
function forEachRead({ index, report }: CheckContext, judge: Judge): void {
  const reported = new Set<string>()
  for (const partition of index.partitions) {
    for (const source of readsOf(partition)) {
      for (const [offset, value] of source.records) {
        const evidence = judge(partition, offset, value, source, index.publishOf.get(value))
        if (evidence === undefined || reported.has(value)) continue
        reported.add(value)
        report(() => evidence)
      }
    }
  }
}
