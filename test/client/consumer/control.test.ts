import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness, numbered, take, valuesOf } from './harness.js'

const test = suite('client/consumer/control')

test('a paused partition delivers nothing until it is resumed', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  for (const partition of [0, 1]) await harness.publish(topicId, partition, numbered(`p${partition}`, 0, 3))
  const consumer = harness.consume('t')
  await consumer.start()
  consumer.pause([0])
  const iterator = consumer[Symbol.asyncIterator]()
  assert.equal(valuesOf(await take(iterator, 3)), numbered('p1', 0, 3))
  const next = iterator.next()
  await harness.publish(topicId, 1, ['p1-3'])
  assert.is((await next).value?.value, 'p1-3')
  assert.is(consumer.stats().partitions.find(({ partition }) => partition === 0)?.state, 'paused')
  consumer.resume([0])
  assert.equal(valuesOf(await take(iterator, 3)), numbered('p0', 0, 3))
})

test('pause() in the middle of a batch keeps the rest for resume()', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 4))
  const consumer = harness.consume('t')
  const iterator = consumer[Symbol.asyncIterator]()
  await take(iterator, 2)
  consumer.pause()
  const next = iterator.next()
  consumer.resume()
  assert.is((await next).value?.value, 'v-2')
})

test('seek goes back and forth, by offset, end and time', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 5))
  const consumer = harness.consume('t')
  const iterator = consumer[Symbol.asyncIterator]()
  await take(iterator, 5)
  await consumer.seek({ partition: 0, offset: 3 })
  assert.is(consumer.position(0), 3)
  assert.equal(valuesOf(await take(iterator, 2)), ['v-3', 'v-4'])
  await consumer.seek({ topic: 't', partition: 0, offset: new Date(500) })
  assert.is(consumer.position(0), 0)
  await consumer.seek({ partition: 0, offset: 'latest' })
  await harness.publish(topicId, 0, ['new'])
  assert.equal(valuesOf(await take(iterator, 1)), ['new'])
})

test('acknowledgements from before a seek do not count after it', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 5))
  const consumer = harness.consume('t', { group: 'g', commitIntervalMs: 600_000 })
  const iterator = consumer[Symbol.asyncIterator]()
  const held = await take(iterator, 5)
  await consumer.seek({ partition: 0, offset: 1 })
  for (const message of held) message.ack()
  await consumer.commit()
  assert.is(await harness.committed('g', 't'), 1)
  const [again] = await take(iterator, 1)
  again?.ack()
  await consumer.commit()
  assert.is(await harness.committed('g', 't'), 2)
})

test('seeking a partition that is not assigned is an error', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  const consumer = harness.consume('t')
  await consumer.start()
  const outcome = await consumer
    .seek({ partition: 7, offset: 0 })
    .catch((error: { code: string }) => error.code)
  assert.is(outcome, 'UNKNOWN_PARTITION')
  const wrong = await consumer
    .seek({ partition: 0, offset: -1 })
    .catch((error: { code: string }) => error.code)
  assert.is(wrong, 'BAD_OPTION')
})

test('lag counts unacknowledged messages in a group, and undelivered ones without a group', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 5))
  const member = harness.consume('t', { group: 'g' })
  const [first] = await take(member[Symbol.asyncIterator](), 3)
  first?.ack()
  assert.equal(await member.lag(), [{ topic: 't', partition: 0, position: 3, endOffset: 5, lag: 4 }])
  const alone = harness.consume('t')
  await take(alone[Symbol.asyncIterator](), 3)
  assert.is((await alone.lag())[0]?.lag, 2)
})

test('a partition waits at unackedMax unacknowledged messages, shows it, and continues after an acknowledgement', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 5))
  const consumer = harness.consume('t', { group: 'g', unackedMax: 2 })
  const iterator = consumer[Symbol.asyncIterator]()
  const held = await take(iterator, 2)
  let delivered = 0
  const rest = take(iterator, 3).then((messages) => {
    delivered = messages.length
    return messages
  })
  await new Promise(setImmediate)
  const [stats] = consumer.stats().partitions
  assert.is(stats?.state, 'waiting_for_acks')
  assert.is(stats?.unacked, 2)
  assert.is(delivered, 0)
  held[1]?.ack()
  held[0]?.ack()
  await waitFor('the next two', () => consumer.stats().delivered === 4)
  assert.is(consumer.stats().partitions[0]?.state, 'waiting_for_acks')
  held.length = 0
  await consumer.close()
  assert.equal((await rest).length, 2)
})

test('partitions take turns, so that a full one does not starve another', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  for (let batch = 0; batch < 20; batch++) await harness.publish(topicId, 0, numbered('busy', 0, 50))
  await harness.publish(topicId, 1, ['rare'])
  const iterator = harness.consume('t')[Symbol.asyncIterator]()
  const seen = valuesOf(await take(iterator, 1001))
  assert.ok(seen.indexOf('rare') <= 100, `the rare message came as number ${seen.indexOf('rare')}`)
})

test('partitions that are added later are read from their start', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  const consumer = harness.consume('t', { from: 'latest', partitionsRefreshMs: 20 })
  await consumer.start()
  const { topicId } = await harness.client.topics.alter('t', { partitions: 2 })
  await harness.publish(topicId, 1, ['added'])
  assert.equal(valuesOf(await take(consumer[Symbol.asyncIterator](), 1)), ['added'])
})

test('only chosen partitions are read, and one that does not exist is an error', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 3)
  for (const partition of [0, 1, 2]) await harness.publish(topicId, partition, [`p${partition}`])
  const seen: string[] = []
  for await (const { value } of harness.consume('t', { partitions: [0, 2], until: 'end' })) seen.push(value)
  assert.equal(seen.sort(), ['p0', 'p2'])
  const outcome = await harness
    .consume('t', { partitions: [3] })
    .start()
    .catch((error: { code: string }) => error.code)
  assert.is(outcome, 'UNKNOWN_PARTITION')
})

test('several topics are read by one consumer', async (context) => {
  const harness = await Harness.start(context)
  const a = await harness.createTopic('a')
  const b = await harness.createTopic('b')
  await harness.publish(a, 0, ['from a'])
  await harness.publish(b, 0, ['from b'])
  const seen: string[] = []
  for await (const { topic, value } of harness.consume(['a', 'b'], { group: 'g', until: 'end' }))
    seen.push(`${topic}: ${value}`)
  assert.equal(seen.sort(), ['a: from a', 'b: from b'])
})

test('invalid options are refused by name', async (context) => {
  const harness = await Harness.start(context)
  for (const [options, name] of [
    [{ from: -1 }, 'from'],
    [{ from: new Date(Number.NaN) }, 'from'],
    [{ unackedMax: 0 }, 'unackedMax'],
    [{ instanceId: 'x' }, 'instanceId'],
    [{ group: 'g', partitions: [0] }, 'partitions'],
    [{ partitions: [] }, 'partitions'],
    [{ bufferBytesMax: 1.5 }, 'bufferBytesMax'],
  ] as const) {
    assert.throws(
      () => harness.consume('t', options),
      (error: Error) => error.message.includes(`"${name}"`),
    )
  }
})

test.run()
