import type { Check } from '../check.js'
import { callText } from '../evidence.js'
import type { Assigned, CommitCall } from '../history.js'
import type { Completed, GroupPartition } from '../history_index.js'
import { groupText, spansOf, spanText } from '../spans.js'

export const committedGoesBack: Check = {
  name: 'committed-goes-back',
  title: 'a committed offset is below an offset that was confirmed or read earlier',
  run({ index, report }) {
    for (const view of index.groupPartitions) {
      const confirmed = byCompletion([...view.commits, ...view.reads])
      let position = 0
      let floor = -1
      let reason: Completed | undefined
      for (const read of view.reads) {
        for (
          let next = confirmed[position];
          next !== undefined && next.completedAt < read.invokedAt;
          next = confirmed[++position]
        ) {
          if (offsetOf(next) <= floor) continue
          floor = offsetOf(next)
          reason = next
        }
        if (read.outcome !== 'ok' || offsetOf(read) >= floor || reason === undefined) continue
        const [because, least] = [reason, floor]
        report(
          () =>
            `${groupText(view)}: ${callText(read)} is ${offsetOf(read)}, after ${callText(because)} was ${least}`,
        )
      }
    }
  },
}

export const committedRedelivered: Check = {
  name: 'committed-redelivered',
  title: 'a new owner starts below an offset whose commit was confirmed',
  run({ index, report }) {
    for (const view of index.groupPartitions) {
      const commits = byCompletion(view.commits)
      let position = 0
      let highest: Completed<CommitCall> | undefined
      for (const span of spansOf(view)) {
        const { assigned } = span
        if (assigned === undefined) continue
        for (
          let next = commits[position];
          next !== undefined && next.completedAt < assigned.at;
          next = commits[++position]
        ) {
          if (next.call.offset > (highest?.call.offset ?? -1)) highest = next
        }
        const delivery = span.deliveries.find(({ records }) => records.length > 0)
        const first = delivery?.records[0]
        const commit = reachedBy(assigned, highest, commits)
        if (first === undefined || commit === undefined || first[0] >= commit.call.offset) continue
        report(
          () =>
            `${groupText(view)}: ${spanText(span)} was given '${first[1]}' at offset ${first[0]} at ` +
            `${delivery?.at} us, after ${callText(commit)} of offset ${commit.call.offset} was confirmed`,
        )
      }
    }
  },
}

/**
 * The highest commit before the assignment. A stopped process may record its assignment long
 * after the partition went to another, so commits under a newer epoch do not count.
 */
function reachedBy(
  assigned: Assigned,
  highest: Completed<CommitCall> | undefined,
  commits: readonly Completed<CommitCall>[],
): Completed<CommitCall> | undefined {
  const { epoch } = assigned
  if (epoch === undefined || !((highest?.call.epoch ?? -1) > epoch)) return highest
  let found: Completed<CommitCall> | undefined
  for (const commit of commits) {
    if (commit.completedAt >= assigned.at) break
    if ((commit.call.epoch ?? -1) > epoch) continue
    if (commit.call.offset > (found?.call.offset ?? -1)) found = commit
  }
  return found
}

/** The `ok` ones, in the order of their answers. */
function byCompletion<C extends GroupPartition['commits' | 'reads'][number]>(calls: readonly C[]): C[] {
  return calls.filter(({ outcome }) => outcome === 'ok').sort((a, b) => a.completedAt - b.completedAt)
}

/** The committed offset according to a confirmed commit or a read. */
function offsetOf(completed: Completed): number {
  return completed.call.op === 'commit' ? completed.call.offset : (completed.offset ?? -1)
}
