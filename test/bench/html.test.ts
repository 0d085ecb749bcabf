import * as assert from 'uvu/assert'
import { comparisonChart, figuresCharts, seriesCharts } from '../../bench/report/charts.js'
import { renderHtml } from '../../bench/report/html.js'
import { html, jsonMarkup } from '../../bench/report/markup.js'
import { sectionsOf } from '../../bench/report/tables.js'
import { suite } from '../helpers/suite.js'
import { figure, report, reportWithPeers } from './report_fixture.js'

const test = suite('bench/html')

test('escapes the values of templates at any depth, except values that are HTML', () => {
  const inner = html`<b>${'<i>&"\''}</b>`
  assert.is(
    html`<p title="${'"x"'}">${[inner, [1, undefined, '>']]}</p>`.text,
    '<p title="&quot;x&quot;"><b>&lt;i&gt;&amp;&quot;&#39;</b>1&gt;</p>',
  )
  assert.is(jsonMarkup({ a: '</script>' }).text, '{"a":"\\u003c/script>"}')
})

test('escapes all values of a report', () => {
  const evil = '</script><img src=x onerror="alert(1)">'
  const contender = {
    id: 'peer',
    system: evil,
    durability: 'fsync',
    settings: [evil],
    versions: { [evil]: evil },
  } as const
  const work = { scenario: evil, name: evil, unit: evil, details: { [evil]: evil } }
  const base = report()
  const page = renderHtml({
    ...base,
    machine: { ...base.machine, processor: evil, system: evil },
    contenders: [contender, { ...contender, id: 'gone', skipped: { reason: evil, install: evil } }],
    figures: [
      figure({ ...work, series: [{ name: evil, unit: evil, points: [[0, 1]] }] }),
      figure({ ...work, contender: 'peer' }),
      figure({
        ...work,
        name: `${evil}, other`,
        latency: { count: 1, p50Ms: 1, p90Ms: 1, p99Ms: 1, p999Ms: 1, maxMs: 1 },
      }),
    ],
    failures: [{ scenario: evil, what: evil, error: evil }],
  })
  assert.not.match(page, /<img/)
  assert.is(page.match(/<\/script>/g)?.length, 3)
  assert.match(page, /&lt;img src=x onerror=&quot;/)
})

test('loads nothing from the network, and has every figure in its tables', () => {
  const page = renderHtml(reportWithPeers())
  const withoutLibrary = page.replace(/<script>[\s\S]*?<\/script>/g, '')
  assert.not.match(withoutLibrary, /https?:|<link|@import|url\(|src=/)
  assert.not.match(page, /sourceMappingURL/)
  for (const shown of ['publish, 100 B', '1,000,000', '10 times', '2.5 times', 'apt-get install nats-server'])
    assert.ok(withoutLibrary.includes(shown), shown)
})

test('puts the ranges of the runs, the pipe and the target into the bars', () => {
  const [chart] = figuresCharts([
    figure({ name: 'publish, 100 B, 1 partition', pipe: 200, target: 150 }),
    figure({ name: 'publish, 100 B, 8 partitions', values: [5_000] }),
    figure({ name: 'another unit', unit: 'ms' }),
  ])
  assert.is(chart?.title, 'publish, 100 B')
  assert.is(chart?.logarithmic, true)
  assert.equal(chart?.bars[0], {
    label: ['1 partition'],
    value: 105,
    range: [100, 110],
    note: '105',
    tone: 'millrace',
    pipe: 200,
    target: 150,
  })
  assert.equal(figuresCharts([]), [])
})

test('compares contenders best first, and thins long series', () => {
  const { contenders, figures } = reportWithPeers()
  const [comparison] = sectionsOf(figures).flatMap(({ comparisons }) => comparisons)
  const { bars } = comparisonChart(comparison as NonNullable<typeof comparison>, contenders)
  assert.equal(
    bars.map(({ label, note, tone }) => [label[0], note, tone]),
    [
      ['Millrace, fsync', '1,000,000', 'millrace'],
      ['Redis Streams, default', '100,000  (10x)', 'default'],
    ],
  )
  const points = Array.from({ length: 10_000 }, (_, i) => [i, 2 * i] as const)
  const memory = figure({ series: [{ name: 'memory', unit: 'MB', points }] })
  const [line] = seriesCharts('fill', [memory], () => '')
  assert.is(line?.title, 'fill: memory')
  const drawn = line?.lines[0]?.points ?? []
  assert.ok(drawn.length <= 402, `${drawn.length} points`)
  assert.equal(drawn.at(-1), [9_999, 19_998])
})

test.run()
