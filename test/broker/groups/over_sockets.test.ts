import * as assert from 'uvu/assert'
import { startBroker } from '../../../broker/index.js'
import { commands, RecordBatchBuilder, type ReplyOf } from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { codeOf } from './fixtures.js'

const test = suite('broker/groups/over_sockets')

type Broker = Awaited<ReturnType<typeof startBroker>>
type Assignment = ReplyOf<typeof commands.groupJoin>
type Owned = [topicId: number, partition: number, epoch: number]

async function start({ defer }: TestContext, options: { dir?: string } = {}): Promise<Broker> {
  const engine = options.dir === undefined ? 'memory' : 'level'
  const broker = await startBroker({ ...options, engine, port: 0, logLevel: 'silent' })
  defer(() => broker.close())
  return broker
}

async function connect(broker: Broker, { defer }: TestContext): Promise<RawClient> {
  const client = await connectHello(broker.address)
  defer(() => client.destroy())
  return client
}

async function createTopic(client: RawClient, topic: string, partitions: number): Promise<number> {
  return (await client.request(commands.topicCreate, { topic, partitions })).body.topicId
}

async function publish(
  client: RawClient,
  topicId: number,
  partition: number,
  records: number,
): Promise<void> {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < records; i++) builder.append({ value: `${i}`, timestamp: Date.now() })
  const batch = builder.finish()
  const { body } = await client.request(
    commands.publish,
    { batches: [[topicId, partition, batch.length]] },
    batch,
  )
  assert.is(body.results[0]?.error, 0)
}

async function join(client: RawClient, memberId: string, instanceId?: string): Promise<Assignment> {
  const request = { group: 'billing', memberId, instanceId, topics: ['orders'], sessionTimeoutMs: 10_000 }
  return (await client.request(commands.groupJoin, request)).body
}

async function heartbeat(client: RawClient, memberId: string, owned: readonly Owned[]): Promise<Assignment> {
  const request = { group: 'billing', memberId, waitMs: 5_000, owned }
  return (await client.request(commands.groupHeartbeat, request)).body
}

async function describe(client: RawClient): Promise<ReplyOf<typeof commands.groupDescribe>> {
  return (await client.request(commands.groupDescribe, { group: 'billing' })).body
}

function ownedOf({ partitions }: Assignment): Owned[] {
  return partitions.map(({ topicId, partition, epoch }): Owned => [topicId, partition, epoch])
}

test('three members share a topic, and the partitions of one whose connection breaks go to the others', async (t) => {
  const broker = await start(t)
  const admin = await connect(broker, t)
  await createTopic(admin, 'orders', 8)
  const clients = await Promise.all(['a', 'b', 'c'].map(() => connect(broker, t)))
  const assignments = await Promise.all(clients.map((client, at) => join(client, `m${at}`)))
  assert.equal(assignments.map(({ partitions }) => partitions.length).sort(), [2, 3, 3])

  const [a, b, c] = clients as [RawClient, RawClient, RawClient]
  const waiting = Promise.all([
    heartbeat(a, 'm0', ownedOf(assignments[0] as Assignment)),
    heartbeat(b, 'm1', ownedOf(assignments[1] as Assignment)),
  ])
  const brokenAtMs = performance.now()
  c.destroy()
  const after = await waiting
  assert.ok(performance.now() - brokenAtMs < 1_000)
  assert.equal(
    after.map(({ partitions }) => partitions.length),
    [4, 4],
  )
  for (const [at, assignment] of after.entries()) {
    const kept = ownedOf(assignments[at] as Assignment)
    assert.ok(kept.every((old) => ownedOf(assignment).some((now) => String(now) === String(old))))
  }
  assert.is((await describe(admin)).state, 'stable')
})

test('commits count for the lag, and for the next owner of the partition', async (t) => {
  const broker = await start(t)
  const admin = await connect(broker, t)
  const topicId = await createTopic(admin, 'orders', 1)
  await publish(admin, topicId, 0, 10)
  const client = await connect(broker, t)
  const [owned] = ownedOf(await join(client, 'a'))
  assert.ok(owned)
  assert.is((await describe(admin)).partitions[0]?.lag, 10)
  const commit = (offset: number) =>
    client.request(commands.groupCommit, {
      group: 'billing',
      memberId: 'a',
      offsets: [[...owned, offset, 'half'] as const],
    })
  assert.equal((await commit(4)).body.results, [{ error: 0 }])
  assert.match((await commit(11)).body.results[0]?.message ?? '', /expected at most 10/)
  const [partition] = (await describe(admin)).partitions
  assert.is(partition?.lag, 6)
  assert.is(partition?.metadata, 'half')
  assert.is(partition?.memberId, 'a')

  const next = await connect(broker, t)
  client.destroy()
  await client.closed
  const { partitions } = await join(next, 'b')
  assert.is(partitions[0]?.committedOffset, 4)
  assert.is.not(partitions[0]?.epoch, owned[2])
})

