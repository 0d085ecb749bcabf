import type { Check } from '../check.js'
import { callText } from '../evidence.js'
import { type Completed, finalDrain, type GroupPartition } from '../history_index.js'
import { lowestDelivered, ProcessedFrontier } from '../processed_frontier.js'
import { groupText } from '../spans.js'

export const committedUnprocessed: Check = {
  name: 'committed-unprocessed',
  title: 'a committed offset is past a message that no member had processed',
  run({ index, options, report }) {
    for (const view of index.groupPartitions) {
      const frontier = new ProcessedFrontier(index, view, options)
      let reported: number | undefined
      for (const { completed, offset } of committedOffsets(view)) {
        frontier.advanceTo(completed.completedAt)
        const first = frontier.first
        if (first === undefined || first[0] >= offset || first[0] === reported) continue
        reported = first[0]
        report(() => {
          const missing = `'${first[1]}' at offset ${first[0]} (${frontier.missingBelow(offset)} such messages)`
          return `${groupText(view)}: ${callText(completed)} says ${offset}, and nobody had processed ${missing}`
        })
      }
    }
  },
}

/** Committed offsets from confirmed commits and reads, in the order of their answers. */
function committedOffsets({ commits, reads }: GroupPartition): { completed: Completed; offset: number }[] {
  return [
    ...commits.map((completed) => ({ completed, offset: completed.call.offset })),
    ...reads.map((completed) => ({ completed, offset: completed.offset ?? -1 })),
  ]
    .filter(({ completed }) => completed.outcome === 'ok')
    .sort((a, b) => a.completed.completedAt - b.completed.completedAt)
}

export const groupMissed: Check = {
  name: 'group-missed',
  title: 'the group is past a message at the end, and no member received it',
  run({ index, options, report }) {
    for (const view of index.groupPartitions) {
      const last = view.reads.findLast(({ outcome }) => outcome === 'ok')
      if (last === undefined) continue
      const begin = options.groupsBegin === 'first-delivery' ? lowestDelivered(view) : 0
      const delivered = deliveredOffsets(view)
      for (const [offset, value] of finalDrain(index, view.partition)?.records ?? []) {
        if (offset < begin || offset >= (last.offset ?? -1) || delivered.has(offset)) continue
        report(
          () =>
            `${groupText(view)}: ${callText(last)} is ${last.offset}, and '${value}' at ${offset} was delivered to no member`,
        )
      }
    }
  },
}

function deliveredOffsets({ timeline }: GroupPartition): Set<number> {
  const offsets = new Set<number>()
  for (const event of timeline) {
    if (event.type === 'delivered') for (const [offset] of event.records) offsets.add(offset)
  }
  return offsets
}
