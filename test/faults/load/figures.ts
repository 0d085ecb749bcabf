import type { Finding } from '../campaign.js'

export const mib = 1024 * 1024

/** The smallest value that at least this share (0 to 1) of the values does not exceed; 0 for none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
}

/** Gathers what a round found. */
export class Findings {
  readonly list: Finding[] = []

  /** Notes a finding unless the condition holds. */
  expect(holds: boolean, check: string, evidence: () => string): void {
    if (!holds) this.list.push({ check, evidence: evidence() })
  }

  /** Notes each piece of evidence, at most ten of one check. */
  addAll(check: string, evidence: readonly string[]): void {
    for (const one of evidence.slice(0, 10)) this.list.push({ check, evidence: one })
    if (evidence.length > 10) this.list.push({ check, evidence: `and ${evidence.length - 10} more like it` })
  }
}
