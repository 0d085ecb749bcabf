import * as assert from 'uvu/assert'
import { defineTopic, Reject, string } from '../../../client/index.js'
import { commands, type QueueSettingsInput } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/over_sockets')

const group = 'crew'
const workerId = 'worker-1'

/** A worker that speaks the wire protocol itself. */
async function openWorker(
  context: TestContext,
  harness: Harness,
  topics: readonly string[],
  settings: QueueSettingsInput = {},
): Promise<{ raw: RawClient; lease(messagesMax: number): ReturnType<typeof leaseWith> }> {
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics, settings, concurrency: 1 })
  return { raw, lease: (messagesMax) => leaseWith(raw, messagesMax) }
}

async function leaseWith(raw: RawClient, messagesMax: number) {
  const request = { group, workerId, messagesMax, bytesMax: 1e6, waitMs: 5_000, leaseMs: 60_000 }
  return (await raw.request(commands.queueLease, request)).body
}

const values = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

test('an offset that a settlement names twice is settled once, the other is refused', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, values(2))
  const noDelay = { kind: 'fixed', delayMs: 0, maxMs: 0, jitterPercent: 0 } as const
  const { raw, lease } = await openWorker(context, harness, ['tasks'], { retry: noDelay })
  const { grantId } = await lease(2)
  const entry = { topicId, partition: 0, grantId, outcome: 'fail', offsets: [0, 2] } as const
  const { body } = await raw.request(commands.queueSettle, { group, entries: [entry, entry] })
  assert.equal(body.refused, [
    [1, 0],
    [1, 1],
  ])
  const { batches } = await lease(10)
  assert.equal(
    batches.flatMap(([, , , offsets, attempts]) => [...offsets, ...attempts]),
    [0, 2, 1, 1],
  )
})

test('messages of a deleted topic are no longer delivered, and other topics are not affected', async (context) => {
  const harness = await Harness.start(context)
  const gone = await harness.createTopic('gone')
  const kept = await harness.createTopic('kept')
  await harness.publish(gone, 0, values(100))
  const { raw, lease } = await openWorker(context, harness, ['gone', 'kept'])
  const first = await lease(1)
  assert.equal(
    first.batches.map(([topicId]) => topicId),
    [gone],
  )
  await raw.request(commands.topicDelete, { topic: 'gone' })
  const again = { group, workerId, topics: ['kept'], again: true, held: [first.grantId], concurrency: 1 }
  await raw.request(commands.queueOpen, again)
  const more = lease(200)
  await harness.publish(kept, 0, values(3))
  assert.equal(
    (await more).batches.map(([topicId, , , offsets]) => [topicId, offsets]),
    [[kept, [0, 3]]],
  )
  const lost = {
    topicId: gone,
    partition: 0,
    grantId: first.grantId,
    outcome: 'ack',
    offsets: [0, 1],
  } as const
  const { body } = await raw.request(commands.queueSettle, { group, entries: [lost] })
  assert.equal(body.refused, [[0, 0]])
})

test(
  'thousands of redriven dead letters are skipped page by page',
  async (context) => {
    const harness = await Harness.start(context)
    const { client } = harness
    await harness.createTopic('tasks')
    const tasks = defineTopic('tasks', { value: string })
    const count = 21_000
    await client.publishMany(
      tasks,
      values(count).map((value) => ({ value })),
    )
    let isMended = false
    const worker = client.work(tasks, { group, concurrency: 1_000 }, ({ value }) => {
      if (!isMended || value === '7') throw new Reject('not yet')
    })
    context.defer(() => worker.close())
    await worker.ready
    const dead = async (): Promise<number> => (await client.queues.describe(group)).dead
    await waitFor('all to be dead', async () => (await dead()) === count, { deadlineMs: 30_000 })
    isMended = true
    assert.is(await client.queues.redrive(group), count)
    await waitFor('one to die again', async () => (await dead()) === 1, { deadlineMs: 30_000 })
    const letters = []
    for await (const letter of client.queues.deadLetters(group)) letters.push(letter)
    assert.equal(
      letters.map(({ originOffset }) => originOffset),
      [7],
    )
  },
  { deadlineMs: 60_000 },
)

test(
  'a partition with the maximum of unfinished messages is a reason',
  async (context) => {
    const harness = await Harness.start(context)
    await harness.createTopic('tasks')
    const tasks = defineTopic('tasks', { value: string })
    await harness.client.publishMany(
      tasks,
      values(150_000).map((value) => ({ value })),
    )
    const worker = harness.client.work(
      tasks,
      { group, concurrency: 1_000, settings: { retry: { kind: 'fixed', delay: '1h' } } },
      () => {
        throw new Error('not today')
      },
    )
    context.defer(() => worker.close())
    await worker.ready
    await waitFor(
      'the reason',
      async () => {
        const { reasons } = await harness.client.queues.describe(group)
        return reasons.some((reason) =>
          /partition 0 of topic "tasks" has \d{6} unfinished messages/.test(reason),
        )
      },
      { deadlineMs: 50_000 },
    )
  },
  { deadlineMs: 60_000 },
)

test.run()
