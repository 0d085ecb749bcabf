import type { Check } from '../check.js'
import { callText } from '../evidence.js'
import type { Assigned, CommitCall } from '../history.js'
import type { Completed } from '../history_index.js'
import { groupText } from '../spans.js'

/**
 * Epochs of a partition only grow, so a commit under an epoch lower than a known one was
 * stale. Without epochs the process with the last recorded assignment counts as the owner; a stopped process may
 * record an old one late, and make a valid commit look stale.
 */
export const staleCommit: Check = {
  name: 'stale-commit',
  title: 'a commit was accepted from a process that had lost the partition',
  run({ index, report }) {
    for (const view of index.groupPartitions) {
      const assignments = view.timeline.filter((event) => event.type === 'assigned')
      let position = 0
      let last: Assigned | undefined
      let newest: Assigned | undefined
      for (const commit of view.commits) {
        for (
          let next = assignments[position];
          next !== undefined && isBefore(next, commit);
          next = assignments[++position]
        ) {
          last = next
          if (next.epoch !== undefined && next.epoch > (newest?.epoch ?? -1)) newest = next
        }
        const owner = commit.outcome === 'ok' ? newerOwner(commit, last, newest) : undefined
        if (owner === undefined) continue
        report(() => {
          const epoch = owner.epoch === undefined ? '' : `, epoch ${owner.epoch}`
          const text = `${callText(commit)} of offset ${commit.call.offset} was accepted`
          return `${groupText(view)}: ${text}, and ${owner.process} was assigned it at ${owner.at} us${epoch}`
        })
      }
    }
  },
}

/** The same time counts as before only for the process itself, which recorded its assignment first. */
function isBefore(assigned: Assigned, commit: Completed): boolean {
  if (assigned.at === commit.invokedAt) return assigned.process === commit.process
  return assigned.at < commit.invokedAt
}

function newerOwner(
  { process, call }: Completed<CommitCall>,
  last: Assigned | undefined,
  newest: Assigned | undefined,
): Assigned | undefined {
  if (call.epoch !== undefined && newest?.epoch !== undefined) {
    return call.epoch < newest.epoch ? newest : undefined
  }
  return last !== undefined && last.process !== process ? last : undefined
}

export const doubleOwner: Check = {
  name: 'double-owner',
  title: 'two processes were assigned a partition under one epoch',
  run({ index, report }) {
    for (const view of index.groupPartitions) {
      if (view.group === null) continue
      const owners = new Map<number, Assigned>()
      for (const event of view.timeline) {
        if (event.type !== 'assigned' || event.epoch === undefined) continue
        const owner = owners.get(event.epoch)
        if (owner === undefined) owners.set(event.epoch, event)
        if (owner === undefined || owner.process === event.process) continue
        report(() => {
          const both = `${owner.process} at ${owner.at} us and to ${event.process} at ${event.at} us`
          return `${groupText(view)} was assigned under epoch ${event.epoch} to ${both}`
        })
      }
    }
  },
}
