import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { BenchContext, type Scenario } from '../../bench/lib/scenario.js'
import { renderFigures, renderMarkdown } from '../../bench/report/markdown.js'
import { parseReport, readReport, renderJson } from '../../bench/report/report.js'
import { writeReports } from '../../bench/report/write.js'
import { suite } from '../helpers/suite.js'
import { figure, report, reportWithPeers } from './report_fixture.js'

const test = suite('bench/report')

test('reads the reports that it wrote', async ({ tempDir }) => {
  const folder = await tempDir()
  const series = [{ name: 'memory', unit: 'MB', points: [[0, 1] as const, [1, 2] as const] }]
  const failures = [{ scenario: 'x', error: 'lost' }]
  const written = {
    ...reportWithPeers(),
    failures,
    figures: [figure({ series, details: { cpu: 0.5, codec: 'lz4' } })],
  }
  const json = join(folder, 'out', 'result.json')
  const files = writeReports(written, { json, report: join(folder, 'report') })
  assert.equal(await readReport(json), written)
  assert.is(files.length, 4)
  for (const file of files) assert.ok((await readFile(file, 'utf8')).length > 0, file)
})

test('names the problem of a file that is not a report', async ({ tempDir }) => {
  const file = join(await tempDir(), 'bad.json')
  const wrong: [text: string, message: RegExp][] = [
    ['{', /bad\.json can't be read as a report of the bench: it is not JSON/],
    ['[]', /expected an object, found \[\]/],
    ['{"name":"millrace"}', /format: expected "millrace-bench\/1", found nothing/],
    [renderJson(report()).replace('millrace-bench/1', 'millrace-bench/9'), /found "millrace-bench\/9"/],
    [
      renderJson(report({ figures: [figure(), figure({ values: [] })] })),
      /figures\[1\]\.values: expected at least 1/,
    ],
    [
      renderJson(report({ figures: [figure({ values: [1, Number.NaN] })] })),
      /figures\[0\]\.values\[1\]: expected a number/,
    ],
    [
      renderJson(report()).replace('"higher"', '"sideways"'),
      /figures\[0\]\.better: expected "higher" or "lower"/,
    ],
    [
      renderJson(report()).replace('"processors": 2', '"processors": "2"'),
      /machine\.processors: expected a number/,
    ],
  ]
  for (const [text, message] of wrong) {
    await writeFile(file, text)
    const error = await readReport(file).then(
      () => undefined,
      (failure: Error) => failure,
    )
    assert.match(error?.message ?? 'it was read', message)
  }
  assert.throws(() => parseReport('null'), /expected an object, found null/)
})

test('compares contenders with the same work, and reports how to install missing ones', () => {
  const lines = renderFigures(reportWithPeers()).split('\n')
  const rows = lines.filter((line) => line.startsWith('| Millrace') || line.startsWith('| Redis'))
  assert.match(rows[0] ?? '', /Millrace .*fsync .* 1,000,000 .* 20 % .* 3 /)
  assert.match(rows[1] ?? '', /Redis Streams .*default .* 100,000 .* 10 times/)
  assert.match(rows[3] ?? '', /Redis Streams .* 5 \| .* 2\.5 times/)
  assert.ok(lines.some((line) => /NATS.*is not installed.*apt-get install nats-server/.test(line)))
  const markdown = renderMarkdown(reportWithPeers())
  assert.match(markdown, /- processor: 2 x a processor/)
  assert.match(
    markdown,
    /### Redis Streams, default \(redis\)\n\n- versions: redis-server 7\.0\.15\n- appendonly yes/,
  )
})

test('keeps the figures of a scenario that fails, and runs the others', async () => {
  const seen: string[] = []
  const context = new BenchContext({
    quick: true,
    runs: 2,
    dataRoot: '/nonexistent',
    gigabytes: 1,
    onFigure: ({ scenario, name, values, details }) =>
      seen.push(`${scenario}: ${name} ${values.join(' ')} ${Object.keys(details).join()}`.trim()),
    onProgress: () => {},
    onContender: ({ id, skipped }) => seen.push(`${id}: ${skipped?.reason ?? 'takes part'}`),
    onFailure: ({ scenario, what = 'all', error }) => seen.push(`${scenario} failed, ${what}: ${error}`),
  })
  const options = (name: string) => ({ name, unit: 's', better: 'lower' }) as const
  const fails = scenario('fails', async () => {
    await context.measure(options('first'), async () => ({ value: 1, details: { kept: 'x', share: 1 / 0 } }))
    context.failed('second', new Error('no disk'))
    await context.measure(options('third'), async () => ({ value: 0 / 0 }))
    throw new Error('no broker')
  })
  const works = scenario('works', async () => {
    context.addMeasured(options('last'), [{ value: 3 }, { value: 4 }])
    await context.contender({
      id: 'nats',
      system: 'NATS',
      durability: 'default',
      settings: [],
      kinds: [],
      missing: async () => ({ reason: 'not installed', install: 'install it' }),
      versions: () => Promise.reject(new Error('asked for the versions of what is missing')),
      start: () => Promise.reject(new Error('started what is missing')),
    })
  })
  await context.run(fails)
  await context.run(works)
  assert.equal(seen, [
    'fails: first 1 1 kept',
    'fails failed, second: no disk',
    'fails failed, third: measured NaN',
    'fails failed, all: no broker',
    'works: last 3 4',
    'nats: not installed',
  ])
})

function scenario(name: string, run: Scenario['run']): Scenario {
  return { name, summary: name, byDefault: true, run }
}

test.run()
