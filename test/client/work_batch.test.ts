import * as assert from 'uvu/assert'
import {
  type Client,
  type DeadLetter,
  defineTopic,
  isMillraceError,
  json,
  Reject,
  RetryAfter,
  string,
  type WorkBatch,
  type WorkBatchOptions,
  type Worker,
  type WorkMessage,
} from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/work_batch')

type Text = WorkMessage<string, string>
type Handler = (batch: WorkBatch<Text>) => unknown

const tasks = defineTopic('tasks', { value: string })
const quick = { retry: { kind: 'fixed', delay: 0 } } as const

interface Setup {
  readonly client: Client
  readonly work: (handler: Handler, options?: Partial<WorkBatchOptions>) => Worker<string, string>
  readonly publish: (values: readonly string[], key?: string) => Promise<unknown>
  /** Resolves when the group has nothing left to do. */
  readonly allDone: () => Promise<unknown>
}

async function start(context: TestContext): Promise<Setup> {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  const { client } = harness
  return {
    client,
    work: (handler, options = {}) => {
      const worker = client.workBatch(
        tasks,
        { group: 'crew', settings: quick, onFailed: () => {}, ...options },
        handler,
      )
      context.defer(() => worker.close())
      return worker
    },
    publish: (values, key) =>
      client.publishMany(
        tasks,
        values.map((value) => ({ value, key })),
      ),
    allDone: () =>
      waitFor('all to be done', async () => {
        const groups = await client.queues.list()
        if (!groups.some(({ group }) => group === 'crew')) return false
        const { partitions } = await client.queues.describe('crew')
        // A group has no partitions before its first worker has opened it.
        return (
          partitions.length > 0 && partitions.every(({ doneOffset, endOffset }) => doneOffset === endOffset)
        )
      }),
  }
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))
const valuesOf = ({ messages }: WorkBatch<Text>): string[] => messages.map(({ value }) => value)

async function deadLetters(client: Client): Promise<DeadLetter[]> {
  const all: DeadLetter[] = []
  for await (const letter of client.queues.deadLetters('crew')) all.push(letter)
  return all
}

test('a handler gets many messages at a time, and all are done when it resolves', async (context) => {
  const { work, publish, allDone } = await start(context)
  await publish(numbers(250))
  const batches: string[][] = []
  work(async (batch) => void batches.push(valuesOf(batch)), { messagesMax: 100 })
  await waitFor('all messages', () => batches.flat().length === 250)
  assert.equal(batches.flat(), numbers(250))
  assert.ok(batches.every(({ length }) => length >= 1 && length <= 100))
  assert.ok(batches.some(({ length }) => length === 100))
  await allDone()
})

test('messages wait for a full batch, up to "waitMs"', async (context) => {
  const { work, publish, allDone } = await start(context)
  const batches: string[][] = []
  const handler: Handler = (batch) => void batches.push(valuesOf(batch))
  const worker = work(handler, { messagesMax: 3, waitMs: 600_000 })
  await worker.ready
  await publish(['0', '1'])
  await waitFor('the messages', () => worker.stats().buffered === 2)
  assert.equal(batches, [])
  await publish(['2'])
  await allDone()
  assert.equal(batches, [['0', '1', '2']])
  await worker.close()
  work(handler, { messagesMax: 3, waitMs: 1 })
  await publish(['3', '4'])
  await allDone()
  assert.equal(batches.flat(), numbers(5))
})

test('a handler that throws fails each message of its batch', async (context) => {
  const { client, work, publish, allDone } = await start(context)
  await publish(numbers(3))
  const attempts: number[][] = []
  const failed: [string, number][] = []
  const handler: Handler = ({ messages }) => {
    attempts.push(messages.map(({ attempt }) => attempt))
    throw new Error('the database is down')
  }
  work(handler, {
    settings: { ...quick, attemptsMax: 2 },
    onFailed: (_message, error, attempt) => void failed.push([(error as Error).message, attempt]),
  })
  await allDone()
  assert.equal(attempts.flat(), [1, 1, 1, 2, 2, 2])
  assert.equal(failed.length, 6)
  const dead = await deadLetters(client)
  assert.equal(
    dead.map(({ error, attempts: count }) => [error, count]),
    Array.from({ length: 3 }, () => ['the database is down', 2]),
  )
})

test('single messages of a batch fail, and the rest is done', async (context) => {
  const { client, work, publish, allDone } = await start(context)
  await publish(numbers(6))
  const seen: string[] = []
  work((batch) => {
    for (const message of batch.messages) {
      seen.push(message.value)
      if (message.value === '1') batch.fail(message, new Reject('no such address'))
      if (message.value === '3' && message.attempt === 1) batch.fail(message, new RetryAfter(1))
      if (message.value === '4' && message.attempt === 1) batch.fail(message, new Error('busy'))
    }
  })
  await allDone()
  assert.equal([...seen].sort(), ['0', '1', '2', '3', '3', '4', '4', '5'])
  assert.equal(
    (await deadLetters(client)).map(({ reason, error }) => [reason, error]),
    [['rejected', 'no such address']],
  )
})

