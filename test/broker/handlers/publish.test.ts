import * as assert from 'uvu/assert'
import {
  batchHeaderBytes,
  commands,
  type ErrorCode,
  errorTable,
  type MillraceError,
} from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import {
  batchOf,
  ControlledEngines,
  createTopic,
  type PublishResult,
  publish,
  testBroker,
  testClient,
  valuesOf,
} from '../harness.js'

const test = suite('broker/handlers/publish')

function assertError(result: PublishResult | undefined, code: ErrorCode, text: RegExp): void {
  assert.is(result?.error, errorTable[code].number, result?.message ?? 'no error')
  assert.match(result?.message ?? '', text)
  assert.is(result?.baseOffset, undefined)
}

test('batches of one request get their offsets in order, each in its partition', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { partitions: 2 })
  const results = await publish(
    client,
    [topicId, 0, batchOf(['a', 'b'])],
    [topicId, 1, batchOf(['x'])],
    [topicId, 0, batchOf(['c'])],
  )
  assert.equal(results, [
    { error: 0, baseOffset: 0 },
    { error: 0, baseOffset: 0 },
    { error: 0, baseOffset: 2 },
  ])
  assert.equal(await valuesOf(client, topicId, 0), ['a', 'b', 'c'])
})

test('a batch that is refused does not stop the others', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { settings: { batchBytesMax: 1_024 } })
  const damaged = Uint8Array.from(batchOf(['damaged']))
  damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1
  const falseCount = Uint8Array.from(batchOf(['a', 'b']))
  falseCount[20] = 3
  const results = await publish(
    client,
    [topicId, 0, damaged],
    [topicId, 0, batchOf(['good'])],
    [topicId, 7, batchOf(['no partition'])],
    [topicId + 1, 0, batchOf(['no topic'])],
    [topicId, 0, batchOf(['x'.repeat(2_000)])],
    [topicId, 0, falseCount],
    [topicId, 0, new Uint8Array(batchHeaderBytes)],
    [topicId, 0, batchOf(['future'], undefined, Date.now() + 86_400_000)],
  )
  assertError(results[0], 'BAD_BATCH', /checksum/)
  assert.equal(results[1], { error: 0, baseOffset: 0 })
  assertError(results[2], 'UNKNOWN_PARTITION', /"orders" has no partition 7, it has 1/)
  assertError(results[3], 'UNKNOWN_TOPIC', /no topic has id/)
  assertError(results[4], 'BATCH_TOO_LARGE', /at most 1 KiB/)
  assertError(results[5], 'BAD_BATCH', /checksum/)
  assertError(results[6], 'BAD_BATCH', /more than 64/)
  assertError(results[7], 'BAD_BATCH', /ahead of the broker's clock/)
  assert.equal(await valuesOf(client, topicId), ['good'])
})

test('sizes that do not add up to the payload refuse the whole request', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const batch = batchOf(['a'])
  for (const bytes of [0, batch.length - 1, batch.length + 1, Number.MAX_SAFE_INTEGER]) {
    const problem = await client
      .request(commands.publish, { batches: [[topicId, 0, bytes]] }, batch)
      .catch((error: unknown) => error)
    assert.is((problem as MillraceError).code, 'BAD_REQUEST')
  }
  assert.equal((await client.request(commands.publish, { batches: [] })).body.results, [])
})

test('is acknowledged and readable only once the commit is durable', async (context) => {
  const engines = new ControlledEngines()
  const broker = await testBroker(context, { engines })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  engines.hold()
  const begun = engines.commits
  let acknowledged = false
  const publishing = publish(client, [topicId, 0, batchOf(['a'])]).finally(() => {
    acknowledged = true
  })
  await waitFor('the commit to begin', () => engines.commits > begun)
  assert.equal(await valuesOf(client, topicId), [])
  assert.is(acknowledged, false)
  engines.release()
  assert.is((await publishing)[0]?.error, 0)
  assert.equal(await valuesOf(client, topicId), ['a'])
})

test('requests of one connection are appended in the order in which they were sent', async (context) => {
  const client = await testClient(context, await testBroker(context, { inFlightRequestsMax: 3 }))
  const topicId = await createTopic(client, 'orders')
  const values = Array.from({ length: 200 }, (_, i) => `v${i}`)
  await Promise.all(values.map((value) => publish(client, [topicId, 0, batchOf([value])])))
  assert.equal(await valuesOf(client, topicId), values)
})

test('a repeat gets the first offset, also during the first commit', async (context) => {
  const engines = new ControlledEngines()
  const client = await testClient(context, await testBroker(context, { engines }))
  const topicId = await createTopic(client, 'orders')
  const { producerId } = (await client.request(commands.producerInit, {})).body
  const batch = batchOf(['a', 'b'], { producerId, producerEpoch: 0, baseSequence: 0 })
  const next = batchOf(['c'], { producerId, producerEpoch: 0, baseSequence: 2 })
  engines.hold()
  const begun = engines.commits
  const pending = [
    publish(client, [topicId, 0, batch]),
    publish(client, [topicId, 0, batch], [topicId, 0, next]),
  ]
  await waitFor('the commit to begin', () => engines.commits > begun)
  pending.push(publish(client, [topicId, 0, batch], [topicId, 0, batch]))
  await client.request(commands.ping, {})
  engines.release()
  const offsets = (await Promise.all(pending)).map((results) => results.map(({ baseOffset }) => baseOffset))
  assert.equal(offsets, [[0], [0, 2], [0, 0]])
  assert.equal(await valuesOf(client, topicId), ['a', 'b', 'c'])
})

