import type { ContenderEntry, RecordedFigure } from '../lib/scenario.js'
import { median } from '../lib/statistics.js'
import { shown } from '../lib/table.js'
import {
  type Comparison,
  contenderLabel,
  contenderOf,
  millraceId,
  percentileNames,
  percentilesOf,
  shownTimes,
  timesAsGood,
} from './tables.js'

/** The data of the charts in page.js; plain data, so that it can be JSON in the page. */
export type Chart = BarChart | LineChart

export interface BarChart {
  readonly kind: 'bars'
  readonly title: string
  readonly unit: string
  /** For values that differ too much for one linear scale. */
  readonly logarithmic: boolean
  readonly bars: readonly Bar[]
}

export interface Bar {
  /** Lines of the label. */
  readonly label: readonly string[]
  readonly value: number
  /** Smallest and largest of the runs: the whiskers. */
  readonly range: readonly [smallest: number, largest: number]
  /** Text beside the bar. */
  readonly note: string
  readonly tone: 'millrace' | 'pipe' | 'fsync' | 'default'
  /** The pipe's figure for the same work: a mark across the bar. */
  readonly pipe?: number
  readonly target?: number
}

export interface LineChart {
  readonly kind: 'lines'
  readonly title: string
  readonly x: string
  readonly y: string
  readonly logarithmic: boolean
  /** Names on the x axis; absent when it is a number. */
  readonly categories?: readonly string[]
  readonly lines: readonly Line[]
}

export interface Line {
  readonly label: string
  readonly isMillrace: boolean
  readonly points: readonly (readonly [x: number, y: number])[]
}

/** The `id` of the yardstick in comparisons. */
const pipeId = 'pipe'
const logarithmicFrom = 25
const pointsMax = 400
/** Most lines in one chart, so that they stay distinguishable. */
const linesMax = 8
const labelLineMax = 34

/** One bar for each contender, with whiskers from the smallest to the largest run. */
export function comparisonChart(
  { name, unit, figures }: Comparison,
  contenders: readonly ContenderEntry[],
): BarChart {
  const millrace = figures.find((figure) => contenderOf(figure) === millraceId)
  const bars = figures.map((figure): Bar => {
    const entry = contenders.find(({ id }) => id === contenderOf(figure))
    const isMillrace = figure === millrace
    const times =
      millrace === undefined || isMillrace ? '' : `  (${shownTimes(timesAsGood(millrace, figure))}x)`
    return {
      label: [contenderLabel(figure, contenders)],
      ...measuredOf(figure),
      note: `${shown(median(figure.values))}${times}`,
      tone: toneOf(figure, entry),
    }
  })
  return { kind: 'bars', title: name, unit, logarithmic: isLogarithmic(bars), bars }
}

/** Bars of figures that have the same unit, with marks for the pipe and the targets; none for a single figure. */
export function figuresCharts(figures: readonly RecordedFigure[]): readonly BarChart[] {
  const units = [...new Set(figures.map(({ unit }) => unit))]
  return units.flatMap((unit) => {
    const same = figures.filter((figure) => figure.unit === unit)
    if (same.length < 2) return []
    const prefix = commonPrefix(same.map(({ name }) => name.split(', ')))
    const bars = same.map(
      (figure): Bar => ({
        label: wrapped(figure.name.split(', ').slice(prefix.length)),
        ...measuredOf(figure),
        note: shown(median(figure.values)),
        tone: toneOf(figure, undefined),
        ...(figure.pipe === undefined ? {} : { pipe: figure.pipe }),
        ...(figure.target === undefined ? {} : { target: figure.target }),
      }),
    )
    const title = prefix.length === 0 ? (same[0]?.scenario ?? '') : prefix.join(', ')
    return [{ kind: 'bars', title, unit, logarithmic: isLogarithmic(bars), bars }]
  })
}

