import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { measureBuilds } from '../../bench/lib/builds.js'
import { renderJson } from '../../bench/report/report.js'
import { suite } from '../helpers/suite.js'
import { figure, report } from './report_fixture.js'

const test = suite('bench/builds')

/** A build whose bench notes its name and arguments, and reports one figure. */
async function makeBuild(root: string, name: string, value: number, exitCode = 0): Promise<string> {
  const folder = join(root, name)
  await mkdir(join(folder, 'dist', 'bench'), { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await writeFile(join(folder, 'report.json'), renderJson(report({ figures: [figure({ values: [value] })] })))
  await writeFile(
    join(folder, 'dist', 'bench', 'main.js'),
    `import { appendFileSync, copyFileSync } from 'node:fs'
const args = process.argv.slice(2)
const json = args[args.indexOf('--json') + 1]
appendFileSync(${JSON.stringify(join(root, 'runs'))}, [${JSON.stringify(name)}, ...args.filter((arg) => arg !== json)].join(' ') + '\\n')
copyFileSync(${JSON.stringify(join(folder, 'report.json'))}, json)
process.exitCode = ${exitCode}
`,
  )
  return folder
}

test('runs two builds in turns, and collects the values of each', async ({ tempDir }) => {
  const root = await tempDir()
  const base = await makeBuild(root, 'base', 100)
  const own = await makeBuild(root, 'own', 120)
  const reports = await measureBuilds({ base, own }, ['publish'], { quick: false, runs: 3, data: root })
  assert.equal(reports.before.figures[0]?.values, [100, 100, 100])
  assert.equal(reports.after.figures[0]?.values, [120, 120, 120])
  assert.is(reports.after.settings.runs, 3)
  const runs = (await readFile(join(root, 'runs'), 'utf8')).trim().split('\n')
  assert.equal(
    runs.map((line) => line.split(' ')[0]),
    ['base', 'own', 'own', 'base', 'base', 'own'],
  )
  assert.match(runs[0] ?? '', `publish --runs 1 --only-millrace --data ${root}`)
})

test('names a folder without a built bench, and a run that failed', async ({ tempDir }) => {
  const root = await tempDir()
  const base = await makeBuild(root, 'base', 100)
  const missing = await measureBuilds({ base: root, own: base }, [], { quick: true }).catch(String)
  assert.match(String(missing), /has no built bench .*npm run build/)
  const own = await makeBuild(root, 'own', 100, 3)
  const failed = await measureBuilds({ base, own }, [], { quick: true }).catch(String)
  assert.match(String(failed), /own.*ended with exit code 3/)
})

test.run()
