import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { versionsLine } from '../lib/machine.js'
import type { ContenderEntry, RecordedFigure } from '../lib/scenario.js'
import { detailsLine, type Table } from '../lib/table.js'
import {
  type Chart,
  commonPrefix,
  comparisonChart,
  figuresCharts,
  latencyChart,
  seriesCharts,
} from './charts.js'
import { conditions } from './markdown.js'
import { html, jsonMarkup, Markup, type MarkupValue } from './markup.js'
import type { Report } from './report.js'
import {
  comparisonTable,
  comparisonTitle,
  contenderLabel,
  contenderOf,
  failuresTable,
  figuresTable,
  latencyTable,
  millraceId,
  type ScenarioSection,
  sectionsOf,
  skippedTable,
} from './tables.js'

/** The report as one file without network access; without JavaScript it has no charts, but all tables. */
export function renderHtml(report: Report): string {
  return new HtmlReport(report).render().text
}

interface Part {
  readonly id: string
  readonly title: string
  readonly body: MarkupValue
}

class HtmlReport {
  readonly #report: Report
  readonly #sections: readonly ScenarioSection[]
  readonly #charts: Chart[] = []

  constructor(report: Report) {
    this.#report = report
    this.#sections = sectionsOf(report.figures)
  }

  render(): Markup {
    const { startedAt } = this.#report
    const parts = [
      this.#peers(),
      this.#latencies(),
      this.#overTime(),
      this.#figures(),
      this.#machine(),
      this.#contenders(),
    ].filter((part) => part !== undefined)
    return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>Millrace bench, ${startedAt.slice(0, 10)}</title>
<style>${new Markup(asset('page.css'))}</style>
</head>
<body>
<header>
<h1>Millrace bench</h1>
${this.#summary()}
<nav>${parts.map(({ id, title }) => html`<a href="#${id}">${title}</a>`)}</nav>
</header>
${this.#notices()}
<main>
${parts.map(({ id, title, body }) => html`<section id="${id}">\n<h2>${title}</h2>\n${body}\n</section>\n`)}
</main>
<script type="application/json" id="charts">${jsonMarkup(this.#charts)}</script>
<script>${scriptMarkup(chartLibrary())}</script>
<script>${scriptMarkup(`{\n${asset('page.js')}}`)}</script>
</body>
</html>
`
  }

  #summary(): Markup {
    const { startedAt, machine, settings } = this.#report
    const { processors, processor, versions } = machine
    const runs = settings.runs === 1 ? 'one run' : `medians of ${settings.runs} runs`
    return html`<p class="muted">${startedAt.slice(0, 16).replace('T', ' ')} UTC; ${processors} x ${processor};
Millrace ${versions.millrace}, Node.js ${versions.node}; ${runs} of each figure.</p>`
  }

  #notices(): MarkupValue {
    const { complete, settings, failures } = this.#report
    const notices = [
      ...(complete ? [] : ['The run was interrupted: later figures are missing.']),
      ...(settings.quick
        ? ['Measured with --quick, to check that everything works: the figures are not comparable.']
        : []),
    ]
    const failed = failures.length === 0 ? undefined : failuresTable(this.#report)
    return [
      ...notices.map((notice) => html`<p class="notice">${notice}</p>`),
      failed === undefined ? undefined : html`<div class="notice">${tableMarkup(failed)}</div>`,
    ]
  }

  #peers(): Part | undefined {
    const { contenders } = this.#report
    const comparisons = this.#sections.flatMap((section) => section.comparisons)
    const skipped = skippedTable(this.#report)
    if (comparisons.length === 0 && skipped === undefined) return undefined
    const key = (name: string): Markup =>
      html`<span class="key" style="background: var(--bar-${name})"></span>`
    const cards = comparisons.map((comparison) => {
      const isOwn = (i: number): boolean =>
        contenderOf(comparison.figures[i] as RecordedFigure) === millraceId
      return html`<div class="card"><h3>${comparisonTitle(comparison)}</h3>
${this.#chart(comparisonChart(comparison, contenders))}
${tableMarkup(comparisonTable(comparison, contenders), (_row, i) => (isOwn(i) ? 'own' : ''))}</div>\n`
    })
    const body = html`<p>${key('millrace')}Millrace, ${key('fsync')}on disk before the
acknowledgement, ${key('default')}durability as the system comes, ${key('pipe')}the pipe. Whiskers span the runs; behind each figure stands how many times
as good Millrace is.</p>
<div class="grid">${cards}</div>
${skipped === undefined ? undefined : html`<div class="stack"><div class="card">${tableMarkup(skipped)}</div></div>`}`
    return { id: 'peers', title: 'Beside its peers', body }
  }

  #latencies(): Part | undefined {
    const cards = this.#sections.flatMap(({ scenario, own, comparisons }) => {
      const timed = own.filter(({ latency }) => latency !== undefined)
      const prefix = commonPrefix(timed.map(({ name }) => name.split(', ')))
      const title = prefix.length === 0 ? scenario : prefix.join(', ')
      return [
        this.#latencyCard(title, timed, ({ name }) => name.split(', ').slice(prefix.length).join(', ')),
        ...comparisons.map(({ name, figures }) =>
          this.#latencyCard(name, figures, (figure) => this.#labelOf(figure)),
        ),
      ]
    })
    if (cards.every((card) => card === undefined)) return undefined
    const body = html`${latencyIntroduction}\n<div class="grid">${cards}</div>`
    return { id: 'latency', title: 'Latency', body }
  }

  #latencyCard(
    title: string,
    figures: readonly RecordedFigure[],
    labelOf: (figure: RecordedFigure) => string,
  ): Markup | undefined {
    const chart = latencyChart(title, figures, labelOf)
    const table = latencyTable(figures, labelOf)
    if (chart === undefined || table === undefined) return undefined
    return html`<div class="card"><h3>${title}</h3>${this.#chart(chart)}\n${tableMarkup(table)}</div>\n`
  }

  #overTime(): Part | undefined {
    const charts = this.#sections.flatMap(({ scenario, own, comparisons }) => [
      ...seriesCharts(scenario, own, ({ name }) => name.replace(`${scenario}, `, '')),
      ...comparisons.flatMap(({ name, figures }) =>
        seriesCharts(name, figures, (figure) => this.#labelOf(figure)),
      ),
    ])
    const body = this.#cards(charts)
    return body === undefined ? undefined : { id: 'over-time', title: 'Over time', body }
  }

  #figures(): Part {
    const cards = this.#sections.map(({ scenario, own, comparisons }) => {
      const all = [...own, ...comparisons.flatMap(({ figures }) => figures)]
      return html`<div class="card"><h3>${scenario}</h3>
${figuresCharts(own).map((chart) => [
  chart.title === scenario ? undefined : html`<h4>${chart.title}</h4>`,
  this.#chart(chart),
])}
${own.length === 0 ? undefined : tableMarkup(figuresTable(own))}
${this.#detailsOf(all)}</div>\n`
    })
    return {
      id: 'figures',
      title: 'All figures',
      body: [figuresIntroduction, html`<div class="stack">${cards}</div>`],
    }
  }

  #detailsOf(figures: readonly RecordedFigure[]): Markup {
    const rows = figures.map((figure) => [
      figure.contender === undefined ? figure.name : `${figure.name} (${figure.contender})`,
      figure.values.map((value) => numbers.format(value)).join(' / '),
      figure.unit,
      detailsLine(figure),
    ])
    const columns = ['figure', 'runs', 'unit', 'seen in the last run'].map(
      (name) => ({ name, align: 'left' }) as const,
    )
    return html`<details><summary>Every run, and what else was seen</summary>${tableMarkup({ columns, rows })}</details>`
  }

