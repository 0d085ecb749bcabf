import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as assert from 'uvu/assert'
import { type Codec, defineTopic, json, string } from '../../client/index.js'
import { partitionOf } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { fakeProducer, numbered, outcome } from './fixtures.js'

const test = suite('client/publisher')

const topic = defineTopic('t', { value: string })

/** A schema that is asynchronous for some values. */
const sometimesLate: StandardSchemaV1<{ n: number; late?: boolean }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate(value) {
      const { n, late } = value as { n: number; late?: boolean }
      const result = n < 0 ? { issues: [{ message: 'is negative', path: ['n'] }] } : { value: { n } }
      return late ? new Promise((resolve) => setTimeout(resolve, 5, result)) : result
    },
  },
}

test('calls keep their order while the topic is not known yet', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  broker.decide = (name) => ({ kind: name === 'metadata' ? 'hold' : 'answer' })
  const sent: Promise<unknown>[] = [publisher.publish(topic, { value: 'a' })]
  sent.push(publisher.publishMany(topic, [{ value: 'b' }, { value: 'c' }]))
  await waitFor('the question about the topic', () => broker.heldCount === 1)
  sent.push(publisher.publish(topic, { value: 'd' }))
  broker.release()
  sent.push(publisher.publish(topic, { value: 'e' }))
  await sent[0]
  sent.push(publisher.publish(topic, { value: 'f' }))
  await Promise.all(sent)
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, ['a', 'b', 'c', 'd', 'e', 'f'])
})

test('publish and publishMany to a known topic keep the order of the calls', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  await publisher.publish(topic, { value: 'first' })
  await Promise.all([
    publisher.publish(topic, { value: 'a' }),
    publisher.publishMany(topic, [{ value: 'b' }, { value: 'c' }]),
    publisher.publish(topic, { value: 'd' }),
    publisher.publishMany(topic, [{ value: 'e' }]),
    publisher.publish(topic, { value: 'f' }),
  ])
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, ['first', 'a', 'b', 'c', 'd', 'e', 'f'])
})

test('a slow schema delays later messages', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  const checked = defineTopic('t', { value: sometimesLate })
  await publisher.publish(checked, { value: { n: 0 } })
  const values = [
    { n: 1, late: true },
    { n: -1, late: true },
    { n: 2 },
    { n: -2 },
    { n: 3, late: true },
    { n: 4 },
  ]
  const results = await Promise.all(values.map((value) => outcome(publisher.publish(checked, { value }))))
  assert.is(results[1], 'ENCODE_FAILED')
  assert.is(results[3], 'ENCODE_FAILED')
  const stored = broker.topics.get('t')?.partitions[0]?.values.map((text) => JSON.parse(text ?? '').n)
  assert.equal(stored, [0, 1, 2, 3, 4])
})

test('a schema with an asynchronous answer works in bulk', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  const checked = defineTopic('t', { value: sometimesLate })
  const values = Array.from({ length: 20 }, (_, n) => ({ value: { n, late: n % 3 === 0 } }))
  assert.equal(await publisher.publishMany(checked, values), { topic: 't', count: 20 })
  assert.is(broker.topics.get('t')?.partitions[0]?.values.length, 20)
})

test('a key decides the partition, as every client computes it', async (context) => {
  const { publisher } = await fakeProducer(context, { partitions: 7 })
  for (const key of ['', 'a', 'ключ', 'a longer key with some words in it']) {
    const { partition } = await publisher.publish(topic, { key, value: 'v' })
    assert.is(partition, partitionOf(Buffer.from(key), 7))
  }
})

test('messages without a key stay in one partition for a batch, then move on', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { partitions: 4, batchBytes: 2_048 })
  await publisher.publishMany(
    topic,
    numbered(4_000).map((value) => ({ value })),
  )
  const counts = broker.topics.get('t')?.partitions.map(({ values }) => values.length) ?? []
  for (const count of counts) assert.ok(count > 500, `${counts}`)
  const batches = broker.topics.get('t')?.partitions.flatMap((partition) => partition.batches) ?? []
  assert.ok(batches.length < 60, `${batches.length} batches`)
})

test('single messages without a key take the partitions in turn', async (context) => {
  const { publisher } = await fakeProducer(context, { partitions: 4 })
  const used = new Set<number>()
  for (let n = 0; n < 4; n++) used.add((await publisher.publish(topic, { value: 'v' })).partition)
  assert.is(used.size, 4)
})

test("a value that can't be encoded fails alone", async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, { partitions: 2 })
  await publisher.publish(topic, { value: 'first', partition: 0 })
  const wrong = (part: object): Promise<unknown> =>
    outcome(publisher.publish(topic, { value: 'x', partition: 0, ...part } as never))
  const badCodec = { name: 'bad', encode: () => 7, decode: () => 7 } as unknown as Codec<number>
  const results = [
    wrong({ value: 5 }),
    wrong({ key: 5 }),
    wrong({ headers: { h: 5 } }),
    wrong({ headers: Object.fromEntries(numbered(257).map((name) => [name, ''])) }),
    wrong({ timestamp: Number.NaN }),
    wrong({ timestamp: 1.5 }),
    wrong({ timestamp: -1 }),
    wrong({ partition: 2 }),
    wrong({ partition: -1 }),
    outcome(publisher.publish(defineTopic('t', { value: badCodec }), { value: 1 })),
    outcome(publisher.publish(defineTopic('t', { value: string, key: badCodec }), { key: 1, value: '' })),
    outcome(
      publisher.publish(defineTopic('t', { value: string, partitioner: () => 9 }), { key: 'k', value: '' }),
    ),
    outcome(publisher.publish(defineTopic('t', { value: json() }), { value: undefined })),
  ]
  const good = publisher.publish(topic, { value: 'good', partition: 0 })
  assert.equal(await Promise.all(results), [
    'ENCODE_FAILED',
    'ENCODE_FAILED',
    'ENCODE_FAILED',
    'LIMIT_EXCEEDED',
    'ENCODE_FAILED',
    'ENCODE_FAILED',
    'ENCODE_FAILED',
    'UNKNOWN_PARTITION',
    'UNKNOWN_PARTITION',
    'ENCODE_FAILED',
    'ENCODE_FAILED',
    'UNKNOWN_PARTITION',
    'ENCODE_FAILED',
  ])
  await good
  await publisher.flush()
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, ['first', 'good'])
  assert.is(producer.bufferedBytes, 0)
})

