import type { RecordedFigure } from '../lib/scenario.js'
import { mannWhitneyP, median } from '../lib/statistics.js'
import { type Column, drawTable, shown, shownSpread, type Table } from '../lib/table.js'
import { figureKey, type Report } from './report.js'
import { contenderOf, millraceId } from './tables.js'

/** better, worse: the difference is beyond the noise. same: it is not. unknown: there are too few runs. */
export type Verdict = 'better' | 'worse' | 'same' | 'unknown'

export interface Difference {
  readonly before: RecordedFigure
  readonly after: RecordedFigure
  /** (new median - old median) / old median. */
  readonly change: number
  readonly verdict: Verdict
}

export interface ReportComparison {
  /** Figures of both reports, in the order of the new one. */
  readonly differences: readonly Difference[]
  /** Other differences between the two: machine, versions, settings. */
  readonly warnings: readonly string[]
}

/** A smaller share is never a difference: two sessions on the same machine differ by as much. */
const changeMin = 0.03
const significance = 0.05
const runsMin = 3

/**
 * Compares a new report with an old one. A figure differs beyond the noise if its medians are at least 3 % apart, and:
 *
 * - with enough runs (four of each, or six against three), the exact two-sided Mann-Whitney U test gives
 * p <= 0.05. It assumes no distribution, and Go's benchstat uses it for the same purpose, with the same limit:
 * pkg.go.dev/golang.org/x/perf/cmd/benchstat;
 * - with fewer, but at least three of each, the ranges of the two do not overlap. By chance three of each do so in 2 of
 *   20
 * cases (p = 0.1), so with many figures some will seem to differ: measure those again with more runs.
 *
 * With one or two runs the result is unknown.
 */
export function compareReports(before: Report, after: Report): ReportComparison {
  const old = new Map(before.figures.map((figure) => [figureKey(figure), figure]))
  const differences = after.figures.flatMap((figure) => {
    const counterpart = old.get(figureKey(figure))
    return counterpart === undefined ? [] : [differenceOf(counterpart, figure)]
  })
  return { differences, warnings: warningsOf(before, after) }
}

/** Whether `after` is better or worse than `before` beyond the noise; both in the same unit. */
export function judge(
  before: readonly number[],
  after: readonly number[],
  better: RecordedFigure['better'],
): Verdict {
  if (Math.min(before.length, after.length) < runsMin) return 'unknown'
  const change = changeOf(before, after)
  if (Math.abs(change) < changeMin || !isBeyondNoise(before, after)) return 'same'
  return change > 0 === (better === 'higher') ? 'better' : 'worse'
}

/** A table of all differences, the warnings above it and a count below. */
export function renderComparison({ differences, warnings }: ReportComparison): string {
  if (differences.length === 0)
    return [...warnings.map(warningLine), 'The reports have no figure in common.'].join('\n')
  const count = (verdict: Verdict): number =>
    differences.filter((difference) => difference.verdict === verdict).length
  const counts = `${count('better')} better, ${count('worse')} worse, ${count('same')} within the noise, ${count('unknown')} with too few runs to tell (at least ${runsMin})`
  return [...warnings.map(warningLine), '', drawTable(differencesTable(differences)), '', counts]
    .join('\n')
    .trim()
}

const verdictsShown: Readonly<Record<Verdict, string>> = {
  better: 'BETTER',
  worse: 'WORSE',
  same: 'within the noise',
  unknown: 'too few runs',
}

function differencesTable(differences: readonly Difference[]): Table {
  const column = (name: string, align: Column['align']): Column => ({ name, align })
  return {
    columns: [
      column('scenario', 'left'),
      column('figure', 'left'),
      column('old', 'right'),
      column('spread', 'right'),
      column('new', 'right'),
      column('spread', 'right'),
      column('unit', 'left'),
      column('change', 'right'),
      column('', 'left'),
    ],
    rows: differences.map(({ before, after, change, verdict }) => [
      after.scenario,
      contenderOf(after) === millraceId ? after.name : `${after.name} (${contenderOf(after)})`,
      shown(median(before.values)),
      shownSpread(before.values),
      shown(median(after.values)),
      shownSpread(after.values),
      after.unit,
      `${change > 0 ? '+' : ''}${(change * 100).toFixed(1)} %`,
      verdictsShown[verdict],
    ]),
  }
}

function differenceOf(before: RecordedFigure, after: RecordedFigure): Difference {
  return {
    before,
    after,
    change: changeOf(before.values, after.values),
    verdict: judge(before.values, after.values, after.better),
  }
}

/** 0 when both are 0. */
function changeOf(before: readonly number[], after: readonly number[]): number {
  const [old, now] = [median(before), median(after)]
  return old === now ? 0 : (now - old) / Math.abs(old)
}

function isBeyondNoise(before: readonly number[], after: readonly number[]): boolean {
  const leastP = 2 / combinations(before.length + after.length, before.length)
  if (leastP <= significance) return mannWhitneyP(before, after) <= significance
  return Math.min(...after) > Math.max(...before) || Math.max(...after) < Math.min(...before)
}

/** How many ways there are to choose k of n. */
function combinations(n: number, k: number): number {
  let ways = 1
  for (let i = 1; i <= k; i++) ways = (ways * (n - k + i)) / i
  return ways
}

function warningsOf(before: Report, after: Report): string[] {
  const warnings: string[] = []
  const { versions: oldVersions, ...oldMachine } = before.machine
  const { versions: newVersions, ...newMachine } = after.machine
  const { scenarios: _oldScenarios, contenders: _oldIds, ...oldSettings } = before.settings
  const { scenarios: _newScenarios, contenders: _newIds, ...newSettings } = after.settings
  // The comparison is about Millrace's own version.
  addDifferences(warnings, '', { ...oldVersions, millrace: '' }, { ...newVersions, millrace: '' })
  addDifferences(warnings, 'machine: ', oldMachine, newMachine)
  addDifferences(warnings, 'setting ', oldSettings, newSettings)
  for (const { id, settings, versions, skipped } of after.contenders) {
    const old = before.contenders.find((entry) => entry.id === id)
    if (old === undefined || old.skipped !== undefined || skipped !== undefined) continue
    addDifferences(warnings, `${id}: `, old.versions, versions)
    addDifferences(warnings, `${id}: `, { settings: old.settings }, { settings })
  }
  for (const [which, { complete, settings }] of [['old', before] as const, ['new', after] as const]) {
    if (!complete) warnings.push(`the ${which} run was interrupted`)
    if (settings.quick) warnings.push(`the ${which} run used --quick: its figures are not comparable`)
  }
  return warnings
}

function addDifferences(warnings: string[], prefix: string, before: object, after: object): void {
  const [old, now] = [new Map(Object.entries(before)), new Map(Object.entries(after))]
  for (const name of new Set([...old.keys(), ...now.keys()])) {
    const [left, right] = [shownValue(old.get(name)), shownValue(now.get(name))]
    if (left !== right) warnings.push(`${prefix}${name} was ${left}, is ${right}`)
  }
}

function shownValue(value: unknown): string {
  if (value === undefined) return 'not given'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function warningLine(warning: string): string {
  return `WARNING: ${warning}`
}
