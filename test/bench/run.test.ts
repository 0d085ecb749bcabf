import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { Progress } from '../../bench/lib/progress.js'
import { readReport, renderJson } from '../../bench/report/report.js'
import { spawnNode } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { figure, report } from './report_fixture.js'

const test = suite('bench/run')

/** Whole benches run as processes of their own, on a machine that may be busy. */
const slow = { deadlineMs: 60_000 }

const fixture = fileURLToPath(new URL('./run_fixture.js', import.meta.url))
const main = fileURLToPath(new URL('../../bench/main.js', import.meta.url))

test(
  'continues when a scenario fails, reports it, and leaves no folder behind',
  async (context) => {
    const [data, json] = await places(context)
    const { code } = await spawnNode(context, fixture, [data, json]).exited
    assert.is(code, 0)
    const { figures, failures, complete, settings } = await readReport(json)
    assert.equal(failures, [{ scenario: 'fails', error: 'no broker' }])
    assert.equal(
      figures.map(({ scenario, name }) => [scenario, name]),
      [['works', 'a figure']],
    )
    assert.is(complete, true)
    assert.equal(settings.scenarios, ['fails', 'works'])
    assert.equal(await readdir(data), [])
  },
  slow,
)

test(
  'writes the figures so far when it is interrupted, and leaves no folder behind',
  async (context) => {
    const [data, json] = await places(context)
    const bench = spawnNode(context, fixture, [data, json, 'stay'])
    await bench.waitForOutput('stderr', /stays \(3 of 3\): waiting/)
    assert.is((await readdir(data)).length, 1)
    bench.kill('SIGINT')
    assert.equal(await bench.exited, { code: 130, signal: null })
    const { figures, complete } = await readReport(json)
    assert.is(figures.length, 1)
    assert.is(complete, false)
    assert.match(bench.output.stdout, /\| a figure \|/)
    assert.equal(await readdir(data), [])
  },
  slow,
)

test(
  'exits with 1 when a scenario failed',
  async (context) => {
    const bench = spawnNode(context, main, [
      'size',
      '--gigabytes',
      '1000000',
      '--data',
      await context.tempDir(),
    ])
    assert.is((await bench.exited).code, 1)
    assert.match(bench.output.stdout, /\| size +\| the whole scenario \| .* GB free/)
  },
  slow,
)

test(
  'compares two files without measuring, and fails because of worse figures only on request',
  async (context) => {
    const folder = await context.tempDir()
    const [before, after, none] = ['before', 'after', 'none'].map((name) => join(folder, `${name}.json`)) as [
      string,
      string,
      string,
    ]
    await writeFile(before, renderJson(report()))
    await writeFile(after, renderJson(report({ figures: [figure({ values: [50, 51, 52] })] })))
    const run = (...args: string[]) => {
      const bench = spawnNode(context, main, args)
      return bench.exited.then(({ code }) => ({ code, ...bench.output }))
    }
    const [told, untold, reversed, missing, unknown] = await Promise.all([
      run('--compare', before, '--with', after, '--fail-on-regression'),
      run('--compare', before, '--with', after),
      run('--compare', after, '--with', before, '--fail-on-regression'),
      run('--compare', none, '--with', after),
      run('end-to-edn'),
    ])
    assert.equal([told.code, untold.code, reversed.code], [1, 0, 0])
    assert.match(told.stdout, /-51\.4 % \| WORSE/)
    assert.match(reversed.stdout, /BETTER/)
    assert.is(missing.code, 1)
    assert.match(missing.stderr, /none\.json can't be read as a report of the bench: ENOENT/)
    assert.is(unknown.code, 2)
    assert.match(unknown.stderr, /did you mean "end-to-end"/)
  },
  slow,
)

test('rewrites its progress in one line of a terminal, and clears it at the end', () => {
  const written: string[] = []
  const write = (text: string): boolean => written.push(text) > 0
  const progress = new Progress({ isTTY: true, columns: 30, write } as never, ['first', 'second'])
  progress.next()
  progress.show('run 1 of 3, with a name that is too long')
  progress.log('a figure')
  progress.end()
  const eraseLine = '\u001b[1G\u001b[2K'
  const text = written.join('')
  assert.ok(
    text.includes(`${eraseLine}[0 s] first (1 of 2): run 1 o${eraseLine}a figure\n`),
    JSON.stringify(text),
  )
  assert.ok(text.endsWith(eraseLine), JSON.stringify(text))
})

/** A folder for data, and a file beside it for the result. */
async function places(context: TestContext): Promise<[data: string, json: string]> {
  return [await context.tempDir(), join(await context.tempDir(), 'result.json')]
}

test.run()
