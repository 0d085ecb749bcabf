import * as assert from 'uvu/assert'
import { commands, type ErrorCode, errorTable, type MillraceError } from '../../../protocol/index.js'
import { memoryEngines } from '../../../storage/index.js'
import { suite } from '../../helpers/suite.js'
import { batchOf, createTopic, fetchPartition, publish, testBroker, testClient } from '../harness.js'

const test = suite('broker/handlers/topics')

async function refused(work: Promise<unknown>, code: ErrorCode, text: RegExp): Promise<void> {
  const error = (await work.then(
    () => new Error('it was accepted'),
    (problem: unknown) => problem,
  )) as MillraceError
  assert.is(error.code, code, error.message)
  assert.match(error.message, text)
}

test('creates topics with defaults and with settings, and lists and describes them', async (context) => {
  const broker = await testBroker(context, { partitionsDefault: 2, retentionMs: 60_000, brokerId: 5 })
  const client = await testClient(context, broker)
  const created = await client.request(commands.topicCreate, { topic: 'plain' })
  assert.is(created.body.partitions, 2)
  assert.is(created.body.settings.retentionMs, 60_000)
  await client.request(commands.topicCreate, {
    topic: 'other',
    partitions: 3,
    settings: { retentionMs: -1, retentionBytes: 5_000, batchBytesMax: 2_048 },
  })
  const { body } = await client.request(commands.topicList, {})
  assert.equal(body.topics.map(({ name, partitions }) => [name, partitions]).sort(), [
    ['other', 3],
    ['plain', 2],
  ])
  const described = await client.request(commands.topicDescribe, { topic: 'other' })
  assert.equal(described.body.topic.settings, {
    retentionMs: -1,
    retentionBytes: 5_000,
    batchBytesMax: 2_048,
    dedupeWindowMs: 120_000,
  })
  assert.equal(
    described.body.partitions.map(({ partition, owner, endOffset }) => [partition, owner, endOffset]),
    [
      [0, 5, 0],
      [1, 5, 0],
      [2, 5, 0],
    ],
  )
})

test('metadata names the owner of each partition, and the nearest name of an unknown topic', async (context) => {
  const broker = await testBroker(context)
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const { body } = await client.request(commands.metadata, { topics: ['orders', 'ordres'] })
  assert.equal(body.brokers, [{ brokerId: 0, host: '127.0.0.1', port: broker.address.port }])
  assert.equal(body.topics[0], { name: 'orders', error: 0, topicId, owners: [0, 0] })
  assert.is(body.topics[1]?.error, errorTable.UNKNOWN_TOPIC.number)
  assert.match(body.topics[1]?.message ?? '', /"ordres"; did you mean "orders"/)
  assert.is((await client.request(commands.metadata, {})).body.topics.length, 1)
})

test('metadata contains the advertised host', async (context) => {
  const client = await testClient(context, await testBroker(context, { advertisedHost: 'broker.example' }))
  const { body } = await client.request(commands.metadata, {})
  assert.is(body.brokers[0]?.host, 'broker.example')
})

test('refuses topics with invalid names or settings', async (context) => {
  const client = await testClient(context, await testBroker(context, { partitionsPerBrokerMax: 10 }))
  const create = (topic: string, partitions?: number, settings?: Record<string, number>) =>
    client.request(commands.topicCreate, { topic, partitions, settings })
  await create('taken', 4)
  await refused(create('taken'), 'TOPIC_EXISTS', /"taken"/)
  await refused(create('a b'), 'BAD_NAME', /"a b".*only letters/)
  await refused(create(''), 'BAD_NAME', /empty/)
  await refused(create('x'.repeat(201)), 'BAD_NAME', /201 characters/)
  await refused(create('many', 7), 'LIMIT_EXCEEDED', /has 4 partitions and can't add 7, the maximum is 10/)
  await refused(create('huge', 10_001), 'LIMIT_EXCEEDED', /at most 10000/)
  await refused(create('none', 0), 'BAD_CONFIG', /at least 1/)
  await refused(
    create('short', 1, { retentionMs: 5 }),
    'BAD_CONFIG',
    /retentionMs is 5 ms, expected at least 1 s, or -1/,
  )
  await refused(create('zero', 1, { retentionBytes: 0 }), 'BAD_CONFIG', /retentionBytes is 0/)
  await refused(
    create('big', 1, { batchBytesMax: 1e9 }),
    'BAD_CONFIG',
    /batchBytesMax is 1 GB, expected at most 4 MiB, the limit of this broker/,
  )
  await refused(create('bad', 1, { batchBytesMax: 1 }), 'BAD_REQUEST', /settings\.batchBytesMax/)
})

test('one of two concurrent creations of one name succeeds', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const both = await Promise.allSettled([createTopic(client, 'same'), createTopic(client, 'same')])
  assert.equal(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
})

test('alters settings and adds partitions, and never takes any away', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 2, settings: { retentionBytes: 9_000 } })
  const { body } = await client.request(commands.topicAlter, {
    topic: 'orders',
    partitions: 4,
    settings: { retentionMs: 2_000 },
  })
  assert.is(body.partitions, 4)
  assert.is(body.settings.retentionMs, 2_000)
  assert.is(body.settings.retentionBytes, 9_000)
  const [result] = await publish(client, [topicId, 3, batchOf(['new'])])
  assert.is(result?.error, 0)
  await refused(
    client.request(commands.topicAlter, { topic: 'orders', partitions: 1 }),
    'BAD_CONFIG',
    /has 4 partitions, expected at least that number, got/,
  )
  await refused(
    client.request(commands.topicAlter, { topic: 'order' }),
    'UNKNOWN_TOPIC',
    /did you mean "orders"/,
  )
})

