import type { Finding } from '../campaign.js'
import type { HistoryIndex } from './history_index.js'

/** One thing that must not be in a history. To add one: a file in checks/ and a line in checks.ts. */
export interface Check {
  /** Lower case with dashes; findings carry it. */
  readonly name: string
  /** What it notices, in one line. */
  readonly title: string
  run(context: CheckContext): void
}

export interface CheckContext {
  readonly index: HistoryIndex
  readonly options: CheckOptions
  /** Notes a finding. The evidence is asked for only while there are few, so that it may be costly. */
  report(evidence: () => string): void
}

/** What a history can't say of itself. */
export interface CheckOptions {
  /** Stored bytes were damaged on purpose: corrupt offsets are no finding. Default false. */
  readonly rotInjected?: boolean
  /** Partitions drop their oldest messages: a start offset may grow. Default false. */
  readonly retention?: boolean
  /**
   * Where groups begin to read: `earliest` at offset 0, so that a group must have all; `first-delivery` at the lowest offset
   * that the group was given, for groups that start elsewhere. Default `earliest`.
   */
  readonly groupsBegin?: 'earliest' | 'first-delivery'
  /** A publish must succeed within this many milliseconds after healing. Without it only those that never do are findings. */
  readonly recoveryMsMax?: number
}

const findingsInFullMax = 10

/** Keeps the first findings of a check and counts the others. */
export class FindingList {
  readonly #findings: Finding[] = []
  count = 0

  constructor(readonly check: string) {}

  add(evidence: () => string): void {
    this.count++
    if (this.count <= findingsInFullMax) this.#findings.push({ check: this.check, evidence: evidence() })
  }

  /** The findings, and one line for those that are not in it. */
  get findings(): Finding[] {
    const left = this.count - this.#findings.length
    return left === 0
      ? this.#findings
      : [...this.#findings, { check: this.check, evidence: `and ${left} more` }]
  }
}
