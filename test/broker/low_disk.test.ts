import * as assert from 'uvu/assert'
import { commands, errorTable, type MillraceError } from '../../protocol/index.js'
import type { RawClient } from '../helpers/raw_client.js'
import { suite } from '../helpers/suite.js'
import { batchOf, createTopic, publish, testBroker, testClient } from './harness.js'

const test = suite('broker/low_disk')

test('a low disk refuses delayed messages and schedules like publishes', async (context) => {
  const dir = await context.tempDir()
  const before = await testBroker(context, { dir })
  const topicId = await createTopic(await testClient(context, before), 'orders')
  await before.close()
  const broker = await testBroker(context, { dir, diskFreeBytesMin: Number.MAX_SAFE_INTEGER })
  const client = await testClient(context, broker)
  const batch = batchOf(['a'])
  const full = errorTable.STORAGE_FULL.number
  for (const deliverAtMs of [0, Date.now() + 3_600_000]) {
    const { body } = await client.request(
      commands.publishEach,
      { batches: [[topicId, 0, batch.length]], messages: [[deliverAtMs, 'id']] },
      batch,
    )
    assert.equal(
      body.results.map(([error]) => error),
      [full],
    )
  }
  const { body: list } = await client.request(commands.delayedList, {})
  assert.is(list.count, 0)
  const refused = await client
    .request(commands.scheduleSet, { name: 'daily', topic: 'orders', cron: '0 0 * * *' }, batch)
    .catch((error: unknown) => error)
  assert.match(String(refused), /the disk has .* free, expected at least .* to publish/)
  const { body: alter } = await client.request(commands.topicAlter, {
    topic: 'orders',
    settings: { retentionBytes: 1 },
  })
  assert.is(alter.settings.retentionBytes, 1)
})

test('a low disk answers repeats of what is done, and refuses the rest', async (context) => {
  const dir = await context.tempDir()
  const before = await testBroker(context, { dir })
  const client = await testClient(context, before)
  const topicId = await createTopic(client, 'orders')
  const { body } = await client.request(commands.producerInit, {})
  const results = async (one: RawClient, number: number): Promise<unknown[]> => {
    const stamp = { producerId: body.producerId, producerEpoch: 0, baseSequence: number }
    const [published] = await publish(one, [topicId, 0, batchOf(['a'], stamp)])
    const batch = batchOf(['b'])
    const batches = [[topicId, 0, batch.length] as const]
    const each = await one.request(commands.publishEach, { batches, messages: [[0, `id ${number}`]] }, batch)
    const transaction = { id: `transaction ${number}`, batches, acks: [], offsets: [] }
    const committed = await one.request(commands.transaction, transaction, batch).then(
      (reply) => reply.body.baseOffsets[0],
      (error: unknown) => (error as MillraceError).code,
    )
    return [published?.error, each.body.results[0]?.slice(0, 2), committed]
  }
  assert.equal(await results(client, 0), [0, [0, 'appended'], 2])
  await before.close()
  const broker = await testBroker(context, { dir, diskFreeBytesMin: Number.MAX_SAFE_INTEGER })
  const again = await testClient(context, broker)
  const full = errorTable.STORAGE_FULL.number
  assert.equal(await results(again, 0), [0, [0, 'duplicate'], -1])
  assert.equal(await results(again, 1), [full, [full, undefined], 'STORAGE_FULL'])
})

test.run()
