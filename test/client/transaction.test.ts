import * as assert from 'uvu/assert'
import {
  type Client,
  defineTopic,
  type ErrorCode,
  isMillraceError,
  type Message,
  string,
  type Topic,
  type WorkMessage,
} from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness, take } from './consumer/harness.js'

const test = suite('client/transaction')

const tasks = defineTopic('tasks', { value: string })
const results = defineTopic('results', { value: string })
const audit = defineTopic('audit', { value: string })

async function start(context: TestContext): Promise<{ harness: Harness; client: Client; dir: string }> {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  for (const topic of ['tasks', 'results', 'audit']) await harness.createTopic(topic, 2)
  return { harness, client: harness.client, dir }
}

type Four = readonly [TextMessage, TextMessage, TextMessage, TextMessage]
type TextMessage = Message<string, string>

async function rejects(promise: Promise<unknown>, code: ErrorCode, text: RegExp): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(isMillraceError(error, code), String(error))
  assert.match((error as Error).message, text)
}

async function valuesOf(client: Client, topic: Topic<string>): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of client.consume(topic, { from: 'earliest', until: 'end' })) values.push(value)
  return values.sort()
}

test('messages of several topics, an acknowledgement and offsets are one commit', async (context) => {
  const { client } = await start(context)
  await client.publishMany(tasks, [{ value: 'a' }, { value: 'b' }])
  let handled = 0
  const worker = client.work(tasks, { group: 'crew' }, async (message) => {
    await client.transaction((transaction) => {
      transaction.publish(results, { key: 'k', value: `result of ${message.value}` })
      transaction.publish(audit, { value: `handled ${message.value}` })
      transaction.publish(results, { key: 'k', value: `more of ${message.value}` })
      transaction.ack(message)
      transaction.commitOffsets('readers', [{ topic: 'audit', partition: 0, offset: 0 }])
    })
    handled++
  })
  await waitFor('both', () => handled === 2)
  await worker.close()
  assert.is(worker.stats().acked, 2)
  assert.is(worker.stats().lost, 0)
  assert.equal(await valuesOf(client, results), ['more of a', 'more of b', 'result of a', 'result of b'])
  assert.equal(await valuesOf(client, audit), ['handled a', 'handled b'])
  const { partitions } = await client.groups.describe('readers')
  assert.is(partitions.find(({ partition }) => partition === 0)?.committedOffset, 0)
  const { partitions: done } = await client.queues.describe('crew')
  assert.ok(done.every(({ doneOffset, endOffset }) => doneOffset === endOffset))
})

test('nothing is done when a part is refused, or when the function throws', async (context) => {
  const { client } = await start(context)
  await client.publish(tasks, { value: 'a' })
  let held: WorkMessage<string, string> | undefined
  const attempts: number[] = []
  const worker = client.work(
    tasks,
    { group: 'crew', timeoutMs: 60, settings: { retry: { kind: 'fixed', delay: 0 } } },
    async (message) => {
      attempts.push(message.attempt)
      if (message.attempt > 1) return
      held = message
      await new Promise(() => {})
    },
  )
  await waitFor('the second attempt', () => attempts.length === 2)
  const late = held as WorkMessage<string, string>
  const error = await client
    .transaction((transaction) => {
      transaction.publish(results, { value: 'too late' })
      transaction.ack(late)
    })
    .catch((reason: unknown) => reason)
  assert.ok(isMillraceError(error, 'LEASE_LOST'), String(error))
  const thrown = await client
    .transaction((transaction) => {
      transaction.publish(results, { value: 'never' })
      throw new Error('changed my mind')
    })
    .catch((reason: unknown) => reason)
  assert.match((thrown as Error).message, /changed my mind/)
  const unknown = await client
    .transaction((transaction) => {
      transaction.publish(results, { value: 'with an unknown topic' })
      transaction.publish('nowhere', { value: Buffer.from('x') })
    })
    .catch((reason: unknown) => reason)
  assert.ok(isMillraceError(unknown, 'UNKNOWN_TOPIC'), String(unknown))
  assert.equal(await valuesOf(client, results), [])
  await worker.close()
})

