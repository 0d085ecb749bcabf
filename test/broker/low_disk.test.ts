import * as assert from 'uvu/assert'
import { commands, errorTable } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { batchOf, createTopic, testBroker, testClient } from './harness.js'

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

test.run()
