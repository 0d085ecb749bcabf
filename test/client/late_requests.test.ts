import * as assert from 'uvu/assert'
import { type Client, defineTopic, string } from '../../client/index.js'
import { testBroker } from '../broker/harness.js'
import { type ForgetfulRelay, startForgetfulRelay } from '../helpers/forgetful_relay.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { quickClient } from './fixtures.js'

const test = suite('client/late_requests')
const orders = defineTopic('orders', { value: string })

/** A client behind a relay, and another that reaches the broker directly. */
async function start(
  context: TestContext,
): Promise<{ client: Client; admin: Client; relay: ForgetfulRelay }> {
  const broker = await testBroker(context)
  const { port } = broker.address
  const relay = await startForgetfulRelay(context, port)
  const admin = await quickClient(context, `127.0.0.1:${port}`)
  await admin.topics.create('orders', { partitions: 1 })
  const client = await quickClient(context, `127.0.0.1:${relay.port}`)
  client.on('disconnected', () => {})
  return { client, admin, relay }
}

test('requests of an abandoned connection that arrive late do not undo newer ones', async (context) => {
  const { client, admin, relay } = await start(context)
  await admin.publishMany(
    orders,
    Array.from({ length: 100 }, (_, n) => ({ value: `${n}` })),
  )
  const commit = (offset: number): Promise<void> =>
    client.groups.commit('billing', [{ topic: 'orders', partition: 0, offset }])
  await commit(1)

  const held = relay.holdRequests()
  const repeated: Promise<unknown>[] = []
  for (const send of [
    () => client.topics.alter('orders', { retention: { time: '1h' } }),
    () => client.groups.pause('billing'),
    () => commit(10),
  ]) {
    const { bytes } = held
    repeated.push(send())
    await waitFor('the request to leave', () => held.bytes > bytes)
  }
  held.abandon()
  await Promise.all(repeated)
  await client.topics.alter('orders', { retention: { time: '30d' } })
  await client.groups.resume('billing')
  await commit(50)

  await held.deliver()
  const { topic } = await admin.topics.describe('orders')
  assert.is(topic.settings.retentionMs, 30 * 86_400_000)
  const { partitions, paused = false } = await admin.groups.describe('billing')
  assert.is(paused, false)
  assert.is(partitions[0]?.committedOffset, 50)
})

test.run()
