import * as assert from 'uvu/assert'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli/purge_peek')

test(
  'purge asks first, drops the current messages of a topic, and keeps later ones',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('t', { partitions: 2 })
    const publish = (value: string, partition: number) =>
      client.publish('t', { value: Buffer.from(value), partition })
    for (const partition of [0, 0, 1]) await publish('old', partition)
    const asked = await run(context, ['topic', 'purge', 't', ...server])
    assert.is(asked.code, 2)
    assert.match(asked.stderr, /without a terminal for a question, confirm it with --yes/)
    assert.is(ok(await run(context, ['consume', 't', ...server])), 'old\nold\nold\n')
    const one = ok(
      await run(context, ['topic', 'purge', 't', '--partition', '1', '--yes', '--json', ...server]),
    )
    assert.equal(JSON.parse(one), {
      topic: 't',
      dropped: 1,
      partitions: [{ partition: 1, startOffset: 1, dropped: 1 }],
    })
    assert.is(
      ok(await run(context, ['topic', 'purge', 't', '--yes', ...server])),
      'dropped 2 messages of topic "t"\n',
    )
    await publish('new', 0)
    assert.is(ok(await run(context, ['consume', 't', '-o', '%o %v', ...server])), '2 new\n')
    ok(await run(context, ['topic', 'purge', 't', '--yes', ...server]))
    assert.is(
      ok(await run(context, ['topic', 'purge', 't', ...server])),
      'topic "t" has no messages to drop\n',
      'an empty topic needs no confirmation',
    )
    assert.equal(JSON.parse(ok(await run(context, ['topic', 'purge', 't', '--json', ...server]))), {
      topic: 't',
      dropped: 0,
      partitions: [
        { partition: 0, startOffset: 3, dropped: 0 },
        { partition: 1, startOffset: 1, dropped: 0 },
      ],
    })
    const wrong = await run(context, ['topic', 'purge', 't', '--partition', '9', '--yes', ...server])
    assert.is(wrong.code, 1)
    assert.match(wrong.stderr, /no partition 9/)
  },
  { deadlineMs: 30_000 },
)

test(
  'peek shows the state of unfinished messages, and leases none',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('jobs')
    for (const value of ['done', 'late', 'held', 'waits\n', 'purged later'])
      await client.publish('jobs', { key: 'k', value: Buffer.from(value) })
    const ending = new AbortController()
    const release = new Promise((done) => ending.signal.addEventListener('abort', done))
    const worker = client.work(
      'jobs',
      { group: 'crew', concurrency: 3, settings: { retry: { kind: 'fixed', delay: '1h' } } },
      async ({ value, signal }) => {
        const text = Buffer.from(value).toString()
        if (text === 'late') throw new Error('not now')
        if (text !== 'done')
          await Promise.race([release, new Promise((done) => signal.addEventListener('abort', done))])
      },
    )
    context.defer(() => ending.abort())
    await worker.ready
    await waitFor('three to be in flight', async () => {
      const [partition] = (await client.queues.describe('crew')).partitions
      return partition?.inFlight === 3 && partition.delayed === 1
    })
    const peek = async (args: readonly string[]): Promise<Record<string, unknown>[]> =>
      ok(await run(context, ['queue', 'peek', 'crew', '--json', ...args, ...server]))
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    await client.queues.pause('crew')
    await client.publish('jobs', { value: Buffer.from('new') })
    const all = await peek([])
    assert.equal(
      all.map(({ state, attempts, message }) => [(message as { value: string }).value, state, attempts]),
      [
        ['late', 'delayed', 1],
        ['held', 'inFlight', 0],
        ['waits\n', 'inFlight', 0],
        ['purged later', 'inFlight', 0],
        ['new', 'waiting', 0],
      ],
    )
    assert.ok((all[0]?.dueAtMs as number) > Date.now())
    assert.is((await peek(['--state', 'delayed'])).length, 1)
    assert.is((await peek(['--limit', '2'])).length, 2)
    assert.is((await peek(['--topic', 'jobs'])).length, all.length)
    const table = ok(await run(context, ['queue', 'peek', 'crew', '--state', 'in-flight', ...server]))
    assert.match(table, /jobs +0 +3 +in-flight +0 +- +\S+ +k +waits\ufffd/)
    await client.topics.purge('jobs')
    assert.equal(await peek([]), [])
    assert.is(
      (await client.queues.describe('crew')).partitions[0]?.inFlight,
      3,
      'nothing was leased or ended by it',
    )
    ending.abort()
    await worker.close()
  },
  { deadlineMs: 30_000 },
)

test.run()
