import type { Check } from '../check.js'
import { publishText, readsOf } from '../evidence.js'
import type { HistoryIndex, PartitionIndex } from '../history_index.js'

export const twoValuesAtOneOffset: Check = {
  name: 'two-values-at-one-offset',
  title: 'two sources name different values at one offset',
  run({ index, report }) {
    for (const partition of index.partitions) {
      const valueAt = new Map<number, string>()
      const reported = new Set<number>()
      const note = (offset: number, value: string): void => {
        const first = valueAt.get(offset)
        if (first === undefined) valueAt.set(offset, value)
        if (first === undefined || first === value || reported.has(offset)) return
        reported.add(offset)
        report(() => {
          const sources = `${sourceText(partition, offset, first)}, and ${sourceText(partition, offset, value)}`
          return `${partition.name} offset ${offset} is ${sources}`
        })
      }
      for (const { records } of readsOf(partition)) for (const [offset, value] of records) note(offset, value)
      for (const { offset, call } of partition.acked) {
        if (offset !== undefined && offset >= 0) note(offset, call.value)
      }
    }
  },
}

export const oneValueAtTwoOffsets: Check = {
  name: 'one-value-at-two-offsets',
  title: 'a value was read at two places',
  run({ index, report }) {
    const places = new Map<string, { readonly partition: PartitionIndex; readonly offset: number }>()
    const reported = new Set<string>()
    for (const partition of index.partitions) {
      for (const { records } of readsOf(partition)) {
        for (const [offset, value] of records) {
          const first = places.get(value) ?? placeOf(index, value)
          if (first === undefined) places.set(value, { partition, offset })
          if (first === undefined || (first.partition === partition && first.offset === offset)) continue
          if (reported.has(value)) continue
          reported.add(value)
          report(() => {
            const one = `${first.partition.name} offset ${first.offset} (${readAt(first.partition, first.offset, value)})`
            const other = `${partition.name} offset ${offset} (${readAt(partition, offset, value)})`
            return `${valueText(index, value)} is at ${one} and at ${other}`
          })
        }
      }
    }
  },
}

export const ackedOffsetDiffers: Check = {
  name: 'acked-offset-differs',
  title: 'acknowledged at one offset, and read at another',
  run({ index, report }) {
    const reported = new Set<string>()
    for (const partition of index.partitions) {
      for (const source of readsOf(partition)) {
        for (const [offset, value] of source.records) {
          const publish = index.publishOf.get(value)
          if (publish?.outcome !== 'ok' || publish.partition === undefined) continue
          const known = publish.offset !== undefined && publish.offset >= 0
          if (publish.partition === partition.partition && (!known || publish.offset === offset)) continue
          if (reported.has(value)) continue
          reported.add(value)
          report(
            () => `${publishText(publish)}, is at ${partition.name} offset ${offset} in ${source.name()}`,
          )
        }
      }
    }
  },
}

function placeOf(index: HistoryIndex, value: string) {
  return index.publishOf.get(value)?.place
}

function valueText(index: HistoryIndex, value: string): string {
  const publish = index.publishOf.get(value)
  return publish === undefined ? `'${value}'` : publishText(publish)
}

/** The first source of the value. A new search, only for evidence. */
function readAt(partition: PartitionIndex, offset: number, value: string): string | undefined {
  for (const { name, records } of readsOf(partition)) {
    if (records.some((record) => record[0] === offset && record[1] === value)) return name()
  }
  return undefined
}

function sourceText(partition: PartitionIndex, offset: number, value: string): string {
  const read = readAt(partition, offset, value)
  if (read !== undefined) return `'${value}' in ${read}`
  const publish = partition.acked.find(
    (candidate) => candidate.offset === offset && candidate.call.value === value,
  )
  return publish === undefined ? `'${value}'` : `acknowledged for ${publishText(publish)}`
}
