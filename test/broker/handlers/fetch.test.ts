import * as assert from 'uvu/assert'
import { fetchHandlers } from '../../../broker/handlers/fetch.js'
import type { RequestContext } from '../../../broker/handlers/handler.js'
import { LongPolls } from '../../../broker/long_polls.js'
import { Session } from '../../../broker/net/session.js'
import { Partition } from '../../../broker/partition/partition.js'
import { commands, errorTable } from '../../../protocol/index.js'
import { type Engine, type EngineFactory, memoryEngines } from '../../../storage/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import {
  batchOf,
  ControlledEngines,
  createTopic,
  fetchPartition,
  publish,
  recordsOf,
  testBroker,
  testClient,
} from '../harness.js'

const test = suite('broker/handlers/fetch')

test('reads several partitions in one request, and omits partitions without data', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 3 })
  await publish(client, [topicId, 0, batchOf(['a'])], [topicId, 2, batchOf(['b', 'c'])])
  const { body, payload } = await client.request(commands.fetch, {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: 10_000,
    partitions: [0, 1, 2].map((partition) => [topicId, partition, 0, 10_000] as const),
  })
  const found = [...body.partitions].sort((a, b) => a[1] - b[1])
  assert.equal(
    found.map(([, partition, error, , start, end]) => [partition, error, start, end]),
    [
      [0, 0, 0, 1],
      [2, 0, 0, 2],
    ],
  )
  assert.is(
    found.reduce((bytes, entry) => bytes + entry[3], 0),
    payload.length,
  )
  assert.equal(
    recordsOf(payload)
      .map(({ value }) => value)
      .sort(),
    ['a', 'b', 'c'],
  )
})

test('returns whole batches, from the batch with the offset on', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  await publish(client, [topicId, 0, batchOf(['a', 'b', 'c'])])
  const { body, payload } = await client.request(commands.fetch, {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: 1,
    partitions: [[topicId, 0, 1, 1]],
  })
  assert.is(body.partitions.length, 1)
  assert.equal(
    recordsOf(payload).map(({ offset }) => offset),
    [0, 1, 2],
  )
})

test('keeps the byte limits, except for the first batch', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const value = 'x'.repeat(500)
  for (let i = 0; i < 10; i++) {
    await publish(client, [topicId, 0, batchOf([value])], [topicId, 1, batchOf([value])])
  }
  const read = async (bytesMax: number, partitionBytesMax: number): Promise<number> => {
    const { payload } = await client.request(commands.fetch, {
      waitMs: 0,
      bytesMin: 1,
      bytesMax,
      partitions: [0, 1].map((partition) => [topicId, partition, 0, partitionBytesMax] as const),
    })
    return recordsOf(payload).length
  }
  assert.is(await read(1, 1), 1)
  assert.is(await read(100_000, 1), 2)
  assert.is(await read(100_000, 1_500), 4)
  assert.is(await read(100_000, 100_000), 20)
})

test('waits until data comes', async (context) => {
  const broker = await testBroker(context)
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const waiting = client.request(commands.fetch, {
    waitMs: 60_000,
    bytesMin: 1,
    bytesMax: 10_000,
    partitions: [0, 1].map((partition) => [topicId, partition, 0, 10_000] as const),
  })
  const publisher = await testClient(context, broker)
  await publish(publisher, [topicId, 1, batchOf(['late'])])
  assert.equal(recordsOf((await waiting).payload), [{ offset: 0, value: 'late' }])
})

test('waits for the least number of bytes over all partitions', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const batch = batchOf(['0123456789'])
  await publish(client, [topicId, 0, batch])
  let answered = false
  const waiting = client
    .request(commands.fetch, {
      waitMs: 60_000,
      bytesMin: batch.length * 3,
      bytesMax: 10_000,
      partitions: [0, 1].map((partition) => [topicId, partition, 0, 10_000] as const),
    })
    .finally(() => {
      answered = true
    })
  await publish(client, [topicId, 1, batch])
  await client.request(commands.ping, {})
  assert.is(answered, false)
  await publish(client, [topicId, 1, batch])
  assert.is(recordsOf((await waiting).payload).length, 3)
})

test('returns nothing after the wait time', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const startMs = performance.now()
  const { reply } = await fetchPartition(client, topicId, 0, 0, { waitMs: 50 })
  assert.equal(reply.partitions, [])
  assert.ok(performance.now() - startMs >= 45)
})

