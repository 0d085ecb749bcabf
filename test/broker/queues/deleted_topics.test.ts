import * as assert from 'uvu/assert'
import { type Client, defineTopic, isMillraceError, string, type WorkOptions } from '../../../client/index.js'
import { commands } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/deleted_topics')

const group = 'crew'
const tasks = defineTopic('tasks', { value: string })

/** A worker, what it has handled, and what it was told. */
async function work(
  context: TestContext,
  client: Client,
  options: Partial<WorkOptions> = {},
  handle: (value: string) => unknown = () => {},
) {
  const handled: string[] = []
  const errors: unknown[] = []
  const worker = client.work(
    tasks,
    { group, onError: (error) => errors.push(error), onFailed: () => {}, ...options },
    async ({ value, topic, attempt }) => {
      await handle(value)
      handled.push(`${topic} ${value} ${attempt}`)
    },
  )
  context.defer(() => worker.close())
  worker.closed.catch(() => {})
  await worker.ready
  return { worker, handled, errors }
}

async function recreate({ client }: Harness, partitions: number): Promise<void> {
  await client.topics.delete('tasks')
  await client.topics.create('tasks', { partitions })
}

/** Publishes one message to each partition. */
async function publishEach({ client }: Harness, partitions: number, name: string): Promise<void> {
  for (let partition = 0; partition < partitions; partition++)
    await client.publish(tasks, { value: `${name}${partition}`, partition })
}

for (const [before, after] of [
  [1, 1],
  [3, 1],
  [1, 4],
] as const)
  test(`a worker continues with a topic that is created again, ${before} partitions before, ${after} after`, async (context) => {
    const harness = await Harness.start(context)
    await harness.createTopic('tasks', before)
    const { handled } = await work(context, harness.client)
    await publishEach(harness, before, 'old')
    await waitFor('the old messages', () => handled.length === before)
    await recreate(harness, after)
    await publishEach(harness, after, 'new')
    await waitFor('the new messages', () => handled.length === before + after)
    const expected = Array.from({ length: after }, (_, partition) => `tasks new${partition} 1`)
    assert.equal(handled.slice(before).sort(), expected)
  })

test('a worker that starts at the end of a topic gets all messages of the topic that is created again', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  await publishEach(harness, 1, 'old')
  const { handled } = await work(context, harness.client, { start: 'latest' })
  await harness.client.topics.delete('tasks')
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['new'])
  await waitFor('the new message', () => handled.length === 1)
  assert.equal(handled, ['tasks new 1'])
})

test('a worker whose topic is deleted and not created again ends with UNKNOWN_TOPIC', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  const { worker, errors } = await work(context, harness.client)
  await harness.client.topics.delete('tasks')
  const error = await worker.closed.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(isMillraceError(error, 'UNKNOWN_TOPIC'), String(error))
  assert.match(error.message, /deleted and not created again within 3 s: there is no topic "tasks"/)
  assert.equal(errors.length, 2, 'once at the deletion, once at the end')
  const { reasons } = await harness.client.queues.describe(group)
  assert.match(reasons.join('\n'), /the group read topic "tasks", which was deleted/)
})

test('leases of a deleted topic are lost, and the worker continues with the new topic', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  let begun = false
  let letGo = (): void => {}
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const { worker, handled, errors } = await work(
    context,
    harness.client,
    { concurrency: 1, prefetch: 1 },
    (value) => {
      begun = true
      return value === 'old0' ? held : undefined
    },
  )
  await publishEach(harness, 1, 'old')
  await waitFor('the handler', () => begun)
  await recreate(harness, 1)
  await publishEach(harness, 1, 'new')
  letGo()
  await waitFor('the new message', () => handled.includes('tasks new0 1'))
  await waitFor('the loss', () => worker.stats().lost === 1)
  assert.ok(errors.some((error) => isMillraceError(error, 'LEASE_LOST')))
})

test('retries of a deleted topic are gone with it', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  let failures = 0
  const settings = { retry: { kind: 'fixed', delay: 300 } } as const
  const { handled } = await work(context, harness.client, { settings }, (value) => {
    if (value !== 'old0') return
    failures++
    throw new Error('no')
  })
  await publishEach(harness, 1, 'old')
  await waitFor('the retry', async () => {
    const { partitions } = await harness.client.queues.describe(group)
    return partitions[0]?.delayed === 1
  })
  await recreate(harness, 1)
  await publishEach(harness, 1, 'new')
  await waitFor('the new message', () => handled.includes('tasks new0 1'))
  const { partitions, dead } = await harness.client.queues.describe(group)
  assert.equal([partitions.map(({ delayed }) => delayed), dead, failures], [[0], 0, 1])
})

test('a topic is created again while the worker has no connection', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  await harness.createTopic('tasks', 2)
  const { worker, handled } = await work(context, harness.client)
  await publishEach(harness, 2, 'old')
  await waitFor('the old messages', () => handled.length === 2)
  const { port } = harness.broker.address
  await harness.broker.close()
  const aside = await Harness.start(context, { engine: 'level', dir })
  await recreate(aside, 1)
  await publishEach(aside, 1, 'new')
  await aside.broker.close()
  await Harness.start(context, { engine: 'level', dir, port })
  await waitFor('the new message', () => handled.includes('tasks new0 1'))
  // While there is still a broker that it can leave.
  await worker.close()
})

test('the group refuses a worker whose topic is deleted during its open', async (context) => {
  const harness = await Harness.start(context)
  for (let round = 0; round < 20; round++) {
    await harness.createTopic('tasks')
    const raw = await connectHello(harness.broker.address)
    context.defer(() => raw.destroy())
    const open = { group: `crew-${round}`, workerId: 'w', topics: ['tasks'], concurrency: 1 }
    const [opened] = await Promise.all([
      raw.request(commands.queueOpen, open).then(
        () => 'opened',
        (error: unknown) => (isMillraceError(error) ? error.code : String(error)),
      ),
      harness.client.topics.delete('tasks'),
    ])
    if (opened === 'opened') {
      const lease = {
        group: `crew-${round}`,
        workerId: 'w',
        messagesMax: 1,
        bytesMax: 1e6,
        waitMs: 5_000,
        leaseMs: 60_000,
      }
      const leased = await raw.request(commands.queueLease, lease).then(
        () => 'leased',
        (error: unknown) => (isMillraceError(error) ? error.code : String(error)),
      )
      assert.is(leased, 'UNKNOWN_WORKER')
    } else assert.is(opened, 'UNKNOWN_TOPIC')
    raw.destroy()
  }
})

test('the dead-letter topic is created again after its deletion', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  const { handled } = await work(context, harness.client, { settings: { attemptsMax: 1 } }, (value) => {
    if (value.startsWith('bad')) throw new Error('no')
  })
  await publishEach(harness, 1, 'bad')
  await waitFor('the dead letter', async () => (await harness.client.queues.describe(group)).dead === 1)
  await harness.client.topics.delete(`${group}.dead-letters`)
  assert.is((await harness.client.queues.describe(group)).dead, 0)
  await publishEach(harness, 1, 'bad')
  await waitFor('the next one', async () => (await harness.client.queues.describe(group)).dead === 1)
  await publishEach(harness, 1, 'good')
  await waitFor('the good message', () => handled.length === 1)
})

test.run()
