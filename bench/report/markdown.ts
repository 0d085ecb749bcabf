import { machineLines, versionsLine } from '../lib/machine.js'
import type { ContenderEntry } from '../lib/scenario.js'
import { drawTable, shown, shownDuration, type Table } from '../lib/table.js'
import type { Report } from './report.js'
import {
  comparisonTable,
  comparisonTitle,
  contenderLabel,
  failuresTable,
  figuresTable,
  latencyTable,
  sectionsOf,
  skippedTable,
} from './tables.js'

/** The figures by scenario, with skipped and failed parts: for the terminal, and a part of the Markdown. */
export function renderFigures(report: Report): string {
  const parts = sectionsOf(report.figures).flatMap(({ scenario, own, comparisons }) => [
    `## ${scenario}`,
    ...(own.length > 0 ? [drawTable(figuresTable(own))] : []),
    ...drawn(latencyTable(own, ({ name }) => name)),
    ...comparisons.flatMap((comparison) => [
      `### ${comparisonTitle(comparison)}`,
      drawTable(comparisonTable(comparison, report.contenders)),
      ...drawn(latencyTable(comparison.figures, (figure) => contenderLabel(figure, report.contenders))),
    ]),
  ])
  const skipped = skippedTable(report)
  const failed = failuresTable(report)
  if (skipped !== undefined) parts.push('## Skipped', drawTable(skipped))
  if (failed !== undefined) parts.push('## Failed', drawTable(failed))
  if (parts.length === 0) parts.push('Nothing was measured.')
  return parts.join('\n\n')
}

/** The whole report: figures, machine and settings. */
export function renderMarkdown(report: Report): string {
  const running = report.contenders.filter(({ skipped }) => skipped === undefined)
  const parts = [
    '# Millrace bench',
    [...conditions(report)].map(([name, value]) => `- ${name}: ${value}`).join('\n'),
    renderFigures(report),
    ...(running.length > 0 ? ['## Settings of the contenders', ...running.map(contenderPart)] : []),
  ]
  return `${parts.join('\n\n')}\n`
}

/** Name and value of every condition of the measurement. */
export function conditions(report: Report): readonly (readonly [name: string, value: string])[] {
  const { startedAt, durationS, complete, machine, loadBefore, settings } = report
  const { quick, runs, warmUpMs, measureMs, sample } = settings
  const interval = `${warmUpMs / 1000} s of warm-up, ${measureMs / 1000} s measured`
  return [
    ['measured', `${startedAt}, for ${shownDuration(durationS)}${complete ? '' : '; INTERRUPTED'}`],
    ...machineLines(machine),
    ['load before', shown(loadBefore)],
    ...(sample === undefined ? [] : [['sample', sample] as const]),
    [
      'settings',
      `${runs} ${runs === 1 ? 'run' : 'runs'}, ${interval}${quick ? '; QUICK, not comparable' : ''}`,
    ],
  ]
}

function drawn(table: Table | undefined): string[] {
  return table === undefined ? [] : [drawTable(table)]
}

function contenderPart({ id, system, durability, settings, versions }: ContenderEntry): string {
  const lines = [`### ${system}, ${durability} (${id})`]
  const versionsShown = versionsLine(versions)
  const items = [...(versionsShown === '' ? [] : [`versions: ${versionsShown}`]), ...settings]
  if (items.length > 0) lines.push(items.map((item) => `- ${item}`).join('\n'))
  return lines.join('\n\n')
}
