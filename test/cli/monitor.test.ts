import * as assert from 'uvu/assert'
import { Latencies } from '../../cli/monitor/latencies.js'
import { type Snapshot, snapshotOf, viewOf } from '../../cli/monitor/snapshot.js'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli/monitor')

test('a view has the rates between two snapshots', async (context) => {
  const client = await clientFor(context, await brokerFor(context))
  const { signal } = new AbortController()
  await client.topics.create('quiet')
  await client.topics.create('busy', { partitions: 2 })
  const worker = client.work('busy', { group: 'crew' }, () => {})
  await worker.ready
  const at = (snapshot: Snapshot, atMs: number): Snapshot => ({ ...snapshot, atMs })
  const before = await snapshotOf(client, signal)
  await client.publishMany(
    'busy',
    Array.from({ length: 10 }, () => ({ value: Buffer.from('x') })),
  )
  for await (const message of client.consume('busy', { group: 'g', from: 'earliest', until: 'end' }))
    message.ack()
  await waitFor('the worker to be done', async () => {
    const { partitions } = await client.queues.describe('crew')
    return partitions.every(({ waiting, inFlight }) => waiting + inFlight === 0)
  })
  const view = viewOf(at(before, 0), at(await snapshotOf(client, signal), 2_000))
  const [first, second] = view.topics
  assert.equal(
    [first?.topic, first?.publishedPerSecond, first?.messages, first?.partitions],
    ['busy', 5, 10, 2],
  )
  assert.equal([second?.topic, second?.publishedPerSecond], ['quiet', 0])
  assert.equal(
    view.groups.map(({ group, lag }) => [group, lag]),
    [['g', 0]],
  )
  assert.equal(
    view.queues.map(({ group, donePerSecond, workers, dead }) => [group, donePerSecond, workers, dead]),
    [['crew', 5, 1, 0]],
  )
  await worker.close()
})

test('top prints no warning when there are many topics', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  for (let n = 0; n < 20; n++) await client.topics.create(`t${n}`)
  const ran = await run(context, ['top', '--once', '--interval', '100ms', ...server])
  assert.is(ran.code, 0)
  assert.is(ran.stderr, '')
})

test(
  'top prints a view once, as JSON, or repeatedly until Ctrl-C',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('t')
    const once = ok(await run(context, ['top', '--once', '--interval', '100ms', ...server]))
    assert.match(once, /health ok .*published 0\/s.*topic +partitions +published\/s.*t +1 +0 +0 +0 B/s)
    assert.not.match(once, '\u001b')
    const json = JSON.parse(
      ok(await run(context, ['top', '--once', '--json', '--interval', '100ms', ...server])),
    )
    assert.equal(json.topics, [{ topic: 't', partitions: 1, publishedPerSecond: 0, messages: 0, bytes: 0 }])
    const watching = spawnMillrace(context, ['top', '--interval', '100ms', ...server])
    await watching.waitForOutput('stdout', /health ok.*health ok/s)
    watching.kill('SIGINT')
    assert.equal(await watching.exited, { code: 0, signal: null })
    const piped = spawnMillrace(context, ['top', '--json', '--interval', '100ms', ...server])
    await piped.waitForOutput('stdout', /"health":"ok"/)
    piped.closeOutput()
    assert.equal(await piped.exited, { code: 141, signal: null })
  },
  { deadlineMs: 30_000 },
)

test(
  'bench measures a broker and deletes its topic, also after Ctrl-C',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    const measured = ok(
      await run(context, [
        'bench',
        '--rate',
        '200',
        '--size',
        '1KB',
        '--duration',
        '500ms',
        '--json',
        ...server,
      ]),
    )
    const { published, consumed, valueBytes, latencyMs } = JSON.parse(measured)
    assert.ok(published > 0 && published <= 100, `published ${published}`)
    assert.is(consumed, published)
    assert.is(valueBytes, 1_000)
    assert.ok(latencyMs.p50 > 0 && latencyMs.p50 <= latencyMs.max)
    assert.equal(await client.topics.list(), [])
    const stopped = spawnMillrace(context, ['bench', '--rate', '10', '--duration', '1h', ...server])
    await waitFor('its topic', async () => (await client.topics.list()).length === 1)
    const [topic] = await client.topics.list()
    await waitFor(
      'a message',
      async () => ((await client.topics.offsets(topic?.name ?? '', 'latest'))[0] ?? 0) > 0,
    )
    stopped.kill('SIGINT')
    assert.equal(await stopped.exited, { code: 130, signal: null })
    assert.match(stopped.output.stdout, /rate +\d+\/s/)
    assert.equal(await client.topics.list(), [])
    const small = await run(context, ['bench', '--size', '7', ...server])
    assert.is(small.code, 2)
    assert.match(small.stderr, /--size is 7 bytes, expected at least 8 bytes/)
  },
  { deadlineMs: 30_000 },
)

test('quantiles are exact to 2 percent', () => {
  const latencies = new Latencies()
  assert.is(latencies.summary(), undefined)
  for (let i = 1; i <= 10_000; i++) latencies.add(i / 10)
  const { p50 = 0, p99 = 0, max } = latencies.summary() ?? {}
  assert.ok(Math.abs(p50 - 500) <= 10, String(p50))
  assert.ok(Math.abs(p99 - 990) <= 20, String(p99))
  assert.is(max, 1_000)
})

test.run()
