import * as assert from 'uvu/assert'
import { commands, MillraceError, type QueueSettingsInput } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/changes')

const group = 'crew'
const workerId = 'worker-1'

async function open(context: TestContext, harness: Harness, settings: QueueSettingsInput = {}) {
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], settings, concurrency: 1 })
  const lease = async (messagesMax: number, waitMs = 5_000) => {
    const request = { group, workerId, messagesMax, bytesMax: 1e6, waitMs, leaseMs: 60_000 }
    return (await raw.request(commands.queueLease, request)).body
  }
  return { raw, lease }
}

function codeOf(error: unknown): string {
  return error instanceof MillraceError ? error.code : String(error)
}

test('a group that is created during its deletion uses its own record', async (context) => {
  const harness = await Harness.start(context, { engine: 'level', dir: await context.tempDir() })
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['0', '1'])
  const { raw, lease } = await open(context, harness)
  const { grantId } = await lease(1)
  await raw.request(commands.queueLeave, { group, workerId })
  // Some of the requests that are sent until it is done arrive during the commit of the deletion.
  let isDeleted = false
  const deleted = raw.request(commands.queueDelete, { group }).finally(() => {
    isDeleted = true
  })
  const extended: Promise<unknown>[] = []
  while (!isDeleted) {
    const extend = raw.request(commands.queueExtend, { group, grants: [grantId] })
    extended.push(extend.catch((error: unknown) => assert.is(codeOf(error), 'UNKNOWN_GROUP')))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all([deleted, ...extended])
  const again = await open(context, harness)
  const leased = await again.lease(10)
  assert.equal(
    leased.batches.map(([, , , offsets]) => offsets),
    [[0, 2]],
  )
  const entry = { topicId, partition: 0, grantId: leased.grantId, outcome: 'ack', offsets: [0, 2] } as const
  await raw.request(commands.queueSettle, { group, entries: [entry] })
  const { partitions } = await harness.client.queues.describe(group)
  assert.equal(
    partitions.map(({ doneOffset, waiting }) => [doneOffset, waiting]),
    [[2, 0]],
  )
})

test('"order" does not change while there are leases from before a restart', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['0', '0'])
  const { lease } = await open(context, harness)
  const { grantId } = await lease(2)
  await harness.restartBroker(dir)
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  const error = await raw
    .request(commands.queueConfigure, { group, settings: { order: 'key' } })
    .catch((error: unknown) => error)
  assert.is(codeOf(error), 'GROUP_ACTIVE')
  const entry = { topicId, partition: 0, grantId, outcome: 'ack', offsets: [0, 2] } as const
  const { body } = await raw.request(commands.queueSettle, { group, entries: [entry] })
  assert.equal(body.refused, [])
  await waitFor('the change', () =>
    raw.request(commands.queueConfigure, { group, settings: { order: 'key' } }).then(
      () => true,
      () => false,
    ),
  )
})

test('messages that were read before the time to live was removed do not expire', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  // Their timestamps are of 1970.
  await harness.publish(topicId, 0, ['0', '1'])
  const { raw, lease } = await open(context, harness, { ttlMs: 60_000 })
  // The group reads ahead before a worker asks.
  await waitFor('reading', async () => {
    const { reasons } = await harness.client.queues.describe(group)
    return reasons.some((reason) => reason.includes('2 are ready'))
  })
  await raw.request(commands.queueConfigure, { group, settings: { ttlMs: 0 } })
  assert.equal(
    (await lease(10)).batches.map(([, , , offsets]) => offsets),
    [[0, 2]],
  )
})

test('a lease request of an old connection is answered when its worker opens the group again', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  const before = await open(context, harness)
  const waiting = before.lease(1, 60_000)
  await waitFor('the first', async () => {
    const { workers } = await harness.client.queues.describe(group)
    return workers[0]?.asking === true
  })
  await open(context, harness)
  assert.is((await waiting).grantId, 0)
})

test("a group can't read its own dead letters; it gets them only by a redrive", async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  await harness.createTopic(`${group}.dead-letters`)
  const { raw } = await open(context, harness)
  const topics = ['tasks', `${group}.dead-letters`]
  const error = await raw
    .request(commands.queueOpen, { group, workerId, topics, concurrency: 1 })
    .catch((error: unknown) => error)
  assert.is(codeOf(error), 'BAD_CONFIG')
})

test('redriven dead letters that retention dropped are not subtracted from the remaining ones', async (context) => {
  const harness = await Harness.start(context, { retentionIntervalMs: 20 })
  // The timestamps of the harness are of 1970: retention by age would drop the messages before they are leased.
  const { topicId } = await harness.client.topics.create('tasks', { retention: { time: -1 } })
  await harness.publish(
    topicId,
    0,
    ['0', '1', '2'].map((value) => value.repeat(1_000)),
  )
  const { raw, lease } = await open(context, harness)
  const { grantId } = await lease(3)
  for (const offset of [0, 1, 2]) {
    const entry = { topicId, partition: 0, grantId, outcome: 'reject', offsets: [offset, 1] } as const
    await raw.request(commands.queueSettle, { group, entries: [entry] })
  }
  await raw.request(commands.queueRedrive, { group, offsets: [0, 2] })
  const topic = `${group}.dead-letters`
  const altered = await raw.request(commands.topicAlter, { topic, settings: { retentionBytes: 1_000 } })
  assert.is(altered.body.topicId > 0, true)
  await waitFor('the first two to go', async () => {
    const partitions = [[altered.body.topicId, 0, -2]] as [number, number, number][]
    const { body } = await raw.request(commands.offsetsList, { partitions })
    return body.partitions[0]?.offset === 2
  })
  assert.is((await harness.client.queues.describe(group)).dead, 1)
})

test.run()
