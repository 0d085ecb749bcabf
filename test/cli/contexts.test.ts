import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { brokerFor, ok, type Ran, run } from '../helpers/cli.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/contexts')

test(
  'a context names a server; flags and variables override the one in use',
  async (context) => {
    const [, server] = await brokerFor(context)
    const env = { XDG_CONFIG_HOME: await context.tempDir() }
    const millrace = (args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Ran> =>
      run(context, args, '', { env: { ...env, ...more } })
    assert.match(ok(await millrace(['context', 'add', 'local', server])), 'added context "local"')
    ok(await millrace(['context', 'add', 'far', '127.0.0.1:1', '--use']))
    const unused = await millrace(['status'])
    assert.is(unused.code, 1)
    assert.match(unused.stderr, 'no broker answers at 127.0.0.1:1')
    assert.match(ok(await millrace(['status', '--context', 'local'])), /health +ok/)
    assert.match(ok(await millrace(['status', '--server', server])), /health +ok/)
    assert.match(ok(await millrace(['status'], { MILLRACE_CONTEXT: 'local' })), /health +ok/)
    assert.match(ok(await millrace(['status'], { MILLRACE_SERVER: server })), /health +ok/)
    ok(await millrace(['context', 'use', 'local']))
    assert.match(ok(await millrace(['status'])), /health +ok/)
    assert.match(ok(await millrace(['context', 'list'])), /^\* +local/m)
    ok(await millrace(['context', 'remove', 'local']))
    assert.equal(JSON.parse(ok(await millrace(['context', 'list', '--json']))), [
      { name: 'far', server: '127.0.0.1:1', used: false },
    ])
  },
  { deadlineMs: 30_000 },
)

test(
  'an error names the problem of a context',
  async (context) => {
    const home = await context.tempDir()
    const cases: [string[], RegExp][] = [
      [['context', 'use', 'none'], /there is no context "none"; add one with "millrace context add"/],
      [['context', 'add', 'a b', 'localhost'], /"a b" is not a valid context name/],
      [['context', 'add', 'a', 'not an address'], /"not an address" is not an address/],
      [['status', '--context', 'none'], /there is no context "none"/],
      [['status', '--context', 'a', '--server', 'localhost'], /give --server or --context, not both/],
    ]
    for (const [args, message] of cases) {
      const ran = await run(context, args, '', { env: { XDG_CONFIG_HOME: home } })
      assert.is(ran.code, 2, ran.stderr)
      assert.match(ran.stderr, message)
    }
    await mkdir(join(home, 'millrace'))
    await writeFile(join(home, 'millrace', 'contexts.json'), '{')
    const file = join(home, 'file')
    await writeFile(file, '')
    const below = await run(context, ['context', 'add', 'a', 'localhost'], '', {
      env: { XDG_CONFIG_HOME: file },
    })
    assert.is(below.code, 1)
    assert.match(below.stderr, /can't read ".*contexts\.json": a part of its path is not a folder/)
    const damaged = await run(context, ['status'], '', { env: { XDG_CONFIG_HOME: home } })
    assert.is(damaged.code, 1)
    assert.match(damaged.stderr, /contexts\.json" is not a valid contexts file; fix or remove it/)
  },
  { deadlineMs: 30_000 },
)

test.run()
