import * as assert from 'uvu/assert'
import { defineTopic, string } from '../../../client/index.js'
import { commands, type RequestOf } from '../../../protocol/index.js'
import type { Deed, FakeBroker } from '../../helpers/fake_broker.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { codeOf, fakeProducer, numbered, outcome } from '../fixtures.js'

const test = suite('client/producer')

const topic = defineTopic('t', { value: string })

/** Handles publish requests one after the other; without an entry it answers them. */
function inTurn(...deeds: Deed[]): (name: string) => Deed {
  return (name) => (name === 'publish' ? deeds.shift() : undefined) ?? { kind: 'answer' }
}

/** The partitions of all published batches, in order. */
function partitionsOf(broker: FakeBroker): number[] {
  return broker.requests('publish').flatMap(({ body }) => {
    const { batches } = body as RequestOf<typeof commands.publish>
    return batches.map(([, partition]) => partition)
  })
}

const answer: Deed = { kind: 'answer' }

test('a lost reply costs a retry, not a second copy', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { requestTimeoutMs: 80 })
  broker.decide = inTurn({ kind: 'mute' })
  const receipt = await publisher.publish(topic, { value: 'a' })
  assert.is(receipt.offset, 0)
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, ['a'])
  assert.is(broker.requests('publish').length, 2)
})

test('a connection that is cut in the middle of a reply is replaced', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context)
  broker.decide = inTurn({ kind: 'cutReply' }, { kind: 'cut' })
  const receipts = await Promise.all(numbered(3).map((value) => publisher.publish(topic, { value })))
  assert.equal(
    receipts.map((receipt) => receipt.offset),
    [0, 1, 2],
  )
  assert.is(producer.bufferedBytes, 0)
})

test('replies in another order resolve the messages that they belong to', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { batchBytes: 64 })
  broker.decide = inTurn(answer)
  await publisher.publish(topic, { value: 'first' })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  const sent = [publisher.publish(topic, { value: 'a' })]
  await waitFor('one request', () => broker.heldCount === 1)
  sent.push(publisher.publish(topic, { value: 'b' }))
  await waitFor('two requests', () => broker.heldCount === 2)
  broker.release([1, 0])
  assert.equal(
    (await Promise.all(sent)).map((receipt) => receipt.offset),
    [1, 2],
  )
})

test('batches with a retryable error are sent again in the same order', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { batchBytes: 64 })
  broker.decide = inTurn({ kind: 'refuseBatches', code: 'STORAGE_FULL' })
  const values = numbered(40)
  const receipts = await Promise.all(values.map((value) => publisher.publish(topic, { value })))
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, values)
  assert.equal(
    receipts.map((receipt) => receipt.offset),
    values.map((_, index) => index),
  )
})

test('a batch that is permanently refused fails alone', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context)
  broker.decide = inTurn({ kind: 'refuseBatches', code: 'CORRUPT' })
  const first = outcome(publisher.publish(topic, { value: 'a' }))
  await waitFor('the request', () => broker.requests('publish').length === 1)
  const second = publisher.publish(topic, { value: 'b' })
  assert.is(await first, 'CORRUPT')
  assert.is((await second).offset, 0)
  assert.is(producer.bufferedBytes, 0)
})

test('a fenced partition continues under a new epoch', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  broker.decide = inTurn({ kind: 'refuseBatches', code: 'PRODUCER_FENCED' })
  assert.is(await outcome(publisher.publish(topic, { value: 'a' })), 'PRODUCER_FENCED')
  await publisher.publish(topic, { value: 'b' })
  const [batch] = broker.topics.get('t')?.partitions[0]?.batches ?? []
  assert.equal([batch?.producerEpoch, batch?.baseSequence], [1, 0])
})

test('a broker that has forgotten the producer gets all batches under a new epoch', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  await publisher.publish(topic, { value: 'a' })
  const other = broker.createTopic('other')
  const [lost] = other.partitions
  broker.topics.get('t')?.partitions.splice(0, 1, lost as NonNullable<typeof lost>)
  await publisher.publish(topic, { value: 'b' })
  assert.equal(lost?.values, ['b'])
})

test('a duplicate whose offset is forgotten is a success', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  broker.decide = inTurn({ kind: 'refuseBatches', code: 'DUPLICATE_SEQUENCE' })
  assert.is((await publisher.publish(topic, { value: 'a' })).offset, -1)
})