  #machine(): Part {
    const items = conditions(this.#report).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)
    return { id: 'machine', title: 'Machine and settings', body: html`<dl>${items}</dl>` }
  }

  #contenders(): Part | undefined {
    const running = this.#report.contenders.filter(({ skipped }) => skipped === undefined)
    if (running.length === 0) return undefined
    return {
      id: 'contenders',
      title: 'Settings of the contenders',
      body: html`<div class="grid">${running.map(contenderCard)}</div>`,
    }
  }

  #labelOf(figure: RecordedFigure): string {
    return contenderLabel(figure, this.#report.contenders)
  }

  #cards(charts: readonly Chart[]): Markup | undefined {
    if (charts.length === 0) return undefined
    const cards = charts.map(
      (chart) => html`<div class="card"><h3>${chart.title}</h3>${this.#chart(chart)}</div>\n`,
    )
    return html`<div class="grid">${cards}</div>`
  }

  #chart(chart: Chart): Markup {
    const index = this.#charts.push(chart) - 1
    return html`<div class="chart"><canvas data-chart="${index}" role="img" aria-label="${chart.title}"></canvas></div>`
  }
}

const numbers = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 5 })

const latencyIntroduction = html`<p>From the time at which a message should have been sent, so that a stall shows in every message that
it delayed. The last run of each figure, on a logarithmic scale.</p>`

const figuresIntroduction = html`<p>Medians; the spread is (largest - smallest) / median of the n runs, and a difference smaller than that is
none. The pipe is the least that a durable log must do on the same machine, in the same run. In the charts
<span style="color: var(--pipe)">the pipe</span> and <span style="color: var(--target)">the target</span> are marks across the bars.</p>`

function contenderCard({ id, system, durability, settings, versions }: ContenderEntry): Markup {
  return html`<div class="card"><h3>${system}, ${durability} <code class="muted">${id}</code></h3>
<div class="muted">${versionsLine(versions)}</div>
<ul>${settings.map((setting) => html`<li>${setting}</li>`)}</ul></div>\n`
}

function tableMarkup(
  { columns, rows }: Table,
  classOf: (row: readonly string[], i: number) => string = () => '',
): Markup {
  const head = columns.map(({ name, align }) => html`<th class="${align}">${name}</th>`)
  const body = rows.map((row, i) => {
    const cells = row.map(
      (cell, at) => html`<td class="${columns[at]?.align} ${resultClass(cell)}">${cell}</td>`,
    )
    return html`<tr class="${classOf(row, i)}">${cells}</tr>\n`
  })
  return html`<div class="scroll"><table><thead><tr>${head}</tr></thead>\n<tbody>${body}</tbody></table></div>`
}

function resultClass(cell: string): string {
  return cell === 'reached' ? 'reached' : cell === 'MISSED' ? 'missed' : ''
}

/** A script as the content of its element. @throws Error if it would end it */
function scriptMarkup(script: string): Markup {
  if (/<\/script|<!--/i.test(script)) throw new Error('the script would end its element')
  return new Markup(script)
}

/** Chart.js for browsers, without the line that names its source map, which is not there. */
function chartLibrary(): string {
  const folder = dirname(createRequire(import.meta.url).resolve('chart.js'))
  return readFileSync(join(folder, 'chart.umd.js'), 'utf8').replace(/^\/\/# sourceMappingURL=.*$/m, '')
}

/** A file beside the source of this module; the compiler does not copy it. */
function asset(name: string): string {
  return readFileSync(new URL(`../../../bench/report/${name}`, import.meta.url), 'utf8')
}
