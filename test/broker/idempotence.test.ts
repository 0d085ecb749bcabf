import * as assert from 'uvu/assert'
import type { Broker } from '../../broker/index.js'
import type { Shard } from '../../broker/shard.js'
import { commands, errorTable } from '../../protocol/index.js'
import { memoryEngines } from '../../storage/index.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, createTopic, publish, testBroker, testClient, valuesOf } from './harness.js'

const test = suite('broker/idempotence')

const stamped = (producerId: number, value: string, baseSequence: number, producerEpoch = 0): Uint8Array =>
  batchOf([value], { producerId, producerEpoch, baseSequence })

test('a retry after a restart is answered with the first offset and appended once', async (context) => {
  const dir = await context.tempDir()
  const before = await testBroker(context, { dir })
  const first = await testClient(context, before)
  const topicId = await createTopic(first, 'orders', { partitions: 2 })
  const { producerId } = (await first.request(commands.producerInit, {})).body
  for (let i = 0; i < 7; i++) await publish(first, [topicId, 0, stamped(producerId, `v${i}`, i)])
  await publish(first, [topicId, 1, stamped(producerId, 'other', 0)])
  await before.close()

  const second = await testClient(context, await testBroker(context, { dir }))
  const results = await publish(
    second,
    [topicId, 0, stamped(producerId, 'v6', 6)],
    [topicId, 0, stamped(producerId, 'v0', 0)],
    [topicId, 0, stamped(producerId, 'v8', 8)],
    [topicId, 0, stamped(producerId, 'v7', 7)],
    [topicId, 1, stamped(producerId, 'other', 0)],
  )
  assert.equal(
    results.map(({ error, baseOffset }) => [error, baseOffset]),
    [
      [0, 6],
      [0, undefined],
      [errorTable.OUT_OF_ORDER_SEQUENCE.number, undefined],
      [0, 7],
      [0, 0],
    ],
  )
  assert.is((await valuesOf(second, topicId)).length, 8)
})

test('batches from the journal count like batches from a checkpoint', async (context) => {
  const engines = memoryEngines()
  const client = await testClient(context, await testBroker(context, { engines }))
  const topicId = await createTopic(client, 'orders')
  const { producerId } = (await client.request(commands.producerInit, {})).body
  await publish(client, [topicId, 0, stamped(producerId, 'a', 0)])
  // A second broker over the same databases stands for a start after a crash: nothing was closed.
  const crashed = await testClient(context, await testBroker(context, { engines }))
  const results = await publish(
    crashed,
    [topicId, 0, stamped(producerId, 'a', 0)],
    [topicId, 0, stamped(producerId, 'b', 1)],
  )
  assert.equal(
    results.map(({ baseOffset }) => baseOffset),
    [0, 1],
  )
  const { producerId: next } = (await crashed.request(commands.producerInit, {})).body
  assert.is.not(next, producerId)
})

test('a partition remembers a limited number of producers, and forgets the one that is idle for longest first', async (context) => {
  const broker = await testBroker(context, { producersPerPartitionMax: 2 })
  const { producers } = (broker as unknown as { readonly shard: Shard }).shard
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  for (const producerId of [11, 12]) await publish(client, [topicId, 0, stamped(producerId, 'a', 0)])
  await publish(client, [topicId, 0, stamped(11, 'b', 1)])
  await publish(client, [topicId, 0, stamped(13, 'a', 0)])
  await waitFor('the limit', () => producers.count === 2)
  const [kept] = await publish(client, [topicId, 0, stamped(11, 'c', 2)])
  assert.is(kept?.error, 0)
  const [forgotten] = await publish(client, [topicId, 0, stamped(12, 'b', 1)])
  assert.is(forgotten?.error, errorTable.OUT_OF_ORDER_SEQUENCE.number)
  const [newEpoch] = await publish(client, [topicId, 0, stamped(12, 'b', 0, 1)])
  assert.is(newEpoch?.error, 0)
})

test('all partitions remember a bounded number of producers, also after a restart with a lower limit', async (context) => {
  const engines = memoryEngines()
  const before = await testBroker(context, { engines, producersMax: 10 })
  const client = await testClient(context, before)
  const topicId = await createTopic(client, 'orders', { partitions: 4 })
  const countOf = (broker: Broker): number =>
    (broker as unknown as { readonly shard: Shard }).shard.producers.count
  for (let producerId = 1; producerId <= 40; producerId++)
    await publish(client, [topicId, producerId % 4, stamped(producerId, 'a', 0)])
  await waitFor('the limit', () => countOf(before) === 10)
  const [kept] = await publish(client, [topicId, 0, stamped(40, 'b', 1)])
  assert.is(kept?.error, 0)
  await before.close()
  const broker = await testBroker(context, { engines, producersMax: 5 })
  assert.is(countOf(broker), 10, 'the settings of a start change nothing that the journal says')
  const again = await testClient(context, broker)
  for (let producerId = 41; producerId <= 44; producerId++)
    await publish(again, [topicId, producerId % 4, stamped(producerId, 'a', 0)])
  await waitFor('the lower limit', () => countOf(broker) === 5)
})

test.run()
