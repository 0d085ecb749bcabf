import type { Figure } from './scenario.js'
import { median, spread } from './statistics.js'

const columns = ['', 'median', 'unit', 'spread', 'pipe', 'ratio', 'target', ''] as const

/** Renders figures as a table that reads well on a terminal and in Markdown. */
export function table(figures: readonly Figure[]): string {
  const rows = [columns, ...figures.map(row)]
  const widths = columns.map((_column, i) => Math.max(...rows.map((cells) => cells[i]?.length ?? 0)))
  const lines = rows.map((cells) => `| ${cells.map((cell, i) => pad(cell, widths[i] ?? 0, i)).join(' | ')} |`)
  lines.splice(1, 0, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`)
  return lines.join('\n')
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
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

function row(figure: Figure): string[] {
  const middle = median(figure.values)
  const reached = reachesTarget(figure)
  return [
    figure.name,
    shown(middle),
    figure.unit,
    figure.values.length > 1 ? `${(spread(figure.values) * 100).toFixed(0)} %` : '',
    figure.pipe === undefined ? '' : shown(figure.pipe),
    figure.pipe === undefined ? '' : (middle / figure.pipe).toFixed(2),
    figure.target === undefined ? '' : `${figure.better === 'higher' ? '>=' : '<='} ${shown(figure.target)}`,
    reached === undefined ? '' : reached ? 'reached' : 'MISSED',
  ]
}

function pad(cell: string, width: number, column: number): string {
  const isText = column === 0 || column === 2 || column === columns.length - 1
  return isText ? cell.padEnd(width) : cell.padStart(width)
}
