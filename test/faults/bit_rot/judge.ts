import type { Finding } from '../campaign.js'
import type { ExpectedPartition, Observed, ObservedPartition } from './model.js'

/** Offsets in the health, from `from` to `to`, both included. */
interface Reported {
  readonly from: number
  readonly to: number
}

const findingsOfKindMax = 3

/**
 * Compares the data that a broker serves from a damaged folder with the data that it had acknowledged.
 * @param afterCrash a crash left the folder: the last write of a file may then be dropped, if the log says so
 */
export function judge(
  expected: readonly ExpectedPartition[],
  observed: Observed,
  afterCrash: boolean,
): Finding[] {
  const findings = expected.flatMap((partition, index) => {
    const seen = observed.partitions[index]
    const name = `partition ${partition.partition} of topic "${partition.topic}"`
    if (seen === undefined) return [{ check: 'silent-loss', evidence: `${name} is gone` }]
    return judgePartition(name, partition, seen, observed, afterCrash)
  })
  const counts = new Map<string, number>()
  return findings.filter(({ check }) => {
    const count = (counts.get(check) ?? 0) + 1
    counts.set(check, count)
    return count <= findingsOfKindMax
  })
}

function judgePartition(
  name: string,
  expected: ExpectedPartition,
  seen: ObservedPartition,
  observed: Observed,
  afterCrash: boolean,
): Finding[] {
  const findings: Finding[] = []
  const found = (check: string, evidence: string): void => void findings.push({ check, evidence })
  const reported = reportedOffsets(observed.reasons, name)
  const tailMayBeDropped = afterCrash && observed.hasTailNotice
  let dropped = 0
  for (const [offset, digest] of expected.records.entries()) {
    if (offset < seen.startOffset && expected.isTrimmed) continue
    const served = seen.served.get(offset)
    if (served !== undefined) {
      if (served !== digest)
        found('wrong-record', `${name}, offset ${offset}: ${served} instead of ${digest}`)
    } else if (seen.corrupt.has(offset)) {
      if (!reported.some(({ from, to }) => offset >= from && offset <= to))
        found('unreported-damage', `${name}: offset ${offset} answers CORRUPT, the health does not name it`)
    } else if (offset >= seen.endOffset && tailMayBeDropped) dropped++
    else {
      const error = seen.errors.get(offset) ?? 'nothing'
      found('silent-loss', `${name}: offset ${offset} answers ${error}, the log ends at ${seen.endOffset}`)
    }
  }
  for (const [offset, served] of seen.served)
    if (offset >= expected.records.length)
      found('wrong-record', `${name}: ${offset} serves ${served}, never sent`)
  const lost = seen.corrupt.size > 0 || dropped > 0
  findings.push(...judgeViews(name, expected, seen, lost, observed.reasons.length > 0 || tailMayBeDropped))
  if (dropped === 0) findings.push(...judgePublish(name, expected, seen))
  return findings
}

/** @param reported whether there was any report: operations in a damaged block have no partition */
function judgeViews(
  name: string,
  { committedOffset, last }: ExpectedPartition,
  seen: ObservedPartition,
  lost: boolean,
  reported: boolean,
): Finding[] {
  const findings: Finding[] = []
  if (seen.committedOffset !== committedOffset && !reported)
    findings.push({
      check: 'committed-offset-lost',
      evidence: `${name}: ${seen.committedOffset} instead of ${committedOffset}`,
    })
  if (seen.repeated !== last.baseOffset && !lost)
    findings.push({
      check: 'duplicate-appended',
      evidence: `${name}: the repeat of the batch at ${last.baseOffset} went to ${seen.repeated}`,
    })
  return findings
}

function judgePublish(
  name: string,
  { records }: ExpectedPartition,
  { published, corrupt }: ObservedPartition,
): Finding[] {
  if (typeof published === 'string') {
    if (corrupt.size > 0) return []
    return [{ check: 'publish-refused', evidence: `${name}: ${published}` }]
  }
  if (published >= records.length) return []
  const evidence = `${name}: a new record got offset ${published}, ${records.length} were acknowledged`
  return [{ check: 'offset-reused', evidence }]
}

function reportedOffsets(reasons: readonly string[], name: string): Reported[] {
  return reasons
    .filter((reason) => reason.startsWith(`${name}: offsets `))
    .flatMap((reason) => [...reason.matchAll(/(\d+) to (\d+)/g)])
    .map(([, from, to]) => ({ from: Number(from), to: Number(to) }))
}
