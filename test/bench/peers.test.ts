import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import * as assert from 'uvu/assert'
import { BenchContext, type Failure, type RecordedFigure } from '../../bench/lib/scenario.js'
import { bullContenders } from '../../bench/peers/bullmq/index.js'
import { contenders } from '../../bench/peers/index.js'
import { missingClient } from '../../bench/peers/lib/clients.js'
import { processTree, usageOf } from '../../bench/peers/lib/processes.js'
import { findProgram } from '../../bench/peers/lib/programs.js'
import { ServerProcess } from '../../bench/peers/lib/server_process.js'
import { millraceContender } from '../../bench/peers/millrace/index.js'
import { natsContenders } from '../../bench/peers/nats/index.js'
import { compareVersions, programVariable } from '../../bench/peers/nats/server.js'
import { redisContenders } from '../../bench/peers/redis/index.js'
import { peersScenario } from '../../bench/scenarios/peers.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { livingOf, worksAndLeavesNothing } from './contender_contract.js'

const test = suite('bench/peers')

const deadlineMs = 60_000

for (const contender of [millraceContender, ...redisContenders, ...natsContenders, ...bullContenders])
  test(
    `${contender.id} works and leaves nothing behind`,
    (context) => worksAndLeavesNothing(contender, context),
    { deadlineMs },
  )

test('names every contender once', () => {
  const ids = contenders.map(({ id }) => id)
  assert.equal([...new Set(ids)], ids)
})

test('reports missing parts and how to install them', async (context) => {
  setVariable(context, 'PATH', await context.tempDir())
  const [redis] = redisContenders
  assert.match((await redis?.missing())?.reason ?? '', /redis-server is not installed/)
  assert.match((await redis?.missing())?.install ?? '', /^apt-get install redis-server$/)
})

test('reports how to install a missing client', async () => {
  assert.equal(await missingClient('no-such-client', 'redis/publisher.js'), {
    reason: 'no-such-client is not installed',
    install: 'npm run bench:clients',
  })
})

test('does not use a NATS without sync as a synced contender', async (context) => {
  const old = await script(context, 'nats-server', 'echo "nats-server: v2.9.10"')
  setVariable(context, programVariable, old)
  const [nats, synced] = natsContenders
  assert.not.match((await nats?.missing())?.reason ?? '', /nats-server/)
  assert.match((await synced?.missing())?.reason ?? '', /nats-server 2\.9\.10 can't sync/)
})

test('finds the newer of two versions', () => {
  assert.ok(compareVersions('2.9.10', '2.10') < 0)
  assert.ok(compareVersions('2.12.2', '2.10') > 0)
  assert.is(compareVersions('2.12.2', '2.12.2'), 0)
})

test('finds a program in PATH', async (context) => {
  const path = await script(context, 'some-server', 'true')
  assert.is(await findProgram('some-server'), undefined)
  setVariable(context, 'PATH', `${join(path, '..')}${delimiter}${process.env.PATH}`)
  assert.is(await findProgram('some-server'), path)
})

test('shows the end of the output of a server that does not start', async (context) => {
  const dataRoot = await context.tempDir()
  const args = ['-c', 'echo bad configuration >&2; exit 3']
  const options = { name: 'broken', dataRoot, command: () => ({ program: '/bin/sh', args }) }
  try {
    await ServerProcess.start(options)
    assert.unreachable()
  } catch (error) {
    assert.match(String(error), /broken did not start: it ended with exit code 3\nbad configuration/)
  }
  assert.equal(await readdir(dataRoot), [])
})

test('kills a server that never serves, and what it started', async (context) => {
  const dataRoot = await context.tempDir()
  const pidFile = join(await context.tempDir(), 'pid')
  const stubborn = `trap '' TERM; sleep 60 & echo $! > ${pidFile}; echo alive; wait; sleep 60`
  const command = () => ({ program: '/bin/sh', args: ['-c', stubborn] })
  const options = { name: 'stubborn', dataRoot, command, startMsMax: 300, stopMsMax: 200 }
  try {
    await ServerProcess.start(options)
    assert.unreachable()
  } catch (error) {
    assert.match(String(error), /stubborn did not start within 300 ms: .*ECONNREFUSED(.|\n)*alive/)
  }
  assert.equal(await readdir(dataRoot), [])
  assert.equal(await livingOf([Number(await readFile(pidFile, 'utf8'))]), [])
})

test('serves on its port, and counts the processes that it started', async (context) => {
  const dataRoot = await context.tempDir()
  const listen = 'require("node:net").createServer().listen(process.argv[1], "127.0.0.1")'
  const server = await ServerProcess.start({
    name: 'server',
    dataRoot,
    command: ({ port }) => ({
      program: '/bin/sh',
      args: ['-c', '"$1" -e "$2" "$3" & wait', 'sh', process.execPath, listen, String(port)],
    }),
  })
  context.defer(() => server.stop())
  const socket = connect(server.port, '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
  assert.is(server.pids.length, 2)
  assert.ok(usageOf(server.pids).rssBytes > 10e6)
  await server.stop()
  assert.equal(server.pids, [])
  assert.equal(await readdir(dataRoot), [])
})

test('sees its own memory and time', () => {
  assert.ok(processTree(process.pid).includes(process.pid))
  const { rssBytes, cpuMs } = usageOf([process.pid])
  assert.ok(Math.abs(rssBytes / process.memoryUsage.rss() - 1) < 0.5, `${rssBytes} bytes`)
  assert.ok(cpuMs > 0)
})

test(
  'runs contenders in turn, and reports the ones that failed',
  async (context) => {
    const missing = await missingClient('@nats-io/jetstream', 'nats/publisher.js')
    if (missing !== undefined) context.skip(`${missing.reason}: ${missing.install}`)
    const figures: RecordedFigure[] = []
    const failures: Failure[] = []
    const broken = 'echo v2.12.0; [ "$1" = --version ]'
    setVariable(context, programVariable, await script(context, 'nats-server', broken))
    const bench = new BenchContext({
      quick: true,
      runs: 1,
      dataRoot: await context.tempDir(),
      gigabytes: 1,
      contenders: ['pipe', 'millrace', 'nats'],
      onFigure: (figure) => figures.push(figure),
      onProgress: () => {},
      onFailure: (failure) => failures.push(failure),
    })
    await bench.run(peersScenario)
    assert.equal(
      failures.map(({ what }) => what),
      ['nats, start'],
      failures.map(({ error }) => error).join(),
    )
    const names = figures.map(({ contender = '', name }) => `${contender} ${name}`)
    assert.equal(
      names,
      ['publish, 100 B', 'end to end, 100 B'].flatMap((name) => [
        `pipe ${name}`,
        `millrace ${name}`,
        ` ${name}, millrace : pipe`,
      ]),
    )
    const [pipe = 0, millrace = 0, ratio] = figures.map(({ values }) => values[0])
    assert.is(ratio, millrace / pipe)
  },
  { deadlineMs },
)

test.run()

/** Writes a program of that name, and gives its path. */
async function script(context: TestContext, name: string, body: string): Promise<string> {
  const folder = join(await context.tempDir(), 'bin')
  await mkdir(folder)
  await writeFile(join(folder, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  return join(folder, name)
}

function setVariable(context: TestContext, name: string, value: string): void {
  const before = process.env[name]
  context.defer(() => {
    if (before === undefined) delete process.env[name]
    else process.env[name] = before
  })
  process.env[name] = value
}
