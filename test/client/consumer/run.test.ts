import * as assert from 'uvu/assert'
import type { Message } from '../../../client/index.js'
import { RecordBatchBuilder } from '../../../protocol/index.js'
import { FaultyProxy } from '../../faults/machine/faulty_proxy.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness, numbered, take, valuesOf } from './harness.js'

const test = suite('client/consumer/run')

type Text = Message<string, string>

/** Handlers that stay where they are until they are let go, by value of the message. */
class Gate {
  readonly started: string[] = []
  readonly ended: string[] = []
  runningMax = 0
  readonly #waiting: { value: string; resolve: () => void; reject: (error: Error) => void }[] = []
  #isOpen = false

  readonly handle = async ({ value }: Text): Promise<void> => {
    this.started.push(value)
    this.runningMax = Math.max(this.runningMax, this.started.length - this.ended.length)
    if (!this.#isOpen)
      await new Promise<void>((resolve, reject) => this.#waiting.push({ value, resolve, reject }))
    this.ended.push(value)
  }

  release(value: string): void {
    this.#waiting.find((one) => one.value === value)?.resolve()
  }

  fail(value: string, error: Error): void {
    this.#waiting.find((one) => one.value === value)?.reject(error)
  }

  /** Lets all go, also those that start later. */
  open(): void {
    this.#isOpen = true
    for (const { resolve } of this.#waiting) resolve()
  }

  async waitForStarts(count: number): Promise<void> {
    await waitFor(`${count} handlers`, () => this.started.length >= count)
  }
}

async function withPartitions(context: TestContext, partitions: number, each: number): Promise<Harness> {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', partitions)
  for (let partition = 0; partition < partitions; partition++)
    await harness.publish(topicId, partition, numbered(`p${partition}`, 0, each))
  return harness
}

/** One partition, with `keys` as the keys of its messages; the values are the keys, numbered. */
async function withKeys(context: TestContext, keys: readonly (string | null)[]): Promise<Harness> {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await publishKeys(harness, topicId, 0, keys)
  return harness
}

async function publishKeys(
  harness: Harness,
  topicId: number,
  partition: number,
  keys: readonly (string | null)[],
): Promise<void> {
  const builder = new RecordBatchBuilder()
  for (const [index, key] of keys.entries())
    builder.append({ key, value: `${key}-${index}`, headers: {}, timestamp: 1000 })
  await harness.publishBatch(topicId, partition, builder.finish())
}

test('partitions are handled at the same time, each in its order', async (context) => {
  const harness = await withPartitions(context, 4, 20)
  const gate = new Gate()
  const done = harness.consume('t', { group: 'g', until: 'end' }).run(gate.handle, { concurrency: 100 })
  await gate.waitForStarts(4)
  assert.equal([...gate.started].sort(), ['p0-0', 'p1-0', 'p2-0', 'p3-0'])
  gate.release('p2-0')
  await gate.waitForStarts(5)
  assert.is(gate.started[4], 'p2-1')
  gate.open()
  await done
  assert.is(gate.runningMax, 4)
  for (let partition = 0; partition < 4; partition++) {
    const own = gate.started.filter((value) => value.startsWith(`p${partition}`))
    assert.equal(own, numbered(`p${partition}`, 0, 20))
    assert.is(await harness.committed('g', 't', partition), 20)
  }
})

test('no more handlers run than "concurrency" says', async (context) => {
  const harness = await withPartitions(context, 4, 5)
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end' })
  const done = consumer.run(gate.handle, { concurrency: 2 })
  await gate.waitForStarts(2)
  assert.is(consumer.stats().running, 2)
  gate.open()
  await done
  assert.is(gate.runningMax, 2)
  assert.is(gate.ended.length, 20)
})

test('by key: keys of one partition are handled at the same time, each in its order', async (context) => {
  const harness = await withKeys(context, ['a', 'a', 'b', 'a', 'c', null, null])
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end', commitIntervalMs: 0 })
  const done = consumer.run(gate.handle, { order: 'key' })
  await gate.waitForStarts(5)
  assert.equal(gate.started, ['a-0', 'b-2', 'c-4', 'null-5', 'null-6'])
  gate.release('a-0')
  await gate.waitForStarts(6)
  assert.is(gate.started[5], 'a-1')
  gate.open()
  await done
  assert.is(gate.started[6], 'a-3')
})

test('by key: nothing is committed past a message whose handler runs', async (context) => {
  const harness = await withKeys(context, ['a', 'b', 'c', 'd'])
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end', commitIntervalMs: 0 })
  const done = consumer.run(gate.handle, { order: 'key' })
  await gate.waitForStarts(4)
  for (const value of ['a-0', 'c-2', 'd-3']) gate.release(value)
  await waitFor('three handlers', () => gate.ended.length === 3)
  await consumer.commit()
  assert.is(await harness.committed('g', 't'), 1)
  gate.release('b-1')
  await done
  assert.is(await harness.committed('g', 't'), 4)
})

test('by key: a busy key does not fill the memory, and is handled to its end', async (context) => {
  const keys = Array.from({ length: 1_000 }, (_, index) => (index % 2 === 0 ? 'hot' : `cold${index}`))
  const harness = await withKeys(context, keys)
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end' })
  const done = consumer.run((message) => (message.key === 'hot' ? gate.handle(message) : undefined), {
    order: 'key',
  })
  await gate.waitForStarts(1)
  await waitFor('the messages to wait', () => consumer.stats().delivered >= 200)
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(consumer.stats().delivered < 210, `${consumer.stats().delivered} were read ahead`)
  gate.open()
  await done
  assert.is(gate.ended.length, 500)
  assert.is(await harness.committed('g', 't'), 1_000)
})

test('by key: a message that takes long lets no more than "unackedMax" run ahead', async (context) => {
  const keys = Array.from({ length: 200 }, (_, index) => `${index}`)
  const harness = await withKeys(context, keys)
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end', unackedMax: 50 })
  let handled = 0
  const handler = async (message: Text): Promise<void> => {
    if (message.offset === 0) await gate.handle(message)
    handled++
  }
  const done = consumer.run(handler, { order: 'key' })
  await waitFor('the others', () => handled >= 49)
  await consumer.lag()
  assert.is(handled, 49)
  gate.open()
  await done
  assert.is(handled, 200)
})

test('a handler that throws ends the consumer with its error, and the others finish', async (context) => {
  const harness = await withPartitions(context, 2, 3)
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g' })
  const done = consumer.run(gate.handle)
  await gate.waitForStarts(2)
  gate.fail('p0-0', new Error('no'))
  await waitFor('the end to begin', () => consumer.stats().state === 'closing')
  gate.release('p1-0')
  const error = await done.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.is((error as Error).message, 'no')
  assert.equal([...gate.started].sort(), ['p0-0', 'p1-0'])
  assert.is((await harness.committed('g', 't', 0)) ?? 0, 0)
  assert.is(await harness.committed('g', 't', 1), 1)
  const next = harness.consume('t', { group: 'g' })
  assert.equal(valuesOf(await take(next[Symbol.asyncIterator](), 5)).sort(), [
    'p0-0',
    'p0-1',
    'p0-2',
    'p1-1',
    'p1-2',
  ])
})

test('a handler that fails while the consumer closes is not silent', async (context) => {
  const harness = await withPartitions(context, 1, 1)
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g' })
  const done = consumer.run(gate.handle)
  await gate.waitForStarts(1)
  const closed = consumer.close()
  gate.fail('p0-0', new Error('late'))
  await closed
  await assertRejects(done, 'late')
})

test('close lets handlers finish, and commits what they have handled', async (context) => {
  const harness = await withPartitions(context, 2, 3)
  const gate = new Gate()
  const abort = new AbortController()
  const consumer = harness.consume('t', { group: 'g', signal: abort.signal })
  const done = consumer.run(gate.handle)
  await gate.waitForStarts(2)
  abort.abort()
  gate.open()
  await done
  assert.is(gate.started.length, 2)
  for (const partition of [0, 1]) assert.is(await harness.committed('g', 't', partition), 1)
})

test('close does not wait longer than "finishTimeoutMs" for a handler, and its message comes again', async (context) => {
  const harness = await withPartitions(context, 1, 1)
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g' })
  const done = consumer.run(gate.handle, { finishTimeoutMs: 1 })
  await gate.waitForStarts(1)
  await consumer.close()
  await done
  gate.open()
  await waitFor('the handler', () => gate.ended.length === 1)
  const next = harness.consume('t', { group: 'g' })
  assert.equal(valuesOf(await take(next[Symbol.asyncIterator](), 1)), ['p0-0'])
})

test('closing the client at once waits for no handler', async (context) => {
  const harness = await withPartitions(context, 1, 1)
  const client = await harness.newClient()
  const gate = new Gate()
  const done = harness.consume('t', { group: 'g' }, client).run(gate.handle)
  done.catch(() => {})
  await gate.waitForStarts(1)
  await client.close({ timeoutMs: 0 })
  assert.equal(gate.ended, [])
  gate.open()
})

test('a partition that moves waits for its handler, whose message does not come again', async (context) => {
  const harness = await withPartitions(context, 2, 3)
  const gate = new Gate()
  const first = harness.consume('t', { group: 'g', revokeGraceMs: 0 })
  const done = first.run(gate.handle)
  await gate.waitForStarts(2)
  const second = harness.consume('t', { group: 'g' })
  await second.start()
  await waitFor('the revocation', () => first.stats().partitions.some(({ state }) => state === 'revoking'))
  const moving = first.stats().partitions.find(({ state }) => state === 'revoking')?.partition
  await first.commit()
  assert.equal(second.assignment, [])
  gate.release(`p${moving}-0`)
  const rest = await take(second[Symbol.asyncIterator](), 2)
  assert.equal(valuesOf(rest), numbered(`p${moving}`, 1, 3))
  assert.is(gate.started.length, 2)
  gate.open()
  await first.close()
  await done
})

test('by key: messages that wait for their key are dropped with a partition that moves', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  for (const partition of [0, 1]) await publishKeys(harness, topicId, partition, ['a', 'b', 'a'])
  const gate = new Gate()
  const starts: string[] = []
  const first = harness.consume('t', { group: 'g', revokeGraceMs: 600_000 })
  const done = first.run(
    async (message) => {
      starts.push(`${message.partition}/${message.offset}`)
      if (message.offset === 0) await gate.handle(message)
    },
    { order: 'key' },
  )
  await waitFor('the handlers', () => starts.length === 4)
  const second = harness.consume('t', { group: 'g' })
  await second.start()
  await waitFor('the revocation', () => first.stats().partitions.some(({ state }) => state === 'revoking'))
  const moving = first.stats().partitions.find(({ state }) => state === 'revoking')?.partition
  gate.open()
  const rest = await take(second[Symbol.asyncIterator](), 1)
  assert.equal(
    rest.map(({ partition, offset }) => [partition, offset]),
    [[moving, 2]],
  )
  await first.close()
  await done
  assert.not.ok(starts.includes(`${moving}/2`))
})

test('by key: a message that waits before one that was handled is handled before the consumer closes', async (context) => {
  const harness = await withKeys(context, ['a', 'a', 'b', 'a'])
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g' })
  const done = consumer.run(gate.handle, { order: 'key' })
  await gate.waitForStarts(2)
  gate.release('b-2')
  await waitFor('the last key', () => gate.ended.length === 1)
  const closed = consumer.close()
  gate.open()
  await Promise.all([closed, done])
  assert.equal(gate.started, ['a-0', 'b-2', 'a-1'])
  assert.is(await harness.committed('g', 't'), 3)
})

test('a partition that comes back after a lost connection waits for the handler from before', async (context) => {
  const harness = await withPartitions(context, 1, 3)
  const proxy = await FaultyProxy.start(context, () => harness.broker.address.port)
  const client = await harness.newClient(proxy.port)
  const gate = new Gate()
  const lost: boolean[] = []
  const consumer = harness.consume(
    't',
    { group: 'g', until: 'end', onRevoked: (_partitions, reason) => void lost.push(reason.lost) },
    client,
  )
  const done = consumer.run(gate.handle)
  await gate.waitForStarts(1)
  await waitFor('the first commit', () => consumer.stats().partitions[0]?.committedOffset === 0)
  proxy.cut()
  await waitFor('the new membership', () => lost.length > 0 && consumer.stats().state === 'joined')
  await consumer.lag()
  assert.equal(gate.started, ['p0-0'])
  gate.open()
  await done
  assert.equal(gate.started, numbered('p0', 0, 3))
  assert.is(await harness.committed('g', 't'), 3)
})

test('a consumer that is paused starts no handler until it is resumed', async (context) => {
  const harness = await withKeys(context, ['a', 'a', 'b'])
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end' })
  const done = consumer.run(gate.handle, { order: 'key' })
  await gate.waitForStarts(2)
  consumer.pause()
  for (const value of ['a-0', 'b-2']) gate.release(value)
  await waitFor('the handlers', () => consumer.stats().running === 0)
  assert.equal(gate.started, ['a-0', 'b-2'])
  gate.open()
  consumer.resume()
  await done
  assert.equal(gate.started, ['a-0', 'b-2', 'a-1'])
})

test('messages from before a seek that wait for their key are skipped', async (context) => {
  const harness = await withKeys(context, ['a', 'a', 'a', 'b'])
  const gate = new Gate()
  const consumer = harness.consume('t', { group: 'g', until: 'end' })
  const done = consumer.run(gate.handle, { order: 'key' })
  await gate.waitForStarts(2)
  await consumer.seek({ partition: 0, offset: 2 })
  gate.open()
  await done
  assert.equal(gate.started.slice(2), ['a-2', 'b-3'])
})

test('without a group the handlers run as well', async (context) => {
  const harness = await withPartitions(context, 3, 4)
  const values: string[] = []
  await harness.consume('t', { until: 'end' }).run(({ value }) => void values.push(value))
  assert.is(new Set(values).size, 12)
})

test('a consumer has either one handler or one loop', async (context) => {
  const harness = await withPartitions(context, 1, 1)
  const consumer = harness.consume('t', { group: 'g', until: 'end' })
  const done = consumer.run(() => {})
  await assertRejects(
    consumer.run(() => {}),
    'the consumer already has a handler or a loop',
  )
  assert.throws(() => consumer[Symbol.asyncIterator](), /has a handler/)
  await done
  const iterated = harness.consume('t')
  iterated[Symbol.asyncIterator]()
  await assertRejects(
    iterated.run(() => {}),
    'the consumer already has a handler or a loop',
  )
})

test('invalid options are refused', async (context) => {
  const harness = await withPartitions(context, 1, 1)
  const run = (options: object): Promise<void> => harness.consume('t').run(() => {}, options)
  await assertRejects(run({ concurrency: 0 }), '"concurrency" is 0, expected a whole number from 1')
  await assertRejects(run({ order: 'none' }), '"order" is "none", expected "partition", "key"')
  await assertRejects(run({ concurency: 2 }), 'consumer.run has no option "concurency"')
})

test('an error of the broker rejects run', async (context) => {
  const harness = await Harness.start(context)
  await assertRejects(
    harness.consume('none', { group: 'g' }).run(() => {}),
    'none',
  )
})

for (const order of ['partition', 'key'] as const)
  test(
    `by ${order}: members that come and go handle each message once, in order, and never two of one ${order} at a time`,
    async (context) => {
      const harness = await Harness.start(context)
      const partitions = 6
      const perPartition = 200
      const keys = 4
      const topicId = await harness.createTopic('t', partitions)
      const random = context.random()
      /** By partition, or by partition and key. */
      const running = new Set<string>()
      const last = new Map<string, number>()
      const problems: string[] = []
      let handled = 0
      let stop = false
      const handler = async ({ partition, key, offset }: Text): Promise<void> => {
        const lane = order === 'key' ? `${partition}/${key}` : `${partition}`
        if (running.has(lane)) problems.push(`two of ${lane} at a time`)
        running.add(lane)
        const step = order === 'key' ? keys : 1
        const expected = (last.get(lane) ?? Number(order === 'key' ? key : 0) - step) + step
        if (offset !== expected) problems.push(`${lane}: offset ${offset}, expected ${expected}`)
        for (let turns = random.int(0, 4); turns > 0; turns--) await new Promise(setImmediate)
        last.set(lane, offset)
        running.delete(lane)
        handled++
      }
      const member = async (): Promise<void> => {
        while (!stop) {
          const consumer = harness.consume('t', { group: 'g', commitIntervalMs: 1, revokeGraceMs: 0 })
          let left = random.int(20, 300)
          await consumer.run(
            async (message) => {
              if (--left === 0 || stop) consumer.close().catch(() => {})
              await handler(message)
            },
            { order, concurrency: 10 },
          )
        }
      }
      const members = [member(), member(), member()]
      context.defer(() => Promise.all(members))
      for (let at = 0; at < perPartition; at += 20)
        for (let partition = 0; partition < partitions; partition++) {
          const builder = new RecordBatchBuilder()
          for (let n = at; n < at + 20; n++)
            builder.append({ key: `${n % keys}`, value: 'v', headers: {}, timestamp: 1000 })
          await harness.publishBatch(topicId, partition, builder.finish())
        }
      const all = partitions * perPartition
      await waitFor('all messages', () => handled >= all || problems.length > 0, { deadlineMs: 20_000 })
      stop = true
      // Members that wait for messages end with one more.
      for (let partition = 0; partition < partitions; partition++)
        for (let key = 0; key < keys; key++) await publishKeys(harness, topicId, partition, [`${key}`])
      assert.equal(problems, [])
      assert.is(handled >= all, true)
    },
    { deadlineMs: 40_000 },
  )

async function assertRejects(promise: Promise<unknown>, text: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof Error, 'expected an error')
  assert.ok(error.message.includes(text), error.message)
}

test.run()
