import * as assert from 'uvu/assert'
import type { Broker } from '../../../broker/index.js'
import { commands, encodeFrame, errorTable, isMillraceError } from '../../../protocol/index.js'
import { connectHello, connectRaw, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import {
  batchOf,
  createTopic,
  fetchPartition,
  publish,
  testBroker,
  testClient,
  valuesOf,
} from '../harness.js'

const test = suite('broker/net/replaced_connections')

interface Internals {
  readonly server: { readonly inbound: { readonly usedBytes: number } }
  readonly longPolls: { readonly size: number }
}

function internalsOf(broker: Broker): Internals {
  return broker as unknown as Internals
}

function connectionOf(number: number): { client: string; lane: string; number: number } {
  return { client: '8d2f', lane: 'control', number }
}

function helloOf(number: number) {
  return {
    versionMin: 1,
    versionMax: 1,
    clientName: 'test',
    clientVersion: '1',
    connection: connectionOf(number),
  }
}

async function greeted(context: TestContext, broker: Broker, number: number): Promise<RawClient> {
  const client = await connectHello(broker.address, { connection: connectionOf(number) })
  context.defer(() => client.destroy())
  return client
}

async function ended(client: RawClient): Promise<void> {
  await waitFor('the older connection to end', () => client.socket.destroyed)
}

async function topicsOf(client: RawClient): Promise<string[]> {
  return (await client.request(commands.topicList, {})).body.topics.map(({ name }) => name)
}

test('requests that wait on the older connection never take effect, and its memory is free', async (context) => {
  const broker = await testBroker(context, { inFlightRequestsMax: 1 })
  const admin = await testClient(context, broker)
  const topicId = await createTopic(admin, 'orders')
  const { server, longPolls } = internalsOf(broker)
  const older = await greeted(context, broker, 1)
  older.socket.cork()
  const waiting = fetchPartition(older, topicId, 0, 0, { waitMs: 60_000 }).catch((error: unknown) => error)
  const created = createTopic(older, 'late').catch((error: unknown) => error)
  older.socket.uncork()
  // More than one read: the rest stays in the socket. The last frame is incomplete.
  const settings = { retentionMs: 1 }
  const alter = encodeFrame(commands.topicAlter.number, 0, 99, { topic: 'orders', settings })
  for (let i = 0; i < 5_000; i++) older.socket.write(alter)
  older.socket.write(alter.subarray(0, 10))
  await waitFor('the fetch to wait', () => longPolls.size === 1)

  const newer = await greeted(context, broker, 2)
  await ended(older)
  assert.ok(isMillraceError(await waiting, 'CONNECTION_LOST'))
  assert.ok(isMillraceError(await created, 'CONNECTION_LOST'))
  await waitFor('the fetch to end', () => longPolls.size === 0 && server.inbound.usedBytes === 0)
  assert.equal(await topicsOf(newer), ['orders'])
  const { body } = await newer.request(commands.topicDescribe, { topic: 'orders' })
  assert.not.equal(body.topic.settings.retentionMs, 1)
})

test('an older connection that arrives late is refused, and nothing behind its hello takes effect', async (context) => {
  const broker = await testBroker(context)
  const newer = await greeted(context, broker, 7)
  const older = await connectRaw(broker.address)
  older.socket.cork()
  const hello = older.request(commands.hello, helloOf(6)).catch((error: unknown) => error)
  const created = createTopic(older, 'late').catch((error: unknown) => error)
  older.socket.uncork()
  const problem = await hello
  assert.ok(isMillraceError(problem, 'STALE_CONNECTION'))
  assert.match(problem.message, /connection 6 of the lane "control".* connection 7/)
  await ended(older)
  assert.ok(isMillraceError(await created, 'CONNECTION_LOST'))
  assert.equal(await topicsOf(newer), [])
  newer.destroy()
  await newer.closed
  const again = await greeted(context, broker, 7).catch((error: unknown) => error)
  assert.ok(isMillraceError(again, 'STALE_CONNECTION'))
  await greeted(context, broker, 8)
})

for (const first of ['older', 'newer'] as const)
  test(`the broker reads both at once, the ${first} connection sent first: no request of the older one begins after the reply to the newer hello`, async (context) => {
    const broker = await testBroker(context)
    const older = await connectRaw(broker.address)
    const newer = await connectRaw(broker.address)
    context.defer(() => newer.destroy())
    const sendOlder = (): void => {
      older.request(commands.hello, helloOf(1)).catch(() => {})
      createTopic(older, 'late').catch(() => {})
    }
    if (first === 'older') sendOlder()
    const reply = newer.request(commands.hello, helloOf(2))
    if (first === 'newer') sendOlder()
    await reply
    // A request that the broker has begun ends before newer ones.
    const lateAfter = async (created: string): Promise<boolean> => {
      await createTopic(newer, created)
      return (await topicsOf(newer)).includes('late')
    }
    const isThere = await lateAfter('one')
    await ended(older)
    assert.is(await lateAfter('two'), isThere)
  })

test('a batch is not appended twice by an older connection, after the producer gave up the batch before it', async (context) => {
  const broker = await testBroker(context)
  const older = await greeted(context, broker, 1)
  const topicId = await createTopic(older, 'orders')
  const batch = (value: string, producerEpoch: number, baseSequence: number): Uint8Array =>
    batchOf([value], { producerId: 9, producerEpoch, baseSequence })
  await publish(older, [topicId, 0, batch('first', 0, 0)])
  const newer = await greeted(context, broker, 2)
  const [refused] = await publish(newer, [topicId, 0, batch('second', 0, 2)])
  assert.is(refused?.error, errorTable.OUT_OF_ORDER_SEQUENCE.number)
  for (const [value, sequence] of [
    ['given up', 1],
    ['second', 2],
  ] as const)
    await publish(older, [topicId, 0, batch(value, 0, sequence)]).catch(() => {})
  await publish(newer, [topicId, 0, batch('second', 1, 0)])
  assert.equal(await valuesOf(newer, topicId), ['first', 'second'])
})

test('connections without the field, of another lane or of another client stay', async (context) => {
  const broker = await testBroker(context)
  const plain = await testClient(context, broker)
  const others = [
    { client: '8d2f', lane: 'fetch', number: 1 },
    { client: '9a00', lane: 'control', number: 1 },
  ]
  const stay = [plain]
  for (const connection of others) stay.push(await connectHello(broker.address, { connection }))
  context.defer(() => {
    for (const client of stay) client.destroy()
  })
  const older = await greeted(context, broker, 1)
  await greeted(context, broker, 2)
  await ended(older)
  for (const client of stay) await client.request(commands.ping, {})
})

test('a member keeps its partitions when its client opens a newer connection', async (context) => {
  const broker = await testBroker(context)
  const older = await greeted(context, broker, 1)
  await createTopic(older, 'orders', { partitions: 2 })
  const member = { group: 'billing', memberId: 'm1', topics: ['orders'], sessionTimeoutMs: 10_000 }
  const joined = (await older.request(commands.groupJoin, member)).body
  assert.is(joined.partitions.length, 2)
  const newer = await greeted(context, broker, 2)
  await ended(older)
  const owned = joined.partitions.map(({ topicId, partition, epoch }) => [topicId, partition, epoch] as const)
  const beat = { group: 'billing', memberId: 'm1', waitMs: 0, owned }
  const { body } = await newer.request(commands.groupHeartbeat, beat)
  assert.equal(body, joined)
  newer.destroy()
  const admin = await testClient(context, broker)
  await waitFor('the member to leave with its connection', async () => {
    const { body } = await admin
      .request(commands.groupDescribe, { group: 'billing' })
      .catch(() => ({ body: undefined }))
    return body === undefined || body.members.length === 0
  })
})

test.run()
