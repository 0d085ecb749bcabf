import { spawnSync } from 'node:child_process'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { spawnProcess } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('cli/completion')

const program = fileURLToPath(new URL('../../cli/main.cjs', import.meta.url))

/** A folder with a `millrace` to put into PATH. */
async function pathWithMillrace(context: TestContext): Promise<string> {
  const dir = await context.tempDir()
  const file = join(dir, 'millrace')
  await writeFile(
    file,
    `#!/bin/sh\nexec ${JSON.stringify(process.execPath)} ${JSON.stringify(program)} "$@"\n`,
  )
  await chmod(file, 0o755)
  return `${dir}:${process.env.PATH ?? ''}`
}

function has(shell: string): boolean {
  return spawnSync(shell, ['--version']).error === undefined
}

/** Runs a script in a shell and returns the lines that it prints. */
async function inShell(context: TestContext, shell: string, args: readonly string[]): Promise<string[]> {
  const env = { PATH: await pathWithMillrace(context), XDG_CONFIG_HOME: await context.tempDir() }
  const child = spawnProcess(context, shell, args, { env })
  child.stdin.end()
  const exit = await child.exited
  assert.is(exit.code, 0, child.output.stderr)
  return child.output.stdout.split('\n').filter(Boolean)
}

test(
  'completes commands, flags, choices, and the names that the broker knows',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('orders')
    await client.topics.create('other')
    const worker = client.work('orders', { group: 'crew' }, () => {})
    await worker.ready
    const complete = async (...words: string[]): Promise<string[]> =>
      ok(await run(context, ['__complete', '--', ...words], '', { env: { MILLRACE_SERVER: server[1] } }))
        .split('\n')
        .filter(Boolean)
    assert.equal(await complete('to'), ['top', 'topic'])
    assert.equal(await complete('topic', 'pu'), ['purge'])
    assert.equal(await complete('consume', '--fo'), ['--follow', '--format'])
    assert.equal(await complete('consume', '--format', ''), ['json', 'value'])
    assert.equal(await complete('consume', 'or'), ['orders'])
    assert.equal(await complete('consume', 'orders', 'ot'), ['other'])
    assert.equal(await complete('queue', 'peek', ''), ['crew'])
    assert.equal(await complete('completion', ''), ['bash', 'fish', 'zsh'])
    assert.equal(await complete('import', ''), [])
    assert.not.ok((await complete('')).includes('__complete'))
    const named = await run(context, ['__complete', '--', 'consume', '--server', server[1], 'ord'])
    assert.is(ok(named), 'orders\n')
    await worker.close()
  },
  { deadlineMs: 60_000 },
)

test(
  'works in bash',
  async (context) => {
    if (!has('bash')) context.skip('bash is not installed')
    const script = `
    source <(millrace completion bash)
    complete -p millrace
    COMP_WORDS=(millrace topic de); COMP_CWORD=2
    _millrace
    printf '%s\\n' "\${COMPREPLY[@]}"
    COMP_WORDS=(millrace ''); COMP_CWORD=1
    _millrace
    printf '%s\\n' "\${COMPREPLY[@]}"`
    const [declared, ...candidates] = await inShell(context, 'bash', ['--norc', '-c', script])
    assert.match(declared ?? '', /-F _millrace millrace/)
    assert.equal(candidates.slice(0, 2), ['delete', 'describe'])
    assert.ok(candidates.includes('consume'))
  },
  { deadlineMs: 30_000 },
)

test(
  'works in zsh',
  async (context) => {
    if (!has('zsh')) context.skip('zsh is not installed')
    const script = `
    autoload -U compinit; compinit -D
    source <(millrace completion zsh)
    compadd() { print -l -- "\${@[2,-1]}" }
    words=(millrace topic de); CURRENT=3
    _millrace`
    assert.equal(await inShell(context, 'zsh', ['-f', '-c', script]), ['delete', 'describe'])
  },
  { deadlineMs: 30_000 },
)

test(
  'works in fish',
  async (context) => {
    if (!has('fish')) context.skip('fish is not installed')
    const script = `millrace completion fish | source; complete -C 'millrace topic de'`
    assert.equal(await inShell(context, 'fish', ['--no-config', '-c', script]), ['delete', 'describe'])
  },
  { deadlineMs: 30_000 },
)

test.run()
