import type { ContenderEntry, RecordedFigure } from '../lib/scenario.js'
import { median } from '../lib/statistics.js'
import {
  type Column,
  reachesTarget,
  shown,
  shownSpread,
  type Table,
  withoutEmptyColumns,
} from '../lib/table.js'
import type { Report } from './report.js'

/** The figures of one scenario, grouped for the reports. */
export interface ScenarioSection {
  readonly scenario: string
  /** Figures of Millrace, the pipe and the disk. */
  readonly own: readonly RecordedFigure[]
  /** The same work by several contenders; one entry for each kind of work. */
  readonly comparisons: readonly Comparison[]
}

/** One kind of work, best median first. */
export interface Comparison {
  readonly name: string
  readonly unit: string
  readonly figures: readonly RecordedFigure[]
}

/** The `id` of the contender of a figure without one. */
export const millraceId = 'millrace'

export function contenderOf({ contender }: RecordedFigure): string {
  return contender ?? millraceId
}

/** Divides the figures by scenario, in the order in which they were measured. */
export function sectionsOf(figures: readonly RecordedFigure[]): readonly ScenarioSection[] {
  return [...groupBy(figures, ({ scenario }) => scenario)].map(([scenario, all]) => {
    const works = [...groupBy(all, ({ name, unit }) => `${name}\n${unit}`).values()]
    const isCompared = (work: readonly RecordedFigure[]): boolean =>
      work.some((figure) => contenderOf(figure) !== millraceId)
    return {
      scenario,
      own: works.filter((work) => !isCompared(work)).flat(),
      comparisons: works.filter(isCompared).map(comparisonOf),
    }
  })
}

/** Median, spread, share of the pipe and target of each figure. */
export function figuresTable(figures: readonly RecordedFigure[]): Table {
  const columns = [
    left(''),
    right('median'),
    left('unit'),
    right('spread'),
    right('n'),
    right('pipe'),
    right('of pipe'),
    right('target'),
    left('result'),
  ]
  return withoutEmptyColumns({ columns, rows: figures.map(figureRow) })
}

/** One row for each contender, and how many times as good Millrace is. */
export function comparisonTable({ figures }: Comparison, contenders: readonly ContenderEntry[]): Table {
  const columns = [
    left('system'),
    left('durability'),
    right('median'),
    right('spread'),
    right('n'),
    right('Millrace is'),
    right('target'),
    left('result'),
  ]
  const millrace = figures.find((figure) => contenderOf(figure) === millraceId)
  const rows = figures.map((figure) => {
    const entry = contenders.find(({ id }) => id === contenderOf(figure))
    return [
      systemName(figure, entry),
      entry?.durability ?? '',
      shown(median(figure.values)),
      shownSpread(figure.values),
      String(figure.values.length),
      millrace === undefined || millrace === figure
        ? ''
        : `${shownTimes(timesAsGood(millrace, figure))} times`,
      ...targetCells(figure),
    ]
  })
  return withoutEmptyColumns({ columns, rows })
}

/** Percentiles of the last run of each figure that has latencies; undefined when none has. */
export function latencyTable(
  figures: readonly RecordedFigure[],
  labelOf: (figure: RecordedFigure) => string,
): Table | undefined {
  const rows = figures.flatMap((figure) =>
    figure.latency === undefined
      ? []
      : [[labelOf(figure), ...percentilesOf(figure.latency).map(shown), shown(figure.latency.count)]],
  )
  const columns = [left('ms, in the last run'), ...percentileNames.map(right), right('messages')]
  return rows.length === 0 ? undefined : { columns, rows }
}

/** The columns of `percentilesOf`. */
export const percentileNames = ['p50', 'p90', 'p99', 'p99.9', 'longest'] as const

/** In milliseconds. */
export function percentilesOf(latency: NonNullable<RecordedFigure['latency']>): readonly number[] {
  return [latency.p50Ms, latency.p90Ms, latency.p99Ms, latency.p999Ms, latency.maxMs]
}

/** The ratio of `figure` to `other`, inverted if less is better; NaN if both are 0. */
export function timesAsGood(figure: RecordedFigure, other: RecordedFigure): number {
  const [own, others] = [median(figure.values), median(other.values)]
  return figure.better === 'higher' ? own / others : others / own
}

/** "0.85", "3.2", "41": about two digits. */
export function shownTimes(times: number): string {
  return times.toFixed(times < 0.995 ? 2 : times < 9.95 ? 1 : 0)
}

/** What is compared, and in which unit. */
export function comparisonTitle({ name, unit }: Comparison): string {
  return `${name} (${unit})`
}

/** Contenders that did not take part, the reason, and the command that installs them; undefined if there are none. */
export function skippedTable({ contenders }: Pick<Report, 'contenders'>): Table | undefined {
  const rows = contenders.flatMap(({ id, system, skipped }) =>
    skipped === undefined ? [] : [[`${system} (${id})`, skipped.reason, skipped.install]],
  )
  return rows.length === 0 ? undefined : { columns: [left('skipped'), left('reason'), left('install')], rows }
}

/** Failed measurements; undefined if there are none. */
export function failuresTable({ failures }: Pick<Report, 'failures'>): Table | undefined {
  const rows = failures.map(({ scenario, what = 'the whole scenario', error }) => [scenario, what, error])
  return rows.length === 0 ? undefined : { columns: [left('failed'), left('what'), left('error')], rows }
}

/** "Redis Streams, fsync". */
export function contenderLabel(figure: RecordedFigure, contenders: readonly ContenderEntry[]): string {
  const entry = contenders.find(({ id }) => id === contenderOf(figure))
  return [systemName(figure, entry), ...(entry === undefined ? [] : [entry.durability])].join(', ')
}

function systemName(figure: RecordedFigure, entry: ContenderEntry | undefined): string {
  if (entry !== undefined) return entry.system
  return contenderOf(figure) === millraceId ? 'Millrace' : contenderOf(figure)
}

function comparisonOf(figures: readonly RecordedFigure[]): Comparison {
  const [first] = figures as readonly [RecordedFigure]
  const sign = first.better === 'higher' ? -1 : 1
  const sorted = [...figures].sort((a, b) => sign * (median(a.values) - median(b.values)))
  return { name: first.name, unit: first.unit, figures: sorted }
}

function figureRow(figure: RecordedFigure): string[] {
  const { name, unit, values, pipe } = figure
  return [
    name,
    shown(median(values)),
    unit,
    shownSpread(values),
    String(values.length),
    pipe === undefined ? '' : shown(pipe),
    pipe === undefined ? '' : (median(values) / pipe).toFixed(2),
    ...targetCells(figure),
  ]
}

/** The target, and whether the figure reaches it. */
function targetCells(figure: RecordedFigure): readonly [target: string, result: string] {
  if (figure.target === undefined) return ['', '']
  const sign = figure.better === 'higher' ? '>=' : '<='
  return [`${sign} ${shown(figure.target)}`, reachesTarget(figure) ? 'reached' : 'MISSED']
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

function left(name: string): Column {
  return { name, align: 'left' }
}

function right(name: string): Column {
  return { name, align: 'right' }
}