test('a seek reaches the waiting owner', async (t) => {
  const broker = await start(t)
  const client = await connect(broker, t)
  const topicId = await createTopic(client, 'orders', 2)
  await publish(client, topicId, 1, 10)
  const joined = await join(client, 'a')
  const waiting = heartbeat(client, 'a', ownedOf(joined))
  const seek = { group: 'billing', topic: 'orders', partitions: [1] }
  const { body } = await client.request(commands.groupSeek, { ...seek, kind: 'offset', value: 3 })
  assert.equal(body.partitions, [{ partition: 1, offset: 3 }])
  const { partitions } = await waiting
  assert.is(partitions.find(({ partition }) => partition === 1)?.committedOffset, 3)
  const future = await client.request(commands.groupSeek, {
    ...seek,
    kind: 'time',
    value: Date.now() + 60_000,
  })
  assert.equal(future.body.partitions, [{ partition: 1, offset: 10 }])
  const past = await client.request(commands.groupSeek, { ...seek, kind: 'time', value: 1 })
  assert.equal(past.body.partitions, [{ partition: 1, offset: 0 }])
})

test('offsets survive a restart, members join again under new epochs', async (t) => {
  const dir = await t.tempDir()
  const first = await start(t, { dir })
  const client = await connect(first, t)
  const topicId = await createTopic(client, 'orders', 40)
  await publish(client, topicId, 39, 10)
  const joined = await join(client, 'a')
  const epochs = new Set(joined.partitions.map(({ epoch }) => epoch))
  const owned = ownedOf(joined).find(([, partition]) => partition === 39) as Owned
  await client.request(commands.groupCommit, {
    group: 'billing',
    memberId: 'a',
    offsets: [[...owned, 7, 'note'] as const],
  })
  await first.close()

  const second = await start(t, { dir })
  const again = await connect(second, t)
  assert.is((await describe(again)).state, 'empty')
  assert.is(await codeOf(heartbeat(again, 'a', ownedOf(joined))), 'UNKNOWN_MEMBER')
  const { partitions } = await join(again, 'a')
  assert.is(partitions.find(({ partition }) => partition === 39)?.committedOffset, 7)
  assert.is(partitions.find(({ partition }) => partition === 0)?.committedOffset, undefined)
  assert.ok(partitions.every(({ epoch }) => !epochs.has(epoch)))
  const described = (await describe(again)).partitions.find(({ partition }) => partition === 39)
  assert.is(described?.metadata, 'note')
})

test('groups live and die with offsets, members and topics', async (t) => {
  const broker = await start(t)
  const client = await connect(broker, t)
  const topicId = await createTopic(client, 'orders', 2)
  assert.is(await codeOf(describe(client)), 'UNKNOWN_GROUP')
  await client.request(commands.groupCommit, { group: 'billing', offsets: [[topicId, 0, 0, 0, undefined]] })
  const list = async () => (await client.request(commands.groupList, {})).body.groups
  assert.equal(await list(), [{ group: 'billing', members: 0, topics: 1 }])
  await client.request(commands.groupDelete, { group: 'billing' })
  assert.equal(await list(), [])

  const joined = await join(client, 'a')
  await client.request(commands.groupCommit, {
    group: 'billing',
    memberId: 'a',
    offsets: ownedOf(joined).map((owned) => [...owned, 0, undefined] as const),
  })
  assert.is(await codeOf(client.request(commands.groupDelete, { group: 'billing' })), 'GROUP_ACTIVE')
  const growing = heartbeat(client, 'a', ownedOf(joined))
  await client.request(commands.topicAlter, { topic: 'orders', partitions: 3 })
  const grown = await growing
  assert.is(grown.partitions.length, 3)
  const deleting = heartbeat(client, 'a', ownedOf(grown))
  await client.request(commands.topicDelete, { topic: 'orders' })
  assert.is((await deleting).partitions.length, 0)
  await client.request(commands.groupLeave, { group: 'billing', memberId: 'a' })
  assert.equal(await list(), [], 'the offsets of a deleted topic are forgotten')
})

test('names the nearest topic to one that does not exist', async (t) => {
  const broker = await start(t)
  const client = await connect(broker, t)
  await createTopic(client, 'order', 1)
  try {
    await join(client, 'a')
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, /"orders".*"order"/)
  }
})

test('a broker that drains answers waiting heartbeats', async (t) => {
  const broker = await start(t)
  const client = await connect(broker, t)
  await createTopic(client, 'orders', 1)
  const joined = await join(client, 'a')
  const waiting = heartbeat(client, 'a', ownedOf(joined))
  await client.request(commands.ping, {})
  const startMs = performance.now()
  await broker.close()
  assert.is((await waiting).partitions.length, 1)
  assert.ok(performance.now() - startMs < 2_000)
})

test.run()
