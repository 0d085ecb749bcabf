import * as assert from 'uvu/assert'
import type { Logger } from '../../broker/log.js'
import { Retention } from '../../broker/retention.js'
import type { Shard } from '../../broker/shard.js'
import type { WallClock } from '../../broker/wall_clock.js'
import { commands, errorTable } from '../../protocol/index.js'
import type { RawClient } from '../helpers/raw_client.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import {
  batchOf,
  ControlledEngines,
  createTopic,
  fetchPartition,
  publish,
  testBroker,
  testClient,
} from './harness.js'

const test = suite('broker/retention')

async function startOf(client: RawClient, topicId: number): Promise<number> {
  const { body } = await client.request(commands.offsetsList, { partitions: [[topicId, 0, -2]] })
  return body.partitions[0]?.offset ?? -1
}

test('drops records that are older than the retention of the topic, and only in that topic', async (context) => {
  const client = await testClient(context, await testBroker(context, { retentionIntervalMs: 20 }))
  const minute = await createTopic(client, 'minute', { settings: { retentionMs: 60_000 } })
  const forever = await createTopic(client, 'forever', { settings: { retentionMs: -1 } })
  const old = Date.now() - 3_600_000
  for (const topicId of [minute, forever]) {
    await publish(client, [topicId, 0, batchOf(['a', 'b'], undefined, old)])
    await publish(client, [topicId, 0, batchOf(['c'])])
  }
  await waitFor('old records to go', async () => (await startOf(client, minute)) === 2)
  assert.is(await startOf(client, forever), 0)
  assert.equal(
    (await fetchPartition(client, minute, 0, 2)).records.map(({ value }) => value),
    ['c'],
  )
  const { reply } = await fetchPartition(client, minute, 0, 0)
  assert.is(reply.partitions[0]?.[2], errorTable.OFFSET_OUT_OF_RANGE.number)
  assert.equal(reply.partitions[0]?.slice(4, 6), [2, 3])
})

test('keeps about as many bytes as the setting of the topic', async (context) => {
  const client = await testClient(context, await testBroker(context, { retentionIntervalMs: 20 }))
  const topicId = await createTopic(client, 'orders', { settings: { retentionBytes: 5_000 } })
  for (let i = 0; i < 20; i++) await publish(client, [topicId, 0, batchOf(['x'.repeat(1_000)])])
  await waitFor('the oldest records to go', async () => (await startOf(client, topicId)) === 15)
  await client.request(commands.topicAlter, { topic: 'orders', settings: { retentionBytes: 2_000 } })
  await waitFor('more records to go', async () => (await startOf(client, topicId)) === 18)
})

test('retention may drop all messages, and offsets continue', async (context) => {
  const client = await testClient(context, await testBroker(context, { retentionIntervalMs: 20 }))
  const topicId = await createTopic(client, 'orders', { settings: { retentionMs: 1_000 } })
  await publish(client, [topicId, 0, batchOf(['a', 'b'], undefined, 1)])
  await waitFor('all records to go', async () => (await startOf(client, topicId)) === 2)
  const [result] = await publish(client, [topicId, 0, batchOf(['c'])])
  assert.is(result?.baseOffset, 2)
})

test('a wall clock that jumps drops nothing early and refuses nothing', async (context) => {
  const broker = await testBroker(context, {
    retentionIntervalMs: 20,
    timestampAheadMsMax: 60_000,
    producerIdleMs: 1_800_000,
  })
  const client = await testClient(context, broker)
  const { body } = await client.request(commands.producerInit, {})
  const stamp = (baseSequence: number) => ({ ...body, producerEpoch: 0, baseSequence })
  const settings = { retentionMs: 1_800_000 }
  const topicId = await createTopic(client, 'orders', { settings })
  const control = await createTopic(client, 'control', { settings })
  const nowMs = Date.now()
  const realNow = Date.now
  context.defer(() => {
    Date.now = realNow
  })
  for (const [at, jumpMs] of [3_600_000, -3_600_000, 0, 3_600_000].entries()) {
    Date.now = () => realNow() + jumpMs
    const [refused] = await publish(client, [topicId, 0, batchOf(['x'], stamp(at), nowMs)])
    assert.is(refused?.error, 0, refused?.message)
    const old = batchOf(['old'], undefined, nowMs - 7_200_000)
    const [{ baseOffset = 0 } = {}] = await publish(client, [control, 0, old])
    if (jumpMs > 0)
      await waitFor('old records to go', async () => (await startOf(client, control)) > baseOffset)
  }
  assert.is(await startOf(client, topicId), 0)
})