test('returns an error of one partition at once, with the data of the others', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  await publish(client, [topicId, 0, batchOf(['a'])])
  const { body, payload } = await client.request(commands.fetch, {
    waitMs: 60_000,
    bytesMin: 1_000,
    bytesMax: 10_000,
    partitions: [
      [topicId, 0, 0, 10_000],
      [topicId, 1, 5, 10_000],
      [topicId, 6, 0, 10_000],
      [999, 0, 0, 10_000],
    ],
  })
  const errors = new Map(
    body.partitions.map(([id, partition, error]) => [`${id === topicId}/${partition}`, error]),
  )
  assert.is(errors.get('true/0'), 0)
  assert.is(errors.get('true/1'), errorTable.OFFSET_OUT_OF_RANGE.number)
  assert.is(errors.get('true/6'), errorTable.UNKNOWN_PARTITION.number)
  assert.is(errors.get('false/0'), errorTable.UNKNOWN_TOPIC.number)
  assert.is(recordsOf(payload).length, 1)
})

test('reads evicted records from the journal, and the others from the tail cache', async (context) => {
  const dir = await context.tempDir()
  const broker = await testBroker(context, { dir, tailCacheBytes: 1024 * 1024 })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const value = 'x'.repeat(100_000)
  for (let i = 0; i < 30; i++) await publish(client, [topicId, 0, batchOf([`${i}${value}`])])
  await publish(client, [topicId, 1, batchOf(['fresh'])])
  const { body, payload } = await client.request(commands.fetch, {
    waitMs: 0,
    bytesMin: 1,
    bytesMax: 8_000_000,
    partitions: [0, 1].map((partition) => [topicId, partition, 0, 8_000_000] as const),
  })
  assert.is(body.partitions.length, 2)
  const records = recordsOf(payload)
  assert.ok(records.some((record) => record.value === 'fresh'))
  assert.is(records.length, 31)
})

test('a damaged block makes its partition answer CORRUPT while the others are served', async (context) => {
  const engines = new ControlledEngines()
  const client = await testClient(
    context,
    await testBroker(context, { engines, tailCacheBytes: 1024 * 1024 }),
  )
  const topicId = await createTopic(client, 'orders', { partitions: 3 })
  const filler = 'x'.repeat(100_000)
  for (const partition of [0, 1])
    await publish(client, [topicId, partition, batchOf([`p${partition}${filler}`])])
  for (let i = 0; i < 15; i++) await publish(client, [topicId, 2, batchOf([filler])])
  engines.onRead = (value) => {
    if (value === undefined || !Buffer.from(value).includes('p0xxx')) return value
    const damaged = Uint8Array.from(value)
    damaged[damaged.length - 10] = 0
    return damaged
  }
  const { body, payload } = await client.request(commands.fetch, {
    waitMs: 60_000,
    bytesMin: 1_000_000,
    bytesMax: 1_000_000,
    partitions: [0, 1].map((partition) => [topicId, partition, 0, 1_000_000] as const),
  })
  const errors = new Map(body.partitions.map(([, partition, error]) => [partition, error]))
  assert.is(errors.get(0), errorTable.CORRUPT.number)
  assert.is(errors.get(1), 0)
  assert.ok(recordsOf(payload)[0]?.value.startsWith('p1xxx'))
})

test('every partition gets its turn, although one alone could fill every reply', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const value = 'x'.repeat(1_000)
  for (let i = 0; i < 5; i++) await publish(client, [topicId, 0, batchOf([value])])
  await publish(client, [topicId, 1, batchOf(['quiet'])])
  await waitFor('a reply with the quiet partition', async () => {
    const { body } = await client.request(commands.fetch, {
      waitMs: 0,
      bytesMin: 1,
      bytesMax: 1_000,
      partitions: [0, 1].map((partition) => [topicId, partition, 0, 1_000] as const),
    })
    return body.partitions.some(([, partition]) => partition === 1)
  })
})

test('a reply fits into a frame whatever the order of partitions', async (context) => {
  const broker = await testBroker(context, { frameBytesMax: 256 * 1024, batchBytesMax: 200 * 1024 })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  await publish(client, [topicId, 0, batchOf(['x'.repeat(100 * 1024)])])
  await publish(client, [topicId, 1, batchOf(['x'.repeat(190 * 1024)])])
  for (let i = 0; i < 4; i++) {
    const { payload } = await client.request(commands.fetch, {
      waitMs: 0,
      bytesMin: 1,
      bytesMax: 10_000_000,
      partitions: [0, 1].map((partition) => [topicId, partition, 0, 10_000_000] as const),
    })
    assert.ok(payload.length > 0 && payload.length < 250 * 1024, String(payload.length))
  }
})

test('a wait ends with its connection', async (context) => {
  const broker = await testBroker(context)
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  const polls = (broker as unknown as { longPolls: { size: number } }).longPolls
  const waiting = fetchPartition(client, topicId, 0, 0, { waitMs: 60_000 }).catch(() => undefined)
  await waitFor('the fetch to wait', () => polls.size === 1)
  client.destroy()
  await waiting
  await waitFor('the wait to end', () => polls.size === 0)
})