test('a bulk publish ends with the first error, once the outcome of the others is known', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  const messages = [{ value: 'a' }, { value: 5 as unknown as string }, { value: 'c' }]
  let closed = false
  function* feed() {
    try {
      yield* messages
    } finally {
      closed = true
    }
  }
  assert.is(await outcome(publisher.publishMany(topic, feed())), 'ENCODE_FAILED')
  assert.ok(closed, 'the iterator was closed')
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, ['a'])
})

test('a bulk publish takes from its source only as fast as the broker acknowledges', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { bufferBytesMax: 64 * 1024 })
  await publisher.publish(topic, { value: 'first' })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  let taken = 0
  async function* feed() {
    for (; taken < 100; taken++) yield { value: 'x'.repeat(4_096) }
  }
  const bulk = publisher.publishMany(topic, feed())
  await waitFor('the buffer to be full', () => taken >= 15 && broker.heldCount > 0)
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.ok(taken <= 16, `${taken} taken`)
  broker.decide = () => ({ kind: 'answer' })
  broker.release()
  assert.equal(await bulk, { topic: 't', count: 100 })
})

test('a bulk publish waits for room also where single messages are refused', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { bufferBytesMax: 64 * 1024, onFull: 'error' })
  const messages = Array.from({ length: 100 }, () => ({ value: 'x'.repeat(4_096) }))
  assert.equal(await publisher.publishMany(topic, messages), { topic: 't', count: 100 })
  assert.is(broker.topics.get('t')?.partitions[0]?.values.length, 100)
})

test('a slow source does not delay others', async (context) => {
  const { publisher } = await fakeProducer(context)
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  async function* feed() {
    yield { value: 'a' }
    await ended
    yield { value: 'c' }
  }
  const bulk = publisher.publishMany(topic, feed())
  await publisher.publish(topic, { value: 'b' })
  end()
  assert.equal(await bulk, { topic: 't', count: 2 })
})

test('an aborted publish ends at once, wherever it waits', async (context) => {
  const { broker, publisher, producer } = await fakeProducer(context, { bufferBytesMax: 64 * 1024 })
  const abort = new AbortController()
  const { signal } = abort
  broker.decide = (name) => ({ kind: name === 'metadata' ? 'hold' : 'answer' })
  const atMetadata = outcome(publisher.publish(topic, { value: 'a' }, signal))
  const bulkAtMetadata = outcome(publisher.publishMany(topic, [{ value: 'a' }], { signal }))
  await waitFor('the question about the topic', () => broker.heldCount === 1)
  abort.abort()
  assert.equal(await Promise.all([atMetadata, bulkAtMetadata]), ['AbortError', 'AbortError'])
  assert.is(await outcome(publisher.publish(topic, { value: 'b' }, signal)), 'AbortError')
  assert.is(await outcome(publisher.publishMany(topic, [], { signal })), 'AbortError')
  broker.decide = (name) => ({ kind: name === 'publish' ? 'hold' : 'answer' })
  broker.release()

  const second = new AbortController()
  const value = 'x'.repeat(60 * 1024)
  const onWire = outcome(publisher.publish(topic, { value }, second.signal))
  const atBuffer = outcome(publisher.publish(topic, { value }, second.signal))
  const bulkAtBuffer = outcome(publisher.publishMany(topic, [{ value }], { signal: second.signal }))
  await waitFor('the request', () => broker.requests('publish').length === 1)
  second.abort()
  assert.equal(await Promise.all([onWire, atBuffer, bulkAtBuffer]), [
    'AbortError',
    'AbortError',
    'AbortError',
  ])
  broker.decide = () => ({ kind: 'answer' })
  broker.release()
  await publisher.publish(topic, { value: 'last' })
  assert.equal(broker.topics.get('t')?.partitions[0]?.values, [value, 'last'])
  assert.is(producer.bufferedBytes, 0)
})

test('calls that wait are limited in number', async (context) => {
  const { broker, publisher } = await fakeProducer(context)
  broker.decide = (name) => ({ kind: name === 'metadata' ? 'hold' : 'answer' })
  const sent = Array.from({ length: 100_000 }, () => publisher.publish(topic, { value: '' }))
  assert.is(await outcome(publisher.publish(topic, { value: '' })), 'BUFFER_FULL')
  await waitFor('the question about the topic', () => broker.heldCount === 1)
  broker.release()
  await Promise.all(sent)
  assert.is(broker.topics.get('t')?.partitions[0]?.values.length, 100_000)
})

test('flush also waits for messages that are not in the buffer yet', async (context) => {
  const { broker, publisher } = await fakeProducer(context, { bufferBytesMax: 64 * 1024 })
  let done = 0
  for (let n = 0; n < 10; n++) {
    publisher.publish(topic, { value: 'x'.repeat(30 * 1024) }).then(() => done++)
  }
  await publisher.flush()
  assert.is(done, 10)
  assert.is(broker.topics.get('t')?.partitions[0]?.values.length, 10)
})

test.run()
