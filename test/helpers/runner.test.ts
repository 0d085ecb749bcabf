import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { discover } from './discover.js'
import { type FileResult, runFiles } from './runner.js'
import { spawnNode } from './spawn.js'
import { suite } from './suite.js'

const test = suite('helpers/runner')

const runScript = fileURLToPath(new URL('../run.js', import.meta.url))

function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/${name}.fixture.js`, import.meta.url))
}

async function run(name: string, fileDeadlineMs = 20_000): Promise<FileResult> {
  const [result] = await runFiles([fixture(name)], { parallel: 1, fileDeadlineMs })
  assert.ok(result)
  return result
}

function failures(result: FileResult): string[] {
  return result.failures.map(({ test: name, message }) => `${name}: ${message}`)
}

test('counts what passed and shows why tests were skipped', async () => {
  const result = await run('passing')
  assert.equal(failures(result), [])
  assert.is(result.passed, 1)
  assert.equal(
    result.skipped.map(({ reason }) => reason),
    ['a reason', 'another reason'],
  )
})

test('names a failed test with its assertion, stack and seed', async () => {
  const result = await run('assertion_failure')
  assert.is(result.passed, 1)
  assert.is(result.failures.length, 1)
  assert.is(result.failures[0]?.test, 'fixture/assertion_failure: fails')
  assert.match(result.failures[0]?.message ?? '', /random seeds: 42/)
  assert.match(result.failures[0]?.message ?? '', /Expected/)
  assert.match(result.failures[0]?.stack ?? '', /assertion_failure\.fixture\.ts:8/)
})

test('fails a hanging test and runs the next one', async () => {
  const result = await run('hanging_test')
  assert.is(result.passed, 1)
  assert.match(failures(result).join(), /hangs: Error: the test did not end within \d+ ms/)
})

test('kills a file at its deadline and names the running test', async () => {
  const result = await run('busy_test', 5_000)
  assert.match(failures(result).join('\n'), /ran longer than 5000 ms/)
  assert.match(failures(result).join('\n'), /gives the processor back: started and not finished/)
})

test('fails tests that were registered and never run', async () => {
  const result = await run('forgotten_run')
  assert.match(failures(result).join(), /would pass: registered and not run/)
})

test('fails a test whose cleanup throws', async () => {
  const result = await run('throwing_cleanup')
  assert.is(result.passed, 0)
  assert.match(failures(result).join(), /its cleanup throws: Error: from the cleanup/)
})

test('fails what an early exit with code 0 left out', async () => {
  const result = await run('early_exit')
  assert.is(result.passed, 0)
  assert.match(failures(result).join('\n'), /ends the process: started and not finished/)
  assert.match(failures(result).join('\n'), /comes after the end: registered and not run/)
})

test('fails on unhandled rejections, during a test and after the last', async () => {
  const result = await run('unhandled_rejection')
  assert.match(failures(result).join('\n'), /leaves a rejection behind: .*nobody waits for me/)
  assert.match(failures(result).join('\n'), /\(file\): .*too late for a test/)
})

test(
  'fails a file whose process does not exit after its tests',
  async () => {
    const result = await run('open_handle')
    assert.is(result.passed, 1)
    assert.match(failures(result).join(), /\(file\): .*did not exit.*TCPServerWrap/)
  },
  { deadlineMs: 20_000 },
)

test('fails a file without tests', async () => {
  assert.match(failures(await run('no_test')).join(), /no test was registered/)
})

test('exits 1 after failures and 0 without, the counts in the last line', async (context) => {
  const bad = spawnNode(context, runScript, [fixture('assertion_failure')])
  assert.is((await bad.exited).code, 1)
  assert.is(bad.output.stdout.trim().split('\n').at(-1), '1 passed, 1 failed')
  const good = spawnNode(context, runScript, [fixture('passing')])
  assert.is((await good.exited).code, 0)
  assert.is(good.output.stdout.trim().split('\n').at(-1), '1 passed, 0 failed, 2 skipped')
  const nothing = spawnNode(context, runScript, ['no/such/test'])
  assert.is((await nothing.exited).code, 1)
})

test('finds tests by path, and files with tests that would never run', async ({ tempDir }) => {
  const root = await tempDir()
  await mkdir(join(root, 'storage'))
  const script = "import { suite } from '../helpers/suite.js'\nimport { contract } from './contract.js'\n"
  await writeFile(join(root, 'storage', 'journal.test.js'), script)
  await writeFile(join(root, 'storage', 'engine.test.js'), script)
  await writeFile(join(root, 'storage', 'contract.js'), script)
  await writeFile(join(root, 'storage', 'misnamed_test.js'), script)
  await writeFile(join(root, 'storage', 'old.test.js'), script)
  await writeFile(join(root, 'storage', 'old.test.js.map'), '{"sources":["../gone/old.test.ts"]}')
  const all = await discover(root, [])
  assert.equal(all.files, [join(root, 'storage', 'engine.test.js'), join(root, 'storage', 'journal.test.js')])
  assert.equal(all.strays, [join(root, 'storage', 'misnamed_test.js')])
  assert.equal(all.stale, [join(root, 'storage', 'old.test.js')])
  assert.equal((await discover(root, ['storage/journal'])).files, [join(root, 'storage', 'journal.test.js')])
})

test.run()