/** A line for each figure that has latencies, over their percentiles; undefined when none has. */
export function latencyChart(
  title: string,
  figures: readonly RecordedFigure[],
  labelOf: (figure: RecordedFigure) => string,
): LineChart | undefined {
  const lines = figures.flatMap((figure): Line[] =>
    figure.latency === undefined
      ? []
      : [{ ...lineOf(figure, labelOf), points: percentilesOf(figure.latency).map((ms, i) => [i, ms]) }],
  )
  if (lines.length === 0) return undefined
  return {
    kind: 'lines',
    title,
    x: 'percentile',
    y: 'ms',
    logarithmic: true,
    categories: percentileNames,
    lines,
  }
}

/**
 * Changes over time of related figures, a line for each of them: a chart for each series of one name
 * and unit, or several if there would be too many lines in it.
 */
export function seriesCharts(
  title: string,
  figures: readonly RecordedFigure[],
  labelOf: (figure: RecordedFigure) => string,
): readonly LineChart[] {
  const all = figures.flatMap((figure) => (figure.series ?? []).map((series) => ({ figure, series })))
  const groups = new Map(all.map(({ series }) => [`${series.name}\n${series.unit}`, series]))
  return [...groups.values()].flatMap(({ name, unit }) => {
    const lines = all
      .filter(({ series }) => series.name === name && series.unit === unit)
      .map(({ figure, series }): Line => ({ ...lineOf(figure, labelOf), points: thinned(series.points) }))
    const chart = { kind: 'lines', title: `${title}: ${name}`, x: 's', y: unit, logarithmic: false } as const
    return chunksOf(lines, linesMax).map((some) => ({ ...chart, lines: some }))
  })
}

function toneOf(figure: RecordedFigure, entry: ContenderEntry | undefined): Bar['tone'] {
  const id = contenderOf(figure)
  if (id === pipeId || figure.scenario === 'pipe') return 'pipe'
  if (figure.scenario === 'disk') return 'default'
  return id === millraceId ? 'millrace' : (entry?.durability ?? 'default')
}

function measuredOf({ values }: RecordedFigure): Pick<Bar, 'value' | 'range'> {
  return { value: median(values), range: [Math.min(...values), Math.max(...values)] }
}

function lineOf(
  figure: RecordedFigure,
  labelOf: (figure: RecordedFigure) => string,
): Pick<Line, 'label' | 'isMillrace'> {
  return { label: labelOf(figure), isMillrace: contenderOf(figure) === millraceId }
}

function isLogarithmic(bars: readonly Bar[]): boolean {
  const values = bars.map(({ value }) => value)
  const smallest = Math.min(...values)
  return smallest > 0 && Math.max(...values) / smallest >= logarithmicFrom
}

/** The first parts that all names share, except for the last part of the shortest. */
export function commonPrefix(names: readonly (readonly string[])[]): readonly string[] {
  const [first, ...others] = names
  if (first === undefined) return []
  const lengthMax = Math.min(...names.map((parts) => parts.length - 1))
  let length = 0
  while (length < lengthMax && others.every((parts) => parts[length] === first[length])) length++
  return first.slice(0, length)
}

/** Joins parts to lines of a label with a limited width. */
function wrapped(parts: readonly string[]): readonly string[] {
  const lines: string[] = []
  for (const part of parts) {
    const joined = `${lines.at(-1) ?? ''}, ${part}`
    if (lines.length > 0 && joined.length <= labelLineMax) lines[lines.length - 1] = joined
    else lines.push(part)
  }
  return lines
}

/** Parts of at most so many items, as equal as they can be. */
function chunksOf<T>(items: readonly T[], lengthMax: number): readonly (readonly T[])[] {
  const chunks = Math.ceil(items.length / lengthMax)
  const length = Math.ceil(items.length / chunks)
  return Array.from({ length: chunks }, (_, i) => items.slice(i * length, (i + 1) * length))
}

/** At most this many points, evenly chosen, including the last one. */
function thinned(points: Line['points']): Line['points'] {
  const step = Math.ceil(points.length / pointsMax)
  return points.filter((_point, i) => i % step === 0 || i === points.length - 1)
}
