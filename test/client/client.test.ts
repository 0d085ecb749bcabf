import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as assert from 'uvu/assert'
import { type BrokerOptions, startBroker } from '../../broker/index.js'
import {
  bytes,
  type Client,
  defineTopic,
  json,
  msgpack,
  type Receipt,
  string,
  type Topic,
} from '../../client/index.js'
import { compressions } from '../../protocol/index.js'
import { FaultyProxy } from '../faults/machine/faulty_proxy.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { codeOf, numbered, outcome, quickClient } from './fixtures.js'

const test = suite('client with a broker')

async function start(context: TestContext, options: BrokerOptions = {}) {
  const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent', ...options })
  context.defer(() => broker.close())
  return broker
}

async function pair(context: TestContext, partitions = 1) {
  const broker = await start(context)
  const address = `127.0.0.1:${broker.address.port}`
  const client = await quickClient(context, address)
  await client.topics.create('t', { partitions })
  return { broker, client, address }
}

/** The first `count` values of a topic. */
async function read<Input, Output>(
  { signal }: TestContext,
  client: Client,
  topic: Topic<Input, Output, string>,
  count: number,
): Promise<Output[]> {
  const values: Output[] = []
  for await (const message of client.consume(topic, { from: 'earliest', signal })) {
    if (values.push(message.value) === count) break
  }
  return values
}

test('values of every codec are unchanged after a round trip', async (context) => {
  const { client } = await pair(context)
  const cases = [
    { name: 'bytes', topic: defineTopic('bytes', { value: bytes }), values: [Uint8Array.of(0, 1, 255)] },
    {
      name: 'string',
      topic: defineTopic('string', { value: string }),
      values: ['', 'a', 'größer 🚀', 'x'.repeat(5000)],
    },
    {
      name: 'json',
      topic: defineTopic('json', { value: json(), tombstones: true }),
      values: [null, 1.5, 'ö', { a: [true, {}] }],
    },
    {
      name: 'msgpack',
      topic: defineTopic('msgpack', { value: msgpack() }),
      values: [1.5, 'ö', { a: [true, 2 ** 40] }],
    },
  ]
  for (const { name, topic, values } of cases) {
    await client.topics.create(name)
    const untyped = topic as unknown as Topic<unknown, unknown, string>
    for (const value of values) await client.publish(untyped, { value })
    // A null is published as a message without a value, which reads as null too.
    const found = await read(context, client, untyped, values.length)
    assert.equal(
      found.map((value) => (value instanceof Uint8Array ? [...value] : value)),
      values.map((value) => (value instanceof Uint8Array ? [...value] : value)),
    )
  }
})

test('a schema checks published values, and transforms values that are read', async (context) => {
  const { client } = await pair(context)
  const schema: StandardSchemaV1<{ n: number }, { n: number; twice: number }> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate(value) {
        const { n } = value as { n: unknown }
        if (typeof n !== 'number') return { issues: [{ message: 'is no number', path: ['n'] }] }
        return { value: { n, twice: n * 2 } }
      },
    },
  }
  const topic = defineTopic('t', { value: schema })
  try {
    await client.publish(topic, { value: { n: 'x' } as never })
    assert.unreachable()
  } catch (error) {
    assert.is(codeOf(error), 'ENCODE_FAILED')
    assert.match(String(error), 'n: is no number')
  }
  await client.publish(topic, { value: { n: 4 } })
  assert.equal(await read(context, client, topic, 1), [{ n: 4, twice: 8 }])
})

test('every compression codec works from publisher to consumer', async (context) => {
  const { client, address } = await pair(context)
  for (const compression of compressions) {
    const name = `packed-${compression}`
    await client.topics.create(name)
    const publisher = await quickClient(context, address, { producer: { compression } })
    const topic = defineTopic(name, { value: string })
    const values = numbered(2_000, 'a value that repeats itself ')
    await publisher.publishMany(
      topic,
      values.map((value) => ({ value, headers: { h: 'x' } })),
    )
    assert.equal(await read(context, client, topic, values.length), values)
    const { partitions } = await client.topics.describe(name)
    const stored = partitions[0]?.bytes ?? 0
    if (compression !== 'none') assert.ok(stored < 30_000, `${compression}: ${stored} bytes`)
  }
})