test('a message on the wire is given up after its timeout', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, { deliveryTimeoutMs: 150 })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'drop' : 'answer' })
  const startedMs = performance.now()
  assert.is(await outcome(publisher.publish(topic, { value: 'a' })), 'DELIVERY_TIMEOUT')
  assert.ok(performance.now() - startedMs < 2_000)
  assert.is(producer.bufferedBytes, 0)
  broker.decide = () => answer
  assert.is((await publisher.publish(topic, { value: 'b' })).offset, 0)
})

test('messages after one with an unknown outcome are not appended twice', async (context) => {
  const { broker, publisher } = await fakeProducer(context, {
    deliveryTimeoutMs: 300,
    requestTimeoutMs: 2_000,
  })
  await publisher.publish(topic, { value: 'first' })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'mute' : 'answer' })
  const first = outcome(publisher.publish(topic, { value: 'a' }))
  await waitFor('the first request', () => broker.requests('publish').length === 2)
  await new Promise((resolve) => setTimeout(resolve, 200))
  const second = outcome(publisher.publish(topic, { value: 'b' }))
  await waitFor('the second request', () => broker.requests('publish').length === 3)
  assert.is(await first, 'DELIVERY_TIMEOUT')
  broker.decide = () => answer
  broker.cut()
  assert.equal(await second, { ...((await second) as object), offset: 2 })
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, ['first', 'a', 'b'])
})

test('messages wait while no broker is reachable, and are given up after their timeout', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, { deliveryTimeoutMs: 300 })
  await publisher.publish(topic, { value: 'first' })
  await broker.stop()
  const startedMs = performance.now()
  assert.is(await outcome(publisher.publish(topic, { value: 'a' })), 'DELIVERY_TIMEOUT')
  assert.ok(performance.now() - startedMs < 2_000)
  assert.is(producer.bufferedBytes, 0)
})

test('a full buffer refuses messages with onFull "error"', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, {
    bufferBytesMax: 64 * 1024,
    onFull: 'error',
  })
  await publisher.publish(topic, { value: 'first' })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  const sent = publisher.publish(topic, { value: 'a'.repeat(60 * 1024) })
  assert.is(await outcome(publisher.publish(topic, { value: 'b'.repeat(5 * 1024) })), 'BUFFER_FULL')
  await waitFor('the request', () => broker.heldCount === 1)
  broker.release()
  await sent
  assert.is(producer.bufferedBytes, 0)
})

test('a full buffer makes publishers wait in order, and never exceeds its limit', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, { bufferBytesMax: 64 * 1024 })
  await publisher.publish(topic, { value: 'first' })
  const values = numbered(60).map((value) => value.padEnd(3_000, '.'))
  let mostBytes = 0
  broker.decide = () => {
    mostBytes = Math.max(mostBytes, producer.bufferedBytes)
    return answer
  }
  await Promise.all(values.map((value) => publisher.publish(topic, { value })))
  assert.equal(broker.topics.get('t')?.partitions[0]?.values.slice(1), values)
  assert.ok(mostBytes > 32 * 1024 && mostBytes <= 64 * 1024, `${mostBytes} bytes at most`)
  assert.is(producer.bufferedBytes, 0)
})

test('a message larger than the whole buffer goes alone', async (context) => {
  const { publisher, broker } = await fakeProducer(context, { bufferBytesMax: 64 * 1024 })
  const values = ['a', 'b'.repeat(100 * 1024), 'c']
  await Promise.all(values.map((value) => publisher.publish(topic, { value })))
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, values)
})

test('a message over the limit of the broker fails at once; one at the limit is published', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  broker.limits.batchBytesMax = 2_000
  broker.cut()
  await publisher.publish(topic, { value: 'first' })
  // Header 64, timestamp 1, no key 1, length 2, no headers 1.
  const largest = 2_000 - 69
  await publisher.publish(topic, { value: 'a'.repeat(largest) })
  try {
    await publisher.publish(topic, { value: 'a'.repeat(largest + 1) })
    assert.unreachable()
  } catch (error) {
    assert.is(codeOf(error), 'VALUE_TOO_LARGE')
    assert.match(String(error), /has 2,001 bytes \(1\.95 KiB\), the broker allows at most 2 kB/)
  }
})

