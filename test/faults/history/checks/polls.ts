import type { Check, CheckContext } from '../check.js'
import type { HistoryRecord } from '../history.js'
import { finalDrain } from '../history_index.js'
import { ProcessedFrontier } from '../processed_frontier.js'
import { groupText, spansOf, spanText } from '../spans.js'

export const pollSkip: Check = {
  name: 'poll-skip',
  title: 'a reader received messages with a gap, under one assignment',
  run({ index, report }) {
    forEachStep(index, (where, view, before, record, at) => {
      if (record[0] <= before[0] + 1) return
      const skipped = between(finalDrain(index, view)?.records ?? [], before[0], record[0])
      if (skipped.length === 0) return
      const [[offset, value] = []] = skipped
      report(
        () =>
          `${where()} received ${recordText(record)} at ${at} us after ${recordText(before)}, but not '${value}' ` +
          `at offset ${offset} (${skipped.length} skipped)`,
      )
    })
  },
}

export const pollBack: Check = {
  name: 'poll-back',
  title: 'a reader received a message twice or out of order, under one assignment',
  run({ index, report }) {
    forEachStep(index, (where, _view, before, record, at) => {
      if (record[0] > before[0]) return
      report(() => `${where()} received ${recordText(record)} at ${at} us after ${recordText(before)}`)
    })
  },
}

export const assignmentSkip: Check = {
  name: 'assignment-skip',
  title: 'a new owner starts after messages that no member has processed',
  run({ index, options, report }) {
    for (const view of index.groupPartitions) {
      if (view.group === null) continue
      const begun = spansOf(view).filter((span) => span.assigned !== undefined && span.deliveries.length > 0)
      const firstAt = (span: (typeof begun)[number]) => span.deliveries[0]?.at ?? 0
      const frontier = new ProcessedFrontier(index, view, options)
      for (const span of begun.sort((a, b) => firstAt(a) - firstAt(b))) {
        frontier.advanceTo(firstAt(span))
        const first = span.deliveries.find(({ records }) => records.length > 0)?.records[0]
        const missed = frontier.first
        if (first === undefined || missed === undefined || first[0] <= missed[0]) continue
        report(
          () =>
            `${groupText(view)}: ${spanText(span)} begins with ${recordText(first)} at ${firstAt(span)} us, and ` +
            `nobody has processed ${recordText(missed)} (${frontier.missingBelow(first[0])} such messages)`,
        )
      }
    }
  },
}

type Step = (
  where: () => string,
  partition: CheckContext['index']['partitions'][number],
  before: HistoryRecord,
  record: HistoryRecord,
  at: number,
) => void

/** Visits every record that was delivered after another under the same assignment. */
function forEachStep(index: CheckContext['index'], step: Step): void {
  for (const view of index.groupPartitions) {
    for (const span of spansOf(view)) {
      const where = () => `${groupText(view)}: ${spanText(span)}`
      let before: HistoryRecord | undefined
      for (const { records, at } of span.deliveries) {
        for (const record of records) {
          if (before !== undefined) step(where, view.partition, before, record, at)
          before = record
        }
      }
    }
  }
}

/** Records with an offset above `low` and below `high`. */
function between(records: readonly HistoryRecord[], low: number, high: number): readonly HistoryRecord[] {
  return records.slice(firstAbove(records, low), firstAbove(records, high - 1))
}

/** Position of the first record with an offset above this one. */
function firstAbove(records: readonly HistoryRecord[], offset: number): number {
  let [from, to] = [0, records.length]
  while (from < to) {
    const middle = (from + to) >>> 1
    if ((records[middle]?.[0] ?? 0) > offset) to = middle
    else from = middle + 1
  }
  return from
}

function recordText([offset, value]: HistoryRecord): string {
  return `'${value}' at offset ${offset}`
}