test('offsets of a group with members are refused, and everything with them', async (context) => {
  const { client } = await start(context)
  const consumer = client.consume(tasks, { group: 'readers' })
  const reading = (async () => {
    for await (const message of consumer) message.ack()
  })()
  await waitFor('the member', async () => (await client.groups.list()).some(({ members }) => members === 1))
  const error = await client
    .transaction((transaction) => {
      transaction.publish(results, { value: 'x' })
      transaction.commitOffsets('readers', [{ topic: 'tasks', partition: 0, offset: 0 }])
    })
    .catch((reason: unknown) => reason)
  assert.ok(isMillraceError(error, 'GROUP_ACTIVE'), String(error))
  assert.equal(await valuesOf(client, results), [])
  await consumer.close()
  await reading
})

test('input offsets and output messages of a stream group are one commit, also after failures', async (context) => {
  const { harness, client, dir } = await start(context)
  const random = context.random()
  const count = 300
  await client.publishMany(
    tasks,
    Array.from({ length: count }, (_, i) => ({ value: String(i) })),
  )
  let members = 0
  const member = async (): Promise<void> => {
    members++
    const own = await harness.newClient()
    const consumer = own.consume(tasks, { group: 'readers', from: 'earliest', commitIntervalMs: 1 })
    context.defer(() => consumer.close().catch(() => {}))
    for await (const batch of consumer.batches({ messagesMax: random.int(1, 20) })) {
      if (random.chance(0.2)) throw new Error('the member failed before its transaction')
      await own.transaction((transaction) => {
        for (const { value, partition } of batch.messages)
          transaction.publish(results, { value: `${partition}: ${value}` })
        for (const message of batch.messages) transaction.ack(message)
        if (random.chance(0.2)) throw new Error('the member failed in its transaction')
      })
      if (isOver) return
      if (random.chance(0.2)) throw new Error('the member failed after its transaction')
    }
  }
  // Before the commit there may be no such group.
  const committed = async (): Promise<number> => {
    const { partitions } = await client.groups.describe('readers').catch(() => ({ partitions: [] }))
    return partitions.reduce((sum, { committedOffset = 0 }) => sum + committedOffset, 0)
  }
  let isOver = false
  context.defer(() => {
    isOver = true
  })
  const reading = (async () => {
    while (!isOver) await member().catch(() => {})
  })()
  await waitFor('some', async () => (await committed()) > count / 3, { deadlineMs: 20_000 })
  await harness.restartBroker(dir)
  await waitFor('all', async () => (await committed()) === count, { deadlineMs: 20_000 })
  const values = (await valuesOf(client, results)).map((value) => Number(value.split(': ')[1]))
  assert.equal(
    values.sort((a, b) => a - b),
    Array.from({ length: count }, (_, i) => i),
  )
  assert.ok(members > 3, `${members} members`)
  isOver = true
  await client.publish(tasks, { value: 'the last' })
  await reading
})

test("a transaction can't acknowledge a message of a stream group before earlier ones", async (context) => {
  const { harness, client } = await start(context)
  await harness.publish(await harness.createTopic('one'), 0, ['a', 'b', 'c', 'd'])
  const consumer = harness.consume('one', { group: 'readers', commitIntervalMs: 600_000 })
  const [a, b, c, d] = (await take(consumer[Symbol.asyncIterator](), 4)) as unknown as Four
  const acking = (...messages: readonly Message<string, string>[]): Promise<void> =>
    client.transaction((transaction) => {
      transaction.publish(results, { value: messages.map(({ value }) => value).join() })
      for (const message of messages) transaction.ack(message)
    })
  await rejects(acking(c), 'BAD_OPTION', /offset 2 .* offset 0 before it/)
  b.ack()
  await acking(c, a)
  assert.is(await harness.committed('readers', 'one'), 3)
  await consumer.seek({ partition: 0, offset: 1 })
  await rejects(acking(d), 'FENCED', /partition 0 of topic "one"/)
  const [again] = (await take(consumer[Symbol.asyncIterator](), 1)) as unknown as Four
  await consumer.close()
  await rejects(acking(again), 'FENCED', /partition 0 of topic "one"/)
  const [alone] = (await take(harness.consume('one')[Symbol.asyncIterator](), 1)) as unknown as Four
  await rejects(acking(alone), 'BAD_OPTION', /offset 0 of partition 0 .* was not read in a group/)
  assert.equal(await valuesOf(client, results), ['c,a'])
})