test('the broker refuses a gap and a fenced epoch, and accepts a newer epoch', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const { producerId } = (await client.request(commands.producerInit, {})).body
  const stamped = (value: string, producerEpoch: number, baseSequence: number) =>
    [topicId, 0, batchOf([value], { producerId, producerEpoch, baseSequence })] as const
  assertError((await publish(client, stamped('x', 0, 1)))[0], 'OUT_OF_ORDER_SEQUENCE', /expected sequence 0/)
  assert.is((await publish(client, stamped('a', 0, 0)))[0]?.baseOffset, 0)
  assert.is((await publish(client, stamped('b', 1, 0)))[0]?.baseOffset, 1)
  assertError((await publish(client, stamped('x', 0, 1)))[0], 'PRODUCER_FENCED', /epoch 1/)
  for (let i = 1; i <= 6; i++) await publish(client, stamped(`c${i}`, 1, i))
  assert.equal(await publish(client, stamped('b', 1, 0)), [{ error: 0 }])
})

test('a rejected write fails pending requests, and their retry is appended once', async (context) => {
  const engines = new ControlledEngines()
  const client = await testClient(context, await testBroker(context, { engines }))
  const topicId = await createTopic(client, 'orders')
  const { producerId } = (await client.request(commands.producerInit, {})).body
  const batch = (value: string, baseSequence: number) =>
    [topicId, 0, batchOf([value], { producerId, producerEpoch: 0, baseSequence })] as const
  await publish(client, batch('a', 0))
  engines.beforeCommit = () => {
    throw new Error('no space left on device')
  }
  engines.hold()
  const begun = engines.commits
  const first = publish(client, batch('b', 1))
  await waitFor('the commit to begin', () => engines.commits > begun)
  const second = publish(client, batch('c', 2), batch('b', 1))
  await client.request(commands.ping, {})
  engines.release()
  for (const result of [...(await first), ...(await second)]) {
    assertError(result, 'STORAGE_FAILED', /no space left on device/)
  }
  engines.beforeCommit = () => {}
  await waitFor('the log to be open again', async () => {
    const { body } = await client.request(commands.status, {})
    return body.health.status === 'ok'
  })
  assert.is((await publish(client, batch('c', 2)))[0]?.error, errorTable.OUT_OF_ORDER_SEQUENCE.number)
  assert.is((await publish(client, batch('b', 1)))[0]?.baseOffset, 1)
  assert.is((await publish(client, batch('c', 2)))[0]?.baseOffset, 2)
  assert.equal(await valuesOf(client, topicId), ['a', 'b', 'c'])
})

test('with too little disk space the broker refuses publishes and still serves everything else', async (context) => {
  const dir = await context.tempDir()
  const before = await testBroker(context, { dir })
  const first = await testClient(context, before)
  const topicId = await createTopic(first, 'orders')
  await publish(first, [topicId, 0, batchOf(['a'])])
  await before.close()
  const broker = await testBroker(context, { dir, diskFreeBytesMin: Number.MAX_SAFE_INTEGER })
  const client = await testClient(context, broker)
  assertError(
    (await publish(client, [topicId, 0, batchOf(['b'])]))[0],
    'STORAGE_FULL',
    /the disk has .* free/,
  )
  assert.equal(await valuesOf(client, topicId), ['a'])
  assert.is((await broker.status()).health.status, 'degraded')
  await client.request(commands.topicDelete, { topic: 'orders' })
})

test('a publish that is refused while the log is being reopened can be sent again', async (context) => {
  const engines = new ControlledEngines()
  const client = await testClient(context, await testBroker(context, { engines }))
  const topicId = await createTopic(client, 'orders')
  const { producerId } = (await client.request(commands.producerInit, {})).body
  const batch = (value: string, baseSequence: number) =>
    [topicId, 0, batchOf([value], { producerId, producerEpoch: 0, baseSequence })] as const
  const fail = () => {
    throw new Error('input/output error')
  }
  engines.beforeCommit = fail
  engines.beforeOpen = fail
  assertError((await publish(client, batch('a', 0)))[0], 'STORAGE_FAILED', /input\/output error/)
  const refused = await publish(client, batch('a', 0), batch('b', 1))
  assertError(refused[0], 'STORAGE_FAILED', /./)
  assertError(refused[1], 'STORAGE_FAILED', /./)
  assert.is((await client.request(commands.status, {})).body.health.status, 'failed')
  engines.beforeCommit = () => {}
  engines.beforeOpen = () => {}
  await waitFor('the log to be open again', async () => {
    const { body } = await client.request(commands.status, {})
    return body.health.status === 'ok'
  })
  const results = await publish(client, batch('a', 0), batch('b', 1))
  assert.equal(results, [
    { error: 0, baseOffset: 0 },
    { error: 0, baseOffset: 1 },
  ])
  assert.equal(await valuesOf(client, topicId), ['a', 'b'])
})

test.run()
