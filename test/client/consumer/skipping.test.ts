import * as assert from 'uvu/assert'
import { type Consumer, defineTopic, json, type Message, type Topic } from '../../../client/index.js'
import { RecordBatchBuilder } from '../../../protocol/index.js'
import { unopenableBatch } from '../../helpers/lying_batches.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness, take } from './harness.js'

const test = suite('client/consumer/skipping')

/** So many that no machine skips them within one slice of time. */
const badCount = 20_000
const closeAfter = 500

type Numbers = Consumer<unknown, string>

const ways: Readonly<Record<string, (consumer: Numbers) => Promise<unknown>>> = {
  'a loop': async (consumer) => {
    for await (const _ of consumer) break
  },
  'batches()': async (consumer) => {
    for await (const _ of consumer.batches()) break
  },
  'run()': (consumer) => consumer.run(() => {}),
}

const asynchronous = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: async () => ({ issues: [{ message: 'never valid' }] }),
  },
} as const

const topics: Readonly<Record<string, Topic<unknown, unknown, string>>> = {
  'that do not decode': defineTopic('numbers', { value: json() }),
  'that an asynchronous schema refuses': defineTopic<unknown, unknown>('numbers', { value: asynchronous }),
}

/** One batch of messages that do not decode, then one that does. */
async function publishBad(context: TestContext): Promise<Harness> {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('numbers')
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < badCount; i++) builder.append({ value: '?', timestamp: 1 })
  await harness.publishBatch(topicId, 0, builder.finish())
  await harness.publish(topicId, 0, ['1'])
  return harness
}

for (const [what, topic] of Object.entries(topics)) {
  for (const [how, read] of Object.entries(ways)) {
    test(`${how} that skips messages ${what} lets the program close the consumer`, async (context) => {
      const harness = await publishBad(context)
      let asked = 0
      const consumer: Numbers = harness.client.consume(topic, {
        from: 'earliest',
        onDecodeError: () => {
          if (++asked === closeAfter) setImmediate(() => void consumer.close())
          return 'skip'
        },
      })
      await read(consumer)
      assert.ok(asked >= closeAfter && asked < badCount, `asked ${asked} times`)
      assert.is(consumer.stats().skipped, asked)
    })
  }
}

test('a signal ends a loop that skips messages', async (context) => {
  const harness = await publishBad(context)
  const abort = new AbortController()
  let asked = 0
  const consumer = harness.client.consume(defineTopic('numbers', { value: json() }), {
    from: 'earliest',
    signal: abort.signal,
    onDecodeError: () => {
      if (++asked === closeAfter) setImmediate(() => abort.abort())
      return 'skip'
    },
  })
  for await (const { value } of consumer) assert.unreachable(`delivered ${value}`)
  assert.ok(asked < badCount, `asked ${asked} times`)
})

test('a loop that skips batches that do not open lets the program close the consumer', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('numbers')
  const batchCount = 1_000
  const perPublish = 500
  for (let sent = 0; sent < batchCount; sent += perPublish) {
    await Promise.all(
      Array.from({ length: perPublish }, () => harness.publishBatch(topicId, 0, unopenableBatch(1))),
    )
  }
  let asked = 0
  const consumer = harness.client.consume(defineTopic('numbers', { value: json() }), {
    from: 'earliest',
    onDecodeError: () => {
      const until = performance.now() + 1
      while (performance.now() < until);
      if (++asked === 10) setImmediate(() => void consumer.close())
      return 'skip'
    },
  })
  for await (const { value } of consumer) assert.unreachable(`delivered ${value}`)
  assert.ok(asked < batchCount, `asked ${asked} times`)
})

for (const [how, policy] of [
  ['"skip"', 'skip'],
  ['a function', () => 'skip' as const],
] as const) {
  test(`the message after skipped ones is delivered, and a group commits past them: ${how}`, async (context) => {
    const harness = await publishBad(context)
    const consumer = harness.client.consume(defineTopic('numbers', { value: json() }), {
      from: 'earliest',
      group: 'readers',
      onDecodeError: policy,
    })
    const [message] = await take<Message>(consumer[Symbol.asyncIterator](), 1)
    assert.equal([message?.offset, message?.value], [badCount, 1])
    message?.ack()
    assert.is(consumer.stats().skipped, badCount)
    await consumer.close()
    assert.is(await harness.committed('readers', 'numbers'), badCount + 1)
  })
}

test('seek discards a batch of which messages are being skipped', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('numbers')
  const builder = new RecordBatchBuilder()
  builder.append({ value: '0', timestamp: 1 })
  for (let i = 1; i < badCount; i++) builder.append({ value: '?', timestamp: 1 })
  await harness.publishBatch(topicId, 0, builder.finish())
  await harness.publish(topicId, 0, ['1'])
  let asked = 0
  const consumer = harness.client.consume(defineTopic('numbers', { value: json() }), {
    from: 'earliest',
    onDecodeError: () => {
      if (++asked === closeAfter) setImmediate(() => void consumer.seek({ partition: 0, offset: badCount }))
      return 'skip'
    },
  })
  const iterator = consumer.batches({ messagesMax: badCount })
  const [batch] = await take(iterator, 1)
  assert.is(batch?.firstOffset, badCount)
  await waitFor('the position', () => consumer.position(0) === badCount + 1)
  await consumer.close()
})

test.run()