test('an ended wait leaves no callbacks with its connection and its partitions', async (context) => {
  const broker = await testBroker(context)
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  const subscribed = watchBalance(context)
  for (let n = 0; n < 3; n++) await fetchPartition(client, topicId, 0, n, { waitMs: 10 })
  const waiting = fetchPartition(client, topicId, 0, 0, { waitMs: 60_000 })
  await waitFor('the fetch to wait', () => subscribed.partitions === 1)
  assert.is(subscribed.connections, 1)
  await publish(client, [topicId, 0, batchOf(['a'])])
  await waiting
  assert.equal(subscribed, { connections: 0, partitions: 0 })
})

/** How many callbacks connections have for their end, and partitions for new data, of those that came since. */
function watchBalance({ defer }: TestContext): { connections: number; partitions: number } {
  const open = { connections: 0, partitions: 0 }
  const { onClose } = Session.prototype
  const { wait, stopWaiting } = Partition.prototype
  Session.prototype.onClose = function (callback) {
    const unsubscribe = onClose.call(this, callback)
    open.connections++
    return () => {
      open.connections--
      unsubscribe()
    }
  }
  Partition.prototype.wait = function (waiter) {
    open.partitions++
    wait.call(this, waiter)
  }
  Partition.prototype.stopWaiting = function (waiter) {
    open.partitions--
    stopWaiting.call(this, waiter)
  }
  defer(() => {
    Session.prototype.onClose = onClose
    Object.assign(Partition.prototype, { wait, stopWaiting })
  })
  return open
}

test('records that arrive between the read and the wait end the wait', async () => {
  const log = { id: 1, dropped: false }
  const partition = { log, startOffset: 0, endOffset: 0, wait: () => {}, stopWaiting: () => {} }
  const batch = batchOf(['a'])
  const broker = {
    shard: {
      partition: () => partition,
      readTail: () =>
        partition.endOffset === 0
          ? { chunks: [], bytes: 0 }
          : { chunks: [batch], bytes: batch.length, memory: [] },
    },
    settings: { frameBytesMax: 1_000_000 },
    fetchTurns: { isUsedUp: false, add: () => {} },
    longPolls: new LongPolls(),
    draining: false,
    metrics: { fetchedBytes: 0, fetchedRecords: 0 },
  }
  const session = {
    // So that it collects with a pause.
    hasRoom: false,
    roomBytes: 1_000_000,
    isOpen: true,
    acquire: async () => {
      partition.endOffset = 1
    },
    release: () => {},
    onClose: () => () => {},
  }
  const context = { broker, session } as unknown as RequestContext
  const request = {
    waitMs: 60_000,
    bytesMin: 1,
    bytesMax: 1_000_000,
    partitions: [[1, 0, 0, 1_000_000] as [number, number, number, number]],
  }
  const { body } = await fetchHandlers.fetch(context, request, new Uint8Array(0))
  assert.is(body.partitions[0]?.[3], batch.length)
})

test('a fetch that reads the journal while its topic is deleted finds no topic, and no damage', async (context) => {
  const inner = memoryEngines()
  let onBlocks: (() => Promise<void>) | undefined
  // What reclaim leaves of the blocks.
  let isFreed = false
  const engines: EngineFactory = {
    open: async (name) => {
      const engine = await inner.open(name)
      if (name === 'state') return engine
      const getMany: Engine['getMany'] = async (keys) => {
        await onBlocks?.()
        return isFreed ? keys.map(() => undefined) : engine.getMany(keys)
      }
      return {
        getMany,
        get: (key) => engine.get(key),
        range: async (options) => (isFreed ? [] : engine.range(options)),
        commit: (ops) => engine.commit(ops),
        compact: (gte, lt) => engine.compact(gte, lt),
        close: () => engine.close(),
      }
    },
  }
  const broker = await testBroker(context, { engines, tailCacheBytes: 1024 * 1024 })
  const client = await testClient(context, broker)
  const admin = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  await publish(client, [topicId, 0, batchOf(['a'])])
  // So that the batch is in the journal only.
  const other = await createTopic(client, 'other')
  for (let n = 0; n < 4; n++) await publish(client, [other, 0, batchOf(['x'.repeat(500_000)])])
  onBlocks = async () => {
    onBlocks = undefined
    await admin.request(commands.topicDelete, { topic: 'orders' })
    isFreed = true
  }
  const { reply } = await fetchPartition(client, topicId, 0, 0)
  assert.is(reply.partitions[0]?.[2], errorTable.UNKNOWN_TOPIC.number)
  assert.is((await broker.status()).health.status, 'ok')
})

test.run()
