import type { Finding } from './campaign.js'

export const mib = 1024 * 1024

/** Collects the findings of a round. */
export class Findings {
  readonly list: Finding[] = []

  /** Adds a finding unless the condition holds. */
  expect(holds: boolean, check: string, evidence: () => string): void {
    if (!holds) this.list.push({ check, evidence: evidence() })
  }

  /** Adds each piece of evidence, at most ten for one check. */
  addAll(check: string, evidence: readonly string[]): void {
    for (const one of evidence.slice(0, 10)) this.list.push({ check, evidence: one })
    if (evidence.length > 10) this.list.push({ check, evidence: `and ${evidence.length - 10} more like it` })
  }
}