test('batches above the limit of their topic are made smaller', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context)
  const limited = broker.topics.get('t')
  if (limited !== undefined) limited.batchBytesMax = 1_024
  const values = numbered(300)
  const large = 'x'.repeat(2_000)
  const sent = [...values, large, 'last'].map((value) =>
    outcome(publisher.publish(topic, { value, headers: { h: value.slice(0, 9) } })),
  )
  const bulk = outcome(
    publisher.publishMany(
      topic,
      numbered(300, 'w').map((value) => ({ value })),
    ),
  )
  const results = await Promise.all(sent)
  assert.is(results[300], 'VALUE_TOO_LARGE')
  assert.equal((await bulk) as object, { topic: 't', count: 300 })
  const partition = broker.topics.get('t')?.partitions[0]
  assert.equal(partition?.values, [...values, 'last', ...numbered(300, 'w')])
  for (const [index, result] of results.entries()) {
    if (index !== 300) assert.is((result as { offset: number }).offset, Math.min(index, 300))
  }
  assert.is(producer.bufferedBytes, 0)
})

test('messages for a topic that was deleted fail', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context)
  await publisher.publish(topic, { value: 'first' })
  broker.topics.delete('t')
  assert.is(await outcome(publisher.publish(topic, { value: 'a' })), 'UNKNOWN_TOPIC')
  assert.is(await outcome(publisher.publish(topic, { value: 'b' })), 'UNKNOWN_TOPIC')
  assert.is(producer.bufferedBytes, 0)
})

test('messages for a topic that was created again go to the new one, in order', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { batchBytes: 64 })
  await publisher.publish(topic, { value: 'first' })
  broker.createTopic('t')
  const values = numbered(30)
  await Promise.all(values.map((value) => publisher.publish(topic, { value })))
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, values)
})

test('messages for a topic that was created again with other partitions fail, the next ones go there', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  await publisher.publish(topic, { value: 'first' })
  broker.createTopic('t', 4)
  assert.is(await outcome(publisher.publish(topic, { value: 'a', partition: 0 })), 'UNKNOWN_TOPIC')
  await publisher.publish(topic, { value: 'b', partition: 3 })
  assert.equal(broker.topics.get('t')?.partitions[3]?.values, ['b'])
})

test('one request carries the batches of all partitions', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { partitions: 20 })
  await publisher.publish(topic, { value: 'first', partition: 0 })
  await Promise.all(numbered(20).map((value, partition) => publisher.publish(topic, { value, partition })))
  assert.is(broker.requests('publish').length, 2)
})

test('requests keep to the frame limit of the broker', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { partitions: 4 })
  broker.limits.frameBytesMax = 256 * 1024
  broker.limits.batchBytesMax = 128 * 1024
  broker.cut()
  await publisher.publish(topic, { value: 'first', partition: 0 })
  const value = 'x'.repeat(100 * 1024)
  await publisher.publishMany(
    topic,
    Array.from({ length: 24 }, (_, index) => ({ value, partition: index % 4 })),
  )
  for (const request of broker.requests('publish')) assert.ok(request.frameBytes <= 256 * 1024)
})

test('a batch that does not fit into a request is in the next one', async (context) => {
  const { broker, publisher } = await fakeProducer(context, {
    partitions: 2,
    batchBytes: 700_000,
    requestsInFlightMax: 1,
  })
  const value = 'a'.repeat(650_000)
  broker.decide = inTurn({ kind: 'hold' })
  const first = publisher.publish(topic, { value, partition: 0 })
  await waitFor('the first request', () => broker.heldCount === 1)
  const sent = numbered(8).map((_, index) =>
    publisher.publish(topic, { value, partition: index < 4 ? 0 : 1 }),
  )
  broker.release()
  await Promise.all([first, ...sent])
  assert.equal(partitionsOf(broker), [0, 0, 1, 0, 1, 0, 1, 0, 1])
})

