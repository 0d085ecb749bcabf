import type { Finding } from '../campaign.js'
import type { HistoryIndex } from './history_index.js'

/** One kind of violation in a history. To add one: a file in checks/ and a line in checks.ts. */
export interface Check {
  /** Lower case with dashes; the name of its findings. */
  readonly name: string
  /** A description in one line. */
  readonly title: string
  run(context: CheckContext): void
}

export interface CheckContext {
  readonly index: HistoryIndex
  readonly options: CheckOptions
  /** Adds a finding. The evidence is a function, called only for the first findings, so it may be costly. */
  report(evidence: () => string): void
}

/** Facts that a history does not contain. */
export interface CheckOptions {
  /** The test damaged stored bytes: corrupt offsets are no finding. Default false. */
  readonly rotInjected?: boolean
  /** Partitions drop their oldest messages: a start offset may grow. Default false. */
  readonly retention?: boolean
  /**
   * Start of groups: `earliest` at offset 0, so that a group must have all messages; `first-delivery` at the lowest
   * delivered offset, for groups that start elsewhere. Default `earliest`.
   */
  readonly groupsBegin?: 'earliest' | 'first-delivery'
  /**
   * A publish must succeed within this many milliseconds after the end of the faults. Without it only those that never
   * do are findings.
   */
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

  /** The findings, and one line for the others. */
  get findings(): Finding[] {
    const left = this.count - this.#findings.length
    return left === 0
      ? this.#findings
      : [...this.#findings, { check: this.check, evidence: `and ${left} more` }]
  }
}