test('messages that a handler acknowledged stay acknowledged when it throws', async (context) => {
  const { work, publish, allDone } = await start(context)
  await publish(numbers(4))
  const seen: string[] = []
  work((batch) => {
    for (const message of batch.messages) {
      seen.push(`${message.value}/${message.attempt}`)
      if (Number(message.value) < 2) batch.ack(message)
    }
    if (batch.messages[0]?.attempt === 1) throw new Error('half way')
  })
  await allDone()
  assert.equal([...seen].sort(), ['0/1', '1/1', '2/1', '2/2', '3/1', '3/2'])
})

test('the first outcome of a message counts', async (context) => {
  const { work, publish, allDone } = await start(context)
  await publish(['0'])
  const attempts: number[] = []
  work((batch) => {
    const [message] = batch.messages as [Text]
    attempts.push(message.attempt)
    batch.ack(message)
    batch.fail(message, new Error('too late'))
  })
  await allDone()
  assert.equal(attempts, [1])
})

test('a message that does not decode fails alone', async (context) => {
  const { client } = await start(context)
  const parsed = defineTopic('tasks', { value: json<number>() })
  await client.publishMany(
    'tasks',
    ['1', 'no json', '3'].map((text) => ({ value: Buffer.from(text) })),
  )
  const seen: number[] = []
  const worker = client.workBatch(
    parsed,
    { group: 'crew', settings: { ...quick, attemptsMax: 1 }, onFailed: () => {} },
    ({ messages }) => void seen.push(...messages.map(({ value }) => value)),
  )
  context.defer(() => worker.close())
  await waitFor('the dead letter', async () => (await client.queues.list()).some(({ dead }) => dead === 1))
  await waitFor('the others', () => seen.length === 2)
  assert.equal(seen, [1, 3])
})

test('a handler that takes too long fails its batch, and another starts', async (context) => {
  const { work, publish, allDone } = await start(context)
  await publish(numbers(2))
  const attempts: number[] = []
  const worker = work(
    ({ messages }) => {
      attempts.push(...messages.map(({ attempt }) => attempt))
      if (messages[0]?.attempt === 1) return new Promise(() => {})
    },
    { timeoutMs: 1 },
  )
  await allDone()
  assert.equal(attempts, [1, 1, 2, 2])
  assert.is(worker.stats().timedOut, 2)
})

test('no more batches are handled at a time than "concurrency" says', async (context) => {
  const { work, publish, allDone } = await start(context)
  await publish(numbers(40))
  let running = 0
  let runningMax = 0
  let release = (): void => {}
  const open = new Promise<void>((resolve) => {
    release = resolve
  })
  work(
    async (batch) => {
      runningMax = Math.max(runningMax, ++running)
      // What is settled early makes no room before its handler has ended.
      for (const message of batch.messages) batch.ack(message)
      await open
      running--
    },
    { messagesMax: 4, concurrency: 2 },
  )
  await waitFor('two batches', () => running === 2)
  release()
  await allDone()
  assert.is(runningMax, 2)
})

test('with order by key no batch has two messages of a key', async (context) => {
  const { work, publish, allDone } = await start(context)
  for (const key of ['a', 'b', 'a', 'b', 'a']) await publish([key], key)
  const batches: string[][] = []
  work((batch) => void batches.push(batch.messages.map(({ key }) => key ?? '')), {
    settings: { ...quick, order: 'key' },
  })
  await allDone()
  assert.is(batches.flat().length, 5)
  for (const keys of batches) assert.is(new Set(keys).size, keys.length)
})

test('close lets a batch finish and returns the others without counting an attempt', async (context) => {
  const { client, work, publish, allDone } = await start(context)
  await publish(numbers(6))
  let release = (): void => {}
  const open = new Promise<void>((resolve) => {
    release = resolve
  })
  const first: string[] = []
  const worker = work(
    async (batch) => {
      first.push(...valuesOf(batch))
      await open
    },
    { messagesMax: 3, waitMs: 600_000 },
  )
  await waitFor('the batch', () => first.length === 3 && worker.stats().buffered === 3)
  const closed = worker.close()
  release()
  await closed
  assert.equal(first, ['0', '1', '2'])
  const attempts: number[] = []
  const next = client.work(tasks, { group: 'crew' }, ({ attempt }) => void attempts.push(attempt))
  context.defer(() => next.close())
  await allDone()
  assert.equal(attempts, [1, 1, 1])
})

test('a message of another batch, and invalid options, are refused', async (context) => {
  const { client, work, publish, allDone } = await start(context)
  await publish(numbers(2))
  const batches: WorkBatch<Text>[] = []
  work((batch) => void batches.push(batch), { messagesMax: 1 })
  await allDone()
  const [one, other] = batches as [WorkBatch<Text>, WorkBatch<Text>]
  assert.throws(
    () => one.ack(other.messages[0] as Text),
    (error: unknown) => isMillraceError(error, 'BAD_OPTION'),
  )
  const refuses = (options: object, expected: RegExp): void =>
    assert.throws(() => client.workBatch(tasks, { group: 'g', ...options }, () => {}), expected)
  refuses({ messagesMax: 0 }, /"messagesMax" is 0, expected a whole number from 1/)
  refuses({ messageMax: 5 }, /client.workBatch has no option "messageMax"/)
  refuses({ messagesMax: 50, prefetch: 40 }, /at least "concurrency" times "messagesMax" \(50\)/)
  assert.throws(() => client.work(tasks, { group: 'g', messagesMax: 5 } as never, () => {}), /has no option/)
})

test.run()