test('a message of a quiet partition leaves although busy ones keep requests on the wire', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { partitions: 17, batchBytes: 8 * 1024 })
  broker.limits.frameBytesMax = 128 * 1024
  broker.limits.batchBytesMax = 64 * 1024
  broker.cut()
  await publisher.publish(topic, { value: 'first', partition: 0 })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  let isOver = false
  const value = 'x'.repeat(7_800)
  const busy = function* () {
    for (let index = 0; !isOver && index < 20_000; index++) yield { value, partition: index % 16 }
  }
  const flood = publisher.publishMany(topic, busy())
  await waitFor('busy requests', () => broker.heldCount === 5)
  const quiet = publisher.publish(topic, { value: 'quiet', partition: 16 }).then(() => {
    isOver = true
  })
  while (!isOver) {
    await waitFor('busy requests', () => isOver || broker.heldCount === 5)
    broker.release()
  }
  broker.decide = () => answer
  broker.release()
  await Promise.all([quiet, flood])
  const { length } =
    broker.topics
      .get('t')
      ?.partitions.slice(0, 16)
      .flatMap(({ values }) => values) ?? []
  assert.ok(length < 20_000, 'it was not the end of the busy ones that made room')
})

test('at most so many requests are on the wire as the settings say', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { batchBytes: 64, requestsInFlightMax: 2 })
  await publisher.publish(topic, { value: 'first' })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  const sent = Promise.all(numbered(50).map((value) => publisher.publish(topic, { value })))
  let most = 0
  for (let released = 0; released < 50; ) {
    await waitFor('a request', () => broker.heldCount > 0)
    most = Math.max(most, broker.heldCount)
    broker.release()
    released = broker.topics.get('t')?.partitions[0]?.values.length ?? 0
  }
  broker.decide = () => answer
  broker.release()
  await sent
  assert.ok(most <= 2)
})

test('with a linger time messages of several turns become one batch, unless they are flushed', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { lingerMs: 60_000 })
  const first = publisher.publish(topic, { value: 'a' })
  await waitFor('the producer id', () => broker.requests('producer.init').length === 1)
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  const second = publisher.publish(topic, { value: 'b' })
  assert.is(broker.requests('publish').length, 0)
  await publisher.flush()
  await Promise.all([first, second])
  assert.is(broker.requests('publish').length, 1)
  assert.is(broker.topics.get('t')?.partitions[0]?.batches.length, 1)
})

test('a linger time comes to its end', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { lingerMs: 30 })
  await publisher.publish(topic, { value: 'a' })
  await publisher.publish(topic, { value: 'b' })
  assert.is(broker.topics.get('t')?.partitions[0]?.values.length, 2)
})

test('closing fails what is not acknowledged', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, { bufferBytesMax: 64 * 1024 })
  await publisher.publish(topic, { value: 'first' })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  const value = 'a'.repeat(40 * 1024)
  const sent = [publisher.publish(topic, { value }), publisher.publish(topic, { value })].map(outcome)
  const bulk = outcome(publisher.publishMany(topic, [{ value }]))
  await waitFor('the request', () => broker.heldCount === 1)
  producer.close()
  broker.release()
  assert.equal(await Promise.all([...sent, bulk]), ['CLOSED', 'CLOSED', 'CLOSED'])
  assert.is(await outcome(publisher.publish(topic, { value })), 'CLOSED')
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(producer.bufferedBytes, 0)
})

test('a broker that assigns no producer id fails published messages', async (context) => {
  const { broker, publisher, producer, cluster } = await fakeProducer(context)
  broker.decide = (name) => (name === 'producer.init' ? { kind: 'refuse', code: 'BAD_REQUEST' } : answer)
  assert.is(await outcome(publisher.publish(topic, { value: 'a' })), 'BAD_REQUEST')
  assert.is(producer.bufferedBytes, 0)
  const asked = broker.requests('producer.init').length
  for (let turn = 0; turn < 3; turn++) await cluster.call(commands.ping, {})
  assert.is(broker.requests('producer.init').length, asked, 'it asks no more while there is nothing to send')
  broker.decide = () => answer
  assert.is((await publisher.publish(topic, { value: 'b' })).offset, 0)
})

test('a reply without results, or with invalid ones, fails only its messages', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context)
  broker.decide = inTurn({ kind: 'say', body: { results: [] } }, { kind: 'say', body: [1, 2] })
  assert.is(await outcome(publisher.publish(topic, { value: 'a' })), 'INTERNAL')
  assert.is(await outcome(publisher.publish(topic, { value: 'b' })), 'BAD_FRAME')
  assert.is((await publisher.publish(topic, { value: 'c' })).offset, 0)
  assert.is(producer.bufferedBytes, 0)
})

test.run()