test('a producer that published while the clock was set back is remembered after a restart', async (context) => {
  const options = { dir: await context.tempDir(), retentionIntervalMs: 20, producerIdleMs: 1_800_000 }
  const nowMs = Date.now()
  const realNow = Date.now
  context.defer(() => {
    Date.now = realNow
  })
  const first = await testBroker(context, options)
  Date.now = () => realNow() - 3_600_000
  const before = await testClient(context, first)
  const topicId = await createTopic(before, 'orders', { settings: { retentionMs: 1_800_000 } })
  const control = await createTopic(before, 'control', { settings: { retentionMs: 1_800_000 } })
  const stamp = { ...(await before.request(commands.producerInit, {})).body, producerEpoch: 0 }
  await publish(before, [topicId, 0, batchOf(['a'], { ...stamp, baseSequence: 0 }, nowMs)])
  await first.close()
  Date.now = realNow
  const after = await testClient(context, await testBroker(context, options))
  await publish(after, [control, 0, batchOf(['old'], undefined, nowMs - 7_200_000)])
  await waitFor('retention to run', async () => (await startOf(after, control)) === 1)
  const [next] = await publish(after, [topicId, 0, batchOf(['b'], { ...stamp, baseSequence: 1 }, nowMs)])
  assert.is(next?.error, 0, next?.message)
})

test('a failed run shows in the health until the next one succeeds', async (context) => {
  const engines = new ControlledEngines()
  const broker = await testBroker(context, { engines, retentionIntervalMs: 3_600_000 })
  const { retention } = broker as unknown as { retention: { run(): Promise<void> } }
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders', { settings: { retentionMs: 1_000 } })
  await publish(client, [topicId, 0, batchOf(['a'], undefined, 1)])
  engines.beforeCommit = () => {
    throw new Error('no space left on device')
  }
  await retention.run()
  const { health } = await broker.status()
  assert.match(health.reasons.join(), /retention failed: .*no space left on device/)
  engines.beforeCommit = () => {}
  await waitFor('the health to be ok', async () => {
    await retention.run()
    return (await broker.status()).health.status === 'ok'
  })
  assert.is(await startOf(client, topicId), 1)
})

test('data that new settings keep is not dropped by a run that began before', async () => {
  const settings = { retentionMs: 1_000, retentionBytes: -1 }
  const topic = { settings }
  const entry = { firstOffset: 0, recordCount: 2, bytes: 100, position: 1, lastTimestamp: 1 }
  const log = {
    id: 1,
    startOffset: 0,
    endOffset: 2,
    liveBytes: 100,
    reclaimedOffset: 0,
    index: {
      from: async (offset: number) => {
        if (offset === 0) topic.settings = { ...settings, ...changed }
        return offset === 0 ? [entry] : []
      },
    },
  }
  let changed: { retentionMs?: number } = {}
  let commits = 0
  const shard = {
    catalog: { partitions: [{ topic, log, startOffset: 0 }] },
    producers: { expire: () => {} },
    commit: async () => void commits++,
  } as unknown as Shard
  const clock = { earliestMs: 1_000_000, wasAt: () => {} } as unknown as WallClock
  const logger = { debug: () => {}, warn: () => {} } as unknown as Logger
  const retention = new Retention(shard, clock, logger, 3_600_000)
  changed = { retentionMs: -1 }
  await retention.run()
  assert.is(commits, 0)
  await retention.close()
})

test.run()