test('a topic that is deleted and created again is a new topic, and its waiting readers get an error', async (context) => {
  const broker = await testBroker(context)
  const client = await testClient(context, broker)
  const first = await createTopic(client, 'orders')
  await publish(client, [first, 0, batchOf(['old'])])
  const waiting = fetchPartition(client, first, 0, 1, { waitMs: 60_000 })
  await client.request(commands.topicDelete, { topic: 'orders' })
  const { reply } = await waiting
  assert.is(reply.partitions[0]?.[2], errorTable.UNKNOWN_TOPIC.number)
  const second = await createTopic(client, 'orders')
  assert.is.not(second, first)
  assert.equal((await fetchPartition(client, second, 0, 0)).records, [])
  const [result] = await publish(client, [first, 0, batchOf(['late'])])
  assert.is(result?.error, errorTable.UNKNOWN_TOPIC.number)
  await refused(client.request(commands.topicDelete, { topic: 'none' }), 'UNKNOWN_TOPIC', /"none"/)
})

test('topics survive a restart, and ids are not used again', async (context) => {
  const engines = memoryEngines()
  const before = await testBroker(context, { engines })
  const client = await testClient(context, before)
  const kept = await createTopic(client, 'kept', { partitions: 2, settings: { retentionMs: -1 } })
  await client.request(commands.topicAlter, { topic: 'kept', partitions: 3 })
  await publish(client, [kept, 2, batchOf(['a', 'b'])])
  const gone = await createTopic(client, 'gone')
  await client.request(commands.topicDelete, { topic: 'gone' })
  const { producerId } = (await client.request(commands.producerInit, {})).body
  await before.close()

  const after = await testClient(context, await testBroker(context, { engines }))
  const { body } = await after.request(commands.topicDescribe, { topic: 'kept' })
  assert.is(body.topic.topicId, kept)
  assert.is(body.topic.settings.retentionMs, -1)
  assert.equal(
    body.partitions.map(({ endOffset }) => endOffset),
    [0, 0, 2],
  )
  assert.ok((await createTopic(after, 'gone')) > gone)
  assert.ok((await after.request(commands.producerInit, {})).body.producerId > producerId)
})

test('offsets are found by earliest, latest and time', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  await publish(client, [topicId, 0, batchOf(['a', 'b'], undefined, 1_000)])
  await publish(
    client,
    [topicId, 0, batchOf(['c'], undefined, 3_000)],
    [topicId, 0, batchOf(['d'], undefined, 2_000)],
  )
  const { body } = await client.request(commands.offsetsList, {
    partitions: [
      [topicId, 0, -2],
      [topicId, 0, -1],
      [topicId, 0, 0],
      [topicId, 0, 1_001],
      [topicId, 0, 3_001],
      [topicId, 9, -1],
      [999, 0, -1],
    ],
  })
  assert.equal(
    body.partitions.map(({ offset, error }) => offset ?? -error),
    [0, 4, 0, 2, 4, -errorTable.UNKNOWN_PARTITION.number, -errorTable.UNKNOWN_TOPIC.number],
  )
})

test('thousands of unknown names are answered quickly and in one frame', async (context) => {
  const client = await testClient(context, await testBroker(context))
  for (let i = 0; i < 50; i++) await createTopic(client, `topic-with-a-rather-long-name-${i}`)
  const names = Array.from({ length: 10_000 }, (_, i) => `topic-with-a-rather-long-nama-${i}`)
  const { body } = await client.request(commands.metadata, { topics: names })
  assert.is(body.topics.length, names.length)
  const entries = Array.from({ length: 20_000 }, () => [99, 0, -1] as const)
  const offsets = await client.request(commands.offsetsList, { partitions: entries })
  assert.is(offsets.body.partitions.length, entries.length)
})

test.run()
