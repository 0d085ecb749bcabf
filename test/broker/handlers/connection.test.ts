import * as assert from 'uvu/assert'
import { commands, limits, MillraceError } from '../../../protocol/index.js'
import { connectRaw } from '../../helpers/raw_client.js'
import { suite } from '../../helpers/suite.js'
import { batchOf, createTopic, publish, testBroker, testClient } from '../harness.js'

const test = suite('broker/handlers/connection')
const greeting = { versionMin: 1, versionMax: 1, clientName: 'test', clientVersion: '1' }

test('hello agrees on a version and returns the limits', async (context) => {
  const broker = await testBroker(context, { brokerId: 3, inFlightRequestsMax: 17 })
  const client = await connectRaw(broker.address)
  context.defer(() => client.destroy())
  const { body } = await client.request(commands.hello, { ...greeting, versionMax: 9, token: 'ignored' })
  assert.is(body.version, 1)
  assert.is(body.brokerId, 3)
  assert.is(body.limits.inFlightRequestsMax, 17)
  assert.is(body.limits.frameBytesMax, limits.frameBytesMax)
})

test('hello with unsupported versions names both ranges and ends the connection', async (context) => {
  const broker = await testBroker(context)
  const client = await connectRaw(broker.address)
  const problem = await client
    .request(commands.hello, { ...greeting, versionMin: 7, versionMax: 9 })
    .catch((error: unknown) => error)
  assert.ok(problem instanceof MillraceError)
  assert.is(problem.code, 'UNSUPPORTED_VERSION')
  assert.match(problem.message, /7 to 9.*1 to 1/)
  await client.closed
})

test('anything before hello is refused and ends the connection', async (context) => {
  const broker = await testBroker(context)
  const client = await connectRaw(broker.address)
  const problem = await client.request(commands.ping, {}).catch((error: unknown) => error)
  assert.is((problem as MillraceError).code, 'HELLO_REQUIRED')
  await client.closed
})

test('a second hello is refused, and the connection stays', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const problem = await client.request(commands.hello, greeting).catch((error: unknown) => error)
  assert.is((problem as MillraceError).code, 'BAD_REQUEST')
  await client.request(commands.ping, {})
})

test('a connection that sends nothing is closed after the hello timeout', async (context) => {
  const broker = await testBroker(context, { helloTimeoutMs: 100 })
  const client = await connectRaw(broker.address)
  await client.closed
})

test('connections over the limit get an error', async (context) => {
  const broker = await testBroker(context, { connectionsMax: 1 })
  await testClient(context, broker)
  const second = await connectRaw(broker.address)
  const received: Buffer[] = []
  second.socket.on('data', (chunk: Buffer) => received.push(chunk))
  await second.closed
  assert.match(Buffer.concat(received).toString('latin1'), /1 connections, which is the maximum/)
})

test('status returns health, counts and rates', async (context) => {
  const broker = await testBroker(context)
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders', { partitions: 3 })
  await publish(client, [topicId, 0, batchOf(['a', 'b'])])
  const { body } = await client.request(commands.status, {})
  assert.equal(body.health, { status: 'ok', reasons: [] })
  assert.is(body.connections, 1)
  assert.is(body.topics, 1)
  assert.is(body.partitions, 3)
  assert.is(body.pid, process.pid)
  assert.is(body.draining, false)
  assert.ok(body.rates.publishedRecords > 0)
  assert.ok(body.log.liveBytes > 0)
  assert.is((await broker.status()).topics, 1)
})

test.run()
