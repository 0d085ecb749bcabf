import type { Finding } from '../campaign.js'
import { type CheckOptions, FindingList } from './check.js'
import { checks } from './checks.js'
import type { HistoryEvent } from './history.js'
import { type HistoryCounts, type HistoryIndex, indexHistory } from './history_index.js'
import { recoveries } from './recoveries.js'

export type { CheckOptions } from './check.js'

/** The verdict about a history. */
export interface Verdict {
  /** `unknown`: nothing is wrong, but nothing is proved either. */
  readonly verdict: 'passed' | 'failed' | 'unknown'
  /** Up to ten findings of a check in full, and a line for the others. */
  readonly findings: readonly Finding[]
  /** Number of findings of each check, including those without any. */
  readonly findingsByCheck: Readonly<Record<string, number>>
  /** The reason for `unknown`. */
  readonly unknown: readonly string[]
  readonly operations: HistoryCounts
  /**
   * Time from the end of each fault to the next acknowledged publish, in milliseconds; none if the next fault came
   * sooner.
   */
  readonly recoveryMs: readonly number[]
  /** Messages of drain 1 that groups had not committed at the last read of their offsets; no finding by itself. */
  readonly backlogs: readonly Backlog[]
}

export interface Backlog {
  readonly group: string
  readonly topic: string
  readonly partition: number
  /** -1: none. */
  readonly committedOffset: number
  readonly endOffset: number
}

/**
 * Judges a history, ordered by time as from `readHistories`.
 * @throws Error if it is no valid history, for example if a value is published twice
 */
export function checkHistory(events: readonly HistoryEvent[], options: CheckOptions = {}): Verdict {
  const index = indexHistory(events)
  const findings: Finding[] = []
  const findingsByCheck: Record<string, number> = {}
  for (const check of checks) {
    const list = new FindingList(check.name)
    check.run({ index, options, report: (evidence) => list.add(evidence) })
    findings.push(...list.findings)
    findingsByCheck[check.name] = list.count
  }
  const unknown = unknownReasons(index)
  const verdict = findings.length > 0 ? 'failed' : unknown.length > 0 ? 'unknown' : 'passed'
  const recoveryMs = recoveries(index).flatMap((recovery) => recovery.recoveryMs ?? [])
  const operations = index.counts
  return { verdict, findings, findingsByCheck, unknown, operations, recoveryMs, backlogs: backlogs(index) }
}

function backlogs({ groupPartitions }: HistoryIndex): Backlog[] {
  return groupPartitions.flatMap(({ group, partition: { topic, partition, drains }, reads }) => {
    const read = reads.findLast(({ outcome }) => outcome === 'ok')
    const [committedOffset, endOffset] = [read?.offset ?? -1, drains.get(1)?.endOffset ?? 0]
    const behind = group !== null && read !== undefined && committedOffset < endOffset
    return behind ? [{ group, topic, partition, committedOffset, endOffset }] : []
  })
}

function unknownReasons({ counts, drains }: HistoryIndex): string[] {
  const reasons: string[] = []
  if (counts.publish.ok === 0) reasons.push('no publish was acknowledged')
  for (const number of [1, 2]) if (!drains.includes(number)) reasons.push(`there is no drain ${number}`)
  const consumed = counts.assignments + counts.polls > 0 || sum(counts.commit) + sum(counts.committed) > 0
  if (consumed && counts.recordsDelivered === 0) reasons.push('nothing was delivered to the consumers')
  return reasons
}

function sum({ ok, fail, info }: HistoryCounts['publish']): number {
  return ok + fail + info
}
