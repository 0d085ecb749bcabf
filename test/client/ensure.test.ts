import * as assert from 'uvu/assert'
import { type BrokerOptions, startBroker } from '../../broker/index.js'
import { type Client, isMillraceError } from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { quickClient } from './fixtures.js'

const test = suite('client/ensure')

async function start(
  context: TestContext,
  options: BrokerOptions = {},
): Promise<{ client: Client; other: Client }> {
  const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent', ...options })
  context.defer(() => broker.close())
  const address = `127.0.0.1:${broker.address.port}`
  return { client: await quickClient(context, address), other: await quickClient(context, address) }
}

test('ensure creates a topic that does not exist, and then reports no differences', async (context) => {
  const { client } = await start(context)
  const wanted = { partitions: 3, retention: { time: '2d', bytes: '1GB' }, dedupeWindow: '1m' }
  const first = await client.topics.ensure('orders', wanted)
  assert.is(first.created, true)
  assert.is(first.partitions, 3)
  assert.equal(first.differences, [])
  const second = await client.topics.ensure('orders', wanted)
  assert.is(second.created, false)
  assert.is(second.topicId, first.topicId)
  assert.equal(second.differences, [])
  assert.equal((await client.topics.ensure('orders')).differences, [])
})

test('ensure reports each setting that differs, and changes nothing', async (context) => {
  const { client } = await start(context)
  const before = await client.topics.create('orders', { partitions: 2, retention: { time: '2d' } })
  const { created, differences } = await client.topics.ensure('orders', {
    partitions: 4,
    retention: { time: '3d', bytes: 1_000_000 },
    batchBytesMax: before.settings.batchBytesMax,
  })
  assert.is(created, false)
  assert.equal(differences, [
    { setting: 'partitions', wanted: 4, actual: 2 },
    { setting: 'retention.time', wanted: 3 * 86_400_000, actual: 2 * 86_400_000 },
    { setting: 'retention.bytes', wanted: 1_000_000, actual: before.settings.retentionBytes },
  ])
  const { topic } = await client.topics.describe('orders')
  assert.is(topic.partitions, 2)
  assert.equal(topic.settings, before.settings)
})

test('one of several programs that ensure a topic at the same time creates it', async (context) => {
  const { client, other } = await start(context)
  for (let round = 0; round < 20; round++) {
    const all = await Promise.all(
      [client, other, client, other].map((one) => one.topics.ensure(`t${round}`, { partitions: 2 })),
    )
    assert.is(all.filter(({ created }) => created).length, 1)
    assert.is(new Set(all.map(({ topicId }) => topicId)).size, 1)
    assert.ok(all.every(({ differences }) => differences.length === 0))
  }
})

test('a topic that is deleted during ensure is created again', async (context) => {
  const { client, other } = await start(context)
  await client.topics.create('orders')
  const describe = client.topics.describe.bind(client.topics)
  let described = 0
  client.topics.describe = async (...args) => {
    if (described++ === 0) await other.topics.delete('orders')
    return describe(...args)
  }
  const { created, partitions } = await client.topics.ensure('orders', { partitions: 2 })
  assert.equal([created, partitions, described], [true, 2, 1])
})

test('ensure fails for settings that create refuses', async (context) => {
  const { client } = await start(context)
  const error = await client.topics.ensure('no/name').catch((reason: unknown) => reason)
  assert.ok(isMillraceError(error, 'BAD_NAME'))
})

test('a dedupe window over its limit is refused by the name of the option', async (context) => {
  const { client } = await start(context)
  await client.topics.create('orders', { dedupeWindow: '7d' })
  for (const call of [
    () => client.topics.create('x', { dedupeWindow: '8d' }),
    () => client.topics.ensure('x', { dedupeWindow: '8d' }),
    () => client.topics.alter('orders', { dedupeWindow: 8 * 86_400_000 }),
  ]) {
    const error = await call().catch((reason: unknown) => reason)
    assert.ok(isMillraceError(error, 'BAD_OPTION'))
    assert.is(error.message, 'the option "dedupeWindow" is 8 days, expected at most 7 days')
  }
})

test.run()