test('queue groups, their leases, counts and dead letters are there after a restart', async (context) => {
  const { harness, client, dir } = await start(context)
  await client.publishMany(
    tasks,
    Array.from({ length: 20 }, (_, i) => ({ value: String(i) })),
  )
  const attempts = new Map<string, number[]>()
  let isRestarted = false
  const settings = { attemptsMax: 2, retry: { kind: 'fixed', delay: 0 } } as const
  const running: WorkMessage<string, string>[] = []
  const worker = client.work(
    tasks,
    { group: 'crew', settings, concurrency: 20, leaseMs: 5_000 },
    async (message) => {
      const seen = attempts.get(message.value) ?? []
      attempts.set(message.value, [...seen, message.attempt])
      if (Number(message.value) % 4 === 0) throw new Error('always')
      if (Number(message.value) % 4 !== 1) return
      // Their handlers, and their leases, last across the restart.
      running.push(message)
      await waitFor('the restart', () => isRestarted, { deadlineMs: 10_000 })
    },
  )
  await worker.ready
  await waitFor('the dead letters', async () => (await client.queues.describe('crew')).dead === 5)
  await waitFor('those that run', () => running.length === 5)
  await harness.restartBroker(dir)
  isRestarted = true
  const isDone = async (): Promise<boolean> =>
    (await client.queues.describe('crew')).partitions.every(
      ({ inFlight, waiting }) => inFlight + waiting === 0,
    )
  await waitFor('the end', isDone, { deadlineMs: 10_000 })
  await worker.close()
  for (const [value, list] of attempts) assert.equal(list, Number(value) % 4 === 0 ? [1, 2] : [1], value)
  assert.is((await client.queues.describe('crew')).dead, 5)
  assert.is(await client.queues.redrive('crew'), 5)
  await harness.restartBroker(dir)
  assert.is((await client.queues.describe('crew')).dead, 0)
  const again: number[] = []
  const other = client.work(tasks, { group: 'crew' }, ({ attempt }) => void again.push(attempt))
  await waitFor('those that were redriven', () => again.length === 5)
  assert.equal(again, [1, 1, 1, 1, 1])
  await other.close()
})

test('a topic that takes small batches gets the messages of a transaction in small batches', async (context) => {
  const { client } = await start(context)
  const small = defineTopic('small', { value: string })
  await client.topics.create('small', { batchBytesMax: '4KiB' })
  const values = Array.from({ length: 40 }, (_, i) => `${String(i).padStart(2, '0')} ${'x'.repeat(1_000)}`)
  await client.transaction((transaction) => {
    for (const value of values) transaction.publish(small, { key: 'k', value })
  })
  assert.equal(await valuesOf(client, small), values)
  const error = await client
    .transaction((transaction) => transaction.publish(small, { value: 'x'.repeat(5_000) }))
    .catch((reason: unknown) => reason)
  assert.ok(isMillraceError(error, 'BATCH_TOO_LARGE'), String(error))
})

test('a transaction refuses unsupported options with an error', async (context) => {
  const { client } = await start(context)
  for (const later of [{ delay: '1h' }, { deliverAt: Date.now() + 1_000 }, { id: 'one' }]) {
    const error = await client
      .transaction((transaction) => transaction.publish(results, { value: 'x', ...later }))
      .catch((reason: unknown) => reason)
    assert.ok(isMillraceError(error, 'BAD_OPTION'), String(error))
  }
  const kept = await client.transaction((transaction) => transaction)
  assert.throws(() => kept.publish(results, { value: 'late' }), /the transaction has ended/)
  assert.throws(() => kept.commitOffsets('readers', []), /the transaction has ended/)
  assert.equal(await valuesOf(client, results), [])
})

test.run()