test(
  'publishing continues over a restart of the broker, once and in order',
  async (context) => {
    const dir = await context.tempDir()
    let broker = await start(context, { engine: 'level', dir })
    const { port } = broker.address
    const client = await quickClient(context, `127.0.0.1:${port}`)
    await client.topics.create('t', { partitions: 2 })
    const topic = defineTopic('t', { value: string })
    const sent: Promise<unknown>[] = []
    let next = 0
    const publishSome = async (count: number): Promise<void> => {
      for (const end = next + count; next < end; next++) {
        sent.push(client.publish(topic, { key: `${next % 7}`, value: `${next}` }))
        if (next % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await publishSome(500)
    for (let round = 0; round < 2; round++) {
      const closing = broker.close()
      await publishSome(500)
      await closing
      await publishSome(500)
      broker = await start(context, { engine: 'level', dir, port })
    }
    await publishSome(500)
    await Promise.all(sent)
    const values = await read(context, client, topic, next)
    assert.is(new Set(values).size, next)
    for (let key = 0; key < 7; key++) {
      const ofKey = values.map(Number).filter((value) => value % 7 === key)
      assert.equal(
        ofKey,
        [...ofKey].sort((a, b) => a - b),
      )
    }
    const ends = await client.topics.offsets('t', 'latest')
    assert.is(
      ends.reduce((sum, end) => sum + end, 0),
      next,
    )
  },
  { deadlineMs: 30_000 },
)

test(
  'publishing continues after the broker was killed and restarted',
  async (context) => {
    const dir = await context.tempDir()
    const serve = async (port: number): Promise<{ port: number; kill(): Promise<unknown> }> => {
      const broker = spawnMillrace(context, ['serve', '--data', dir, '--port', `${port}`])
      const ready = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
      const kill = (): Promise<unknown> => {
        broker.kill('SIGKILL')
        return broker.exited
      }
      return { port: Number(ready[1]), kill }
    }
    let broker = await serve(0)
    const { port } = broker
    const client = await quickClient(context, `127.0.0.1:${port}`)
    await client.topics.create('t')
    const topic = defineTopic('t', { value: string })
    const sent: Promise<Receipt>[] = []
    for (let round = 0; round < 3; round++) {
      const from = sent.length
      for (let n = 0; n < 3_000; n++) sent.push(client.publish(topic, { value: `${sent.length}` }))
      await sent[from]
      for (let n = 0; n < 3_000; n++) sent.push(client.publish(topic, { value: `${sent.length}` }))
      await broker.kill()
      broker = await serve(port)
    }
    const offsets = (await Promise.all(sent)).map(({ offset }) => offset)
    assert.equal(
      offsets,
      sent.map((_, index) => index),
    )
    assert.equal(await read(context, client, topic, sent.length), numbered(sent.length, ''))
  },
  { deadlineMs: 40_000 },
)

test('connections that are cut repeatedly lose and duplicate nothing', async (context) => {
  const { broker, client } = await pair(context, 3)
  const proxy = await FaultyProxy.start(context, () => broker.address.port)
  const publisher = await quickClient(context, `127.0.0.1:${proxy.port}`, { producer: { batchBytes: 2_000 } })
  const topic = defineTopic('t', { value: string })
  let cuts = 0
  const cutting = setInterval(() => {
    proxy.cut()
    cuts++
  }, 25)
  context.defer(() => clearInterval(cutting))
  const receipts = []
  for (let n = 0; n < 5_000; n++) {
    receipts.push(publisher.publish(topic, { value: `${n}`, key: `${n % 11}` }))
    if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await Promise.all(receipts)
  clearInterval(cutting)
  assert.ok(cuts > 3)
  const ends = await client.topics.offsets('t', 'latest')
  assert.is(
    ends.reduce((sum, end) => sum + end, 0),
    5_000,
  )
  const values = await read(context, client, topic, 5_000)
  assert.is(new Set(values).size, 5_000)
  for (let key = 0; key < 11; key++) {
    const ofKey = values.map(Number).filter((value) => value % 11 === key)
    assert.equal(
      ofKey,
      [...ofKey].sort((a, b) => a - b),
    )
  }
})

test('topics are created, described, listed, altered and deleted', async (context) => {
  const { client } = await pair(context)
  const { topics } = client
  const made = await topics.create('orders', {
    partitions: 3,
    retention: { time: '7d', bytes: '10GB' },
    batchBytesMax: '512KiB',
  })
  assert.is(made.partitions, 3)
  assert.equal(made.settings, {
    retentionMs: 7 * 86_400_000,
    retentionBytes: 10_000_000_000,
    batchBytesMax: 512 * 1024,
    dedupeWindowMs: 120_000,
  })
  assert.is(await outcome(topics.create('orders')), 'TOPIC_EXISTS')
  assert.is(await outcome(topics.create('or ders')), 'BAD_NAME')
  assert.is(
    await outcome(Promise.resolve().then(() => topics.create('x', { retention: { time: '7 moons' } }))),
    'BAD_OPTION',
  )
  assert.equal((await topics.list()).map(({ name }) => name).sort(), ['orders', 't'])
  await client.publish('orders', { value: Buffer.from('a'), partition: 2 })
  const altered = await topics.alter('orders', { partitions: 5, retention: { time: 'forever' } })
  assert.is(altered.partitions, 5)
  assert.is(altered.settings.retentionMs, -1)
  assert.is((await client.publish('orders', { value: Buffer.from('a'), partition: 4 })).offset, 0)
  const described = await topics.describe('orders')
  assert.equal(
    described.partitions.map(({ endOffset }) => endOffset),
    [0, 0, 1, 0, 1],
  )
  await topics.delete('orders')
  assert.is(await outcome(topics.describe('orders')), 'UNKNOWN_TOPIC')
  assert.is(await outcome(client.publish('orders', { value: Buffer.from('a') })), 'UNKNOWN_TOPIC')
})

test('a client publishes at once to a topic that another client created again', async (context) => {
  const { client, address } = await pair(context, 2)
  const other = await quickClient(context, address)
  await client.publish('t', { value: Buffer.from('a'), partition: 1 })
  await other.topics.delete('t')
  assert.is(await outcome(client.publish('t', { value: Buffer.from('b'), partition: 1 })), 'UNKNOWN_TOPIC')
  await other.topics.create('t', { partitions: 2 })
  assert.is((await client.publish('t', { value: Buffer.from('c'), partition: 1 })).offset, 0)
  await other.topics.delete('t')
  await other.topics.create('t', { partitions: 2 })
  const sent = numbered(50).map((value) => client.publish('t', { value: Buffer.from(value), partition: 1 }))
  assert.equal(
    (await Promise.all(sent)).map(({ offset }) => offset),
    sent.map((_, index) => index),
  )
})

test('batches stay within the limit of their topic, and larger messages are refused', async (context) => {
  const { client } = await pair(context)
  await client.topics.create('small', { batchBytesMax: 2_000 })
  const topic = defineTopic('small', { value: string })
  const bulk = client.publishMany(
    topic,
    numbered(5_000).map((value) => ({ value })),
  )
  assert.is(await outcome(client.publish(topic, { value: 'x'.repeat(3_000) })), 'VALUE_TOO_LARGE')
  await bulk
  assert.equal(await read(context, client, topic, 5_000), numbered(5_000))
  const large = await outcome(client.publish('t', { value: Buffer.alloc(5 * 1024 * 1024) }))
  assert.is(large, 'VALUE_TOO_LARGE')
})

test('offsets are found by time', async (context) => {
  const { client } = await pair(context)
  const startMs = 1_700_000_000_000
  for (const at of [0, 1_000, 2_000]) {
    await client.publish('t', { value: Buffer.from('a'), timestamp: startMs + at })
  }
  assert.equal(await client.topics.offsets('t', 'earliest'), [0])
  assert.equal(await client.topics.offsets('t', 'latest'), [3])
  assert.equal(await client.topics.offsets('t', new Date(startMs + 500)), [1])
  assert.equal(await client.topics.offsets('t', new Date(startMs + 9_000)), [3])
  assert.is(await outcome(client.topics.offsets('none', 'latest')), 'UNKNOWN_TOPIC')
})

test('offsets of a group are committed, moved and deleted', async (context) => {
  const { client } = await pair(context, 2)
  const { groups } = client
  await client.publishMany(
    't',
    numbered(20).map((value, n) => ({ value: Buffer.from(value), partition: n % 2 })),
  )
  await groups.commit('g', [
    { topic: 't', partition: 0, offset: 4, metadata: 'note' },
    { topic: 't', partition: 1, offset: 6 },
  ])
  assert.equal(
    (await groups.list()).map(({ group }) => group),
    ['g'],
  )
  const { partitions } = await groups.describe('g')
  assert.equal(
    partitions.map(({ committedOffset }) => committedOffset),
    [4, 6],
  )
  const moved = await groups.seek('g', 't', 'earliest', { partitions: [1] })
  assert.equal(moved, [{ partition: 1, offset: 0 }])
  assert.is(await outcome(groups.seek('g', 'none', 'latest')), 'UNKNOWN_TOPIC')
  await groups.delete('g')
  assert.is(await outcome(groups.describe('g')), 'UNKNOWN_GROUP')
})

test('status and disposal', async (context) => {
  const { client, broker } = await pair(context)
  const status = await client.status()
  assert.is(status.health.status, 'ok')
  assert.is(status.pid, process.pid)
  const aborted = AbortSignal.abort()
  assert.is(await outcome(client.status({ signal: aborted })), 'AbortError')
  assert.is(await outcome(client.topics.create('x', { signal: aborted })), 'AbortError')
  await client[Symbol.asyncDispose]()
  assert.is(await outcome(client.status()), 'CLOSED')
  assert.is(await outcome(client.publish('t', { value: Buffer.from('a') })), 'CLOSED')
  assert.throws(() => client.consume('t'), /closed/)
  assert.is(broker.address.port > 0, true)
})

test.run()
