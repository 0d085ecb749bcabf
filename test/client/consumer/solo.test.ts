import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { Harness, numbered, take, valuesOf } from './harness.js'

const test = suite('client/consumer/solo')

test('reads all messages from the start in order, and then new ones', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 5))
  await harness.publish(topicId, 0, numbered('v', 5, 8))
  const iterator = harness.consume('t')[Symbol.asyncIterator]()
  const first = await take(iterator, 8)
  assert.equal(valuesOf(first), numbered('v', 0, 8))
  assert.equal(
    first.map(({ offset }) => offset),
    [0, 1, 2, 3, 4, 5, 6, 7],
  )
  const next = iterator.next()
  await harness.publish(topicId, 0, ['late'])
  const { value } = await next
  assert.is(value?.value, 'late')
  assert.is(value?.key, 'key-late')
  assert.is(value?.headerText('trace'), 'trace-late')
  assert.is(value?.headerText('none'), undefined)
  assert.is(value?.timestamp, 1000)
  assert.is(value?.topic, 't')
  assert.is(value?.partition, 0)
})

test('a number starts in the middle of a batch', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 10))
  const iterator = harness.consume('t', { from: 7 })[Symbol.asyncIterator]()
  assert.equal(valuesOf(await take(iterator, 3)), numbered('v', 7, 10))
})

test('"latest" delivers all messages that are published after start() has resolved', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  await harness.publish(topicId, 0, ['old'])
  const consumer = harness.consume('t', { from: 'latest' })
  await consumer.start()
  await harness.publish(topicId, 0, ['new'])
  assert.equal(valuesOf(await take(consumer[Symbol.asyncIterator](), 1)), ['new'])
})

test('until "end" ends after the messages that existed at the start, also if there are none', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 3)
  const empty: string[] = []
  for await (const message of harness.consume('t', { until: 'end' })) empty.push(message.value)
  assert.equal(empty, [])
  await harness.publish(topicId, 0, numbered('a', 0, 4))
  await harness.publish(topicId, 2, numbered('b', 0, 4))
  const seen: string[] = []
  for await (const message of harness.consume('t', { until: 'end' })) {
    if (seen.length === 0) await harness.publish(topicId, 0, ['too late'])
    seen.push(message.value)
  }
  assert.equal(seen.sort(), [...numbered('a', 0, 4), ...numbered('b', 0, 4)])
})

test('batches hold neighbors and are cut at messagesMax', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 7))
  const batches = await take(harness.consume('t').batches({ messagesMax: 5 }), 2)
  assert.equal(
    batches.map(({ firstOffset, lastOffset, messages }) => [firstOffset, lastOffset, messages.length]),
    [
      [0, 4, 5],
      [5, 6, 2],
    ],
  )
})

test('an unknown topic throws from the loop', async (context) => {
  const harness = await Harness.start(context)
  const iterator = harness.consume('nope')[Symbol.asyncIterator]()
  const error = await iterator.next().then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.is((error as { code?: string }).code, 'UNKNOWN_TOPIC')
})

test('aborting the signal ends the loop without an error', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  const abort = new AbortController()
  const consumer = harness.consume('t', { signal: abort.signal })
  await consumer.start()
  const next = consumer[Symbol.asyncIterator]().next()
  abort.abort()
  assert.equal(await next, { value: undefined, done: true })
  assert.is(consumer.stats().state, 'closed')
})

test('leaving the loop closes the consumer', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, ['a', 'b'])
  const consumer = harness.consume('t')
  for await (const message of consumer) {
    assert.is(message.value, 'a')
    break
  }
  assert.is(consumer.stats().state, 'closed')
  assert.equal(await consumer[Symbol.asyncIterator]().next(), { value: undefined, done: true })
})

test.run()
