import type { Figure } from './scenario.js'
import { median, spread } from './statistics.js'

/** A table before it is drawn: for the terminal, Markdown or HTML. */
export interface Table {
  readonly columns: readonly Column[]
  /** A cell for each column. */
  readonly rows: readonly (readonly string[])[]
}

export interface Column {
  readonly name: string
  readonly align: 'left' | 'right'
}

/** Draws a table that reads well on a terminal and is Markdown. */
export function drawTable({ columns, rows }: Table): string {
  const cells = [columns.map(({ name }) => name), ...rows].map((row) => row.map(escapeCell))
  const widths = columns.map((_column, i) => Math.max(3, ...cells.map((row) => row[i]?.length ?? 0)))
  const lines = cells.map((row) => `| ${row.map((cell, i) => pad(cell, i)).join(' | ')} |`)
  lines.splice(1, 0, `| ${columns.map(rule).join(' | ')} |`)
  return lines.join('\n')

  function pad(cell: string, i: number): string {
    const width = widths[i] ?? 0
    return columns[i]?.align === 'right' ? cell.padStart(width) : cell.padEnd(width)
  }

  function rule({ align }: Column, i: number): string {
    const width = widths[i] ?? 0
    return align === 'right' ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)
  }
}

/** Leaves out the columns in which no row has anything. */
export function withoutEmptyColumns({ columns, rows }: Table): Table {
  const used = columns.map((_column, i) => rows.some((row) => row[i] !== ''))
  return {
    columns: columns.filter((_column, i) => used[i]),
    rows: rows.map((row) => row.filter((_cell, i) => used[i])),
  }
}

/** The details of a figure in one line, or an empty string. */
export function detailsLine({ details }: Figure): string {
  return Object.entries(details)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? shown(value) : value}`)
    .join(', ')
}

/** Whether a figure reaches its target; undefined when it has none. */
export function reachesTarget({ values, target, better }: Figure): boolean | undefined {
  if (target === undefined) return undefined
  return better === 'higher' ? median(values) >= target : median(values) <= target
}

/** A number with as many digits as tell something. */
export function shown(value: number): string {
  const size = Math.abs(value)
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 4
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

/** Spread as "12 %"; empty for a single value, which has none. */
export function shownSpread(values: readonly number[]): string {
  return values.length > 1 ? `${(spread(values) * 100).toFixed(0)} %` : ''
}

/** "1 min 5 s" */
export function shownDuration(seconds: number): string {
  const whole = Math.round(seconds)
  const minutes = Math.floor(whole / 60)
  const hours = Math.floor(minutes / 60)
  if (hours > 0) return `${hours} h ${minutes % 60} min`
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`
}

function escapeCell(cell: string): string {
  return cell.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
