import * as assert from 'uvu/assert'
import { FakePartition } from '../helpers/fake_broker.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'
import { codeOf, fakePair, outcome } from './fixtures.js'

const test = suite('client/topic_changes')

const value = Buffer.from('x')

/** A topic "t", and two clients: one changes it, the other has it in its cache. */
async function pair(context: TestContext, partitions: number) {
  const harness = await Harness.start(context)
  await harness.createTopic('t', partitions)
  const user = await harness.newClient()
  await user.publish('t', { value })
  return { admin: harness.client, user }
}

test('transactions go to a topic that another client has created again', async (context) => {
  const { admin, user } = await pair(context, 1)
  await admin.topics.delete('t')
  await admin.topics.create('t', { partitions: 3 })
  await user.transaction((transaction) => {
    transaction.publish('t', { key: 'a', value })
    transaction.publish('t', { partition: 2, value })
  })
  assert.is(await countOf(admin, 't'), 2)
})

test('messages with an id go to a topic that another client has created again', async (context) => {
  const { admin, user } = await pair(context, 1)
  const publish = (id: string): Promise<unknown> =>
    outcome(user.publish('t', { key: 'd', value, id }).then(({ status }) => status))
  assert.is(await publish('a'), 'appended')
  await admin.topics.delete('t')
  await admin.topics.create('t', { partitions: 3 })
  const sent = Array.from({ length: 20 }, (_, i) => publish(`b${i}`))
  await user.flush()
  assert.equal(await Promise.all(sent), new Array(20).fill('appended'))
  assert.is(await countOf(admin, 't'), 20)
  await admin.topics.delete('t')
  assert.is(await publish('c'), 'UNKNOWN_TOPIC')
  await admin.topics.create('t', { partitions: 1 })
  assert.is(await publish('d'), 'appended')
})

test('offsets of a topic that was created again are refused once, and the next call finds the topic', async (context) => {
  const { admin, user } = await pair(context, 1)
  const offsets = [{ topic: 't', partition: 0, offset: 0 }]
  await user.groups.commit('g', offsets)
  const recreate = async (): Promise<void> => {
    await admin.topics.delete('t')
    await admin.topics.create('t', { partitions: 1 })
  }
  const commits = [
    () => user.transaction((transaction) => transaction.commitOffsets('g', offsets)),
    () => user.groups.commit('g', offsets),
  ]
  for (const commit of commits) {
    await recreate()
    assert.is(await outcome(commit()), 'UNKNOWN_TOPIC')
    assert.is(await outcome(commit()), undefined)
  }
})

test('a transaction for a topic that is gone names it', async (context) => {
  const { admin, user } = await pair(context, 1)
  await admin.topics.delete('t')
  const error = await user
    .transaction((transaction) => transaction.publish('t', { value }))
    .catch((reason: unknown) => reason)
  assert.is(codeOf(error), 'UNKNOWN_TOPIC')
  assert.match((error as Error).message, /"t"/)
})

test('an explicit partition that another client has added is found', async (context) => {
  const { admin, user } = await pair(context, 1)
  await admin.topics.alter('t', { partitions: 5 })
  assert.is((await user.publish('t', { partition: 4, value })).partition, 4)
  await admin.topics.alter('t', { partitions: 6 })
  await user.publishMany('t', [{ partition: 5, value }])
  await admin.topics.alter('t', { partitions: 7 })
  await user.transaction((transaction) => transaction.publish('t', { partition: 6, value }))
  assert.is(await outcome(user.publish('t', { partition: 7, value })), 'UNKNOWN_PARTITION')
  assert.is(await countOf(admin, 't'), 4)
})

test('an old entry of the cache is refreshed when it is used, and not before', async (context) => {
  const { broker, client } = await fakePair(context, { metadataMaxAgeMs: 1 })
  const send = (): Promise<{ partition: number }> => client.publish('t', { key: 'd', value })
  assert.is((await send()).partition, 0)
  grow(broker)
  await waitFor('the new partition', async () => (await send()).partition > 0)
  const asked = broker.requests('metadata').length
  const later = Date.now() + 20
  await waitFor('the entry to be old', () => Date.now() > later)
  assert.is(broker.requests('metadata').length, asked, 'an idle client asks nothing')
})

test('a young entry of the cache needs no request', async (context) => {
  const { broker, client } = await fakePair(context)
  for (let i = 0; i < 20; i++) await client.publish('t', { key: 'd', value })
  assert.is(broker.requests('metadata').length, 1)
})

test('a client refreshes its topics after a reconnect', async (context) => {
  const { broker, client } = await fakePair(context)
  client.on('disconnected', () => {}).on('reconnecting', () => {})
  await client.publish('t', { key: 'd', value })
  grow(broker)
  assert.is((await client.publish('t', { key: 'd', value })).partition, 0)
  broker.cut()
  await waitFor('the new partition', async () => {
    return (await client.publish('t', { key: 'd', value })).partition > 0
  })
})

test('a refused partition makes the client ask for the topic again', async (context) => {
  const { broker, client } = await fakePair(context, { partitions: 16 })
  const send = (): Promise<unknown> =>
    outcome(client.publish('t', { key: 'd', value }).then((r) => r.partition))
  assert.ok(Number(await send()) > 0)
  // As after a restore of an older backup.
  const topic = broker.topics.get('t')
  if (topic !== undefined) topic.partitions.length = 1
  assert.is(await send(), 'UNKNOWN_PARTITION')
  assert.is(await send(), 0)
})

test('ensure and create of the same client refresh the topic', async (context) => {
  const { admin, user } = await pair(context, 1)
  await admin.topics.alter('t', { partitions: 8 })
  await user.topics.ensure('t', { partitions: 8 })
  assert.ok((await user.publish('t', { key: 'd', value })).partition > 0)
  await admin.topics.alter('t', { partitions: 16 })
  assert.is(await outcome(user.topics.create('t')), 'TOPIC_EXISTS')
  const partitions = new Set<number>()
  for (let i = 0; i < 64; i++) partitions.add((await user.publish('t', { key: `k${i}`, value })).partition)
  assert.ok([...partitions].some((partition) => partition >= 8))
})

function grow(broker: Awaited<ReturnType<typeof fakePair>>['broker']): void {
  const topic = broker.topics.get('t')
  for (let i = 0; i < 15; i++) topic?.partitions.push(new FakePartition())
}

async function countOf(client: Harness['client'], topic: string): Promise<number> {
  let count = 0
  for (const end of await client.topics.offsets(topic, 'latest')) count += end
  return count
}

test.run()
