import { upperBound95 } from './figures.js'
import type { CampaignReport } from './run_campaign.js'

/** A campaign's report for humans. */
export function reportText(report: CampaignReport): string {
  const { name, skipped, seed, rounds, operations, faults, findings, unknown, figures, seconds } = report
  if (skipped !== undefined) return `${name}: skipped: ${skipped}`
  const injected = Object.values(faults).reduce((sum, count) => sum + count, 0)
  const lines = [`${name} (seed ${seed}, ${Math.round(seconds)} s)`]
  lines.push(`  rounds               ${rounds}`)
  lines.push(`  operations checked   ${operations.toLocaleString('en')}`)
  lines.push(`  faults injected      ${injected.toLocaleString('en')}`)
  for (const [fault, count] of Object.entries(faults))
    lines.push(`    ${fault}: ${count.toLocaleString('en')}`)
  for (const [figure, { count, p50, p99, max }] of Object.entries(figures))
    lines.push(`  ${figure}: p50 ${round(p50)}, p99 ${round(p99)}, max ${round(max)} (${count} samples)`)
  for (const reason of unknown) lines.push(`  unknown: ${reason}`)
  lines.push(findings.length === 0 ? `  found                ${nothing(injected)}` : '  FOUND')
  for (const { round, check, evidence } of findings) lines.push(`    round ${round}, ${check}: ${evidence}`)
  return lines.join('\n')
}

/** The meaning of a zero. */
function nothing(injected: number): string {
  const bound = upperBound95(injected) * 100
  return `nothing: below ${bound.toPrecision(2)} % of the faults, with 95 % confidence (3/${injected})`
}

function round(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)))
}
