import * as assert from 'uvu/assert'
import {
  batchHeaderBytes,
  type Compression,
  commands,
  errorCodeOf,
  MillraceError,
  RecordBatchBuilder,
  readBatchHeader,
  writeBatchHeader,
} from '../../protocol/index.js'
import { zigzag } from '../../protocol/varint.js'
import type { RawClient } from '../helpers/raw_client.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, createTopic, fetchPartition, publish, testBroker, testClient, valuesOf } from './harness.js'

const test = suite('broker/admission')

/** What came of a batch: undefined if it was accepted, otherwise the error. */
type Path = (client: RawClient, topicId: number, batch: Uint8Array) => Promise<MillraceError | undefined>

let transactions = 0

const paths: Readonly<Record<string, Path>> = {
  publish: async (client, topicId, batch) => {
    const [result] = await publish(client, [topicId, 0, batch])
    return errorOf(result?.error, result?.message)
  },
  transaction: (client, topicId, batch) =>
    refusalOf(
      client.request(
        commands.transaction,
        { id: `transaction-${++transactions}`, batches: [[topicId, 0, batch.length]], acks: [], offsets: [] },
        batch,
      ),
    ),
  each: async (client, topicId, batch) => each(client, topicId, batch, 0),
  delayed: async (client, topicId, batch) => each(client, topicId, batch, Date.now() + 60_000),
  schedule: (client, _, batch) =>
    refusalOf(
      client.request(commands.scheduleSet, { name: 'report', topic: 'orders', cron: '0 0 1 1 *' }, batch),
    ),
}

async function each(client: RawClient, topicId: number, batch: Uint8Array, deliverAtMs: number) {
  let message: readonly [number, ...unknown[]] | undefined
  const refusal = await refusalOf(
    client
      .request(
        commands.publishEach,
        { batches: [[topicId, 0, batch.length]], messages: [[deliverAtMs, undefined]] },
        batch,
      )
      .then(({ body }) => {
        message = body.results[0]
      }),
  )
  return refusal ?? errorOf(message?.[0], message?.[4])
}

function errorOf(number: number | undefined, message: unknown): MillraceError | undefined {
  return number ? new MillraceError(errorCodeOf(number), String(message)) : undefined
}

function refusalOf(reply: Promise<unknown>): Promise<MillraceError | undefined> {
  return reply.then(
    () => undefined,
    (error: MillraceError) => error,
  )
}

async function fixture(context: TestContext): Promise<{ client: RawClient; topicId: number }> {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { settings: { batchBytesMax: 1_024 } })
  return { client, topicId }
}

/** A batch with one record whose timestamp is `deltaMs` after the first timestamp of the header. */
function batchWithDelta(deltaMs: number, firstTimestamp: number): Uint8Array {
  const batch = Buffer.from(batchOf(['a'], undefined, firstTimestamp))
  batch[batchHeaderBytes] = zigzag(deltaMs)
  writeBatchHeader(batch, readBatchHeader(batch))
  return batch
}

for (const [name, admit] of Object.entries(paths)) {
  test(`${name} refuses a message that is larger than its topic allows`, async (context) => {
    const { client, topicId } = await fixture(context)
    const refusal = await admit(client, topicId, batchOf(['x'.repeat(1_000)]))
    assert.is(refusal?.code, 'BATCH_TOO_LARGE', refusal?.message)
    assert.match(refusal?.message ?? '', /1 KiB/)
  })

  test(`${name} refuses a batch with a wrong checksum`, async (context) => {
    const { client, topicId } = await fixture(context)
    const batch = Buffer.from(batchOf(['a']))
    batch.writeUInt8(batch.readUInt8(batch.length - 1) ^ 1, batch.length - 1)
    const refusal = await admit(client, topicId, batch)
    assert.is(refusal?.code, 'BAD_BATCH', refusal?.message)
  })
}

for (const name of ['publish', 'transaction', 'each'] as const) {
  const admit = paths[name] as Path

  for (const compression of ['none', 'gzip'] as readonly Compression[]) {
    test(`${name} refuses a timestamp of the future (${compression})`, async (context) => {
      const { client, topicId } = await fixture(context)
      const builder = new RecordBatchBuilder()
      builder.append({ value: 'x'.repeat(500), timestamp: Date.now() + 50 * 366 * 86_400_000 })
      const refusal = await admit(client, topicId, builder.finish(compression))
      assert.is(refusal?.code, 'BAD_BATCH', refusal?.message)
      assert.match(refusal?.message ?? '', /ahead of the broker's clock/)
      assert.equal(await valuesOf(client, topicId), [])
    })
  }

  test(`${name} refuses a timestamp before 1970`, async (context) => {
    const { client, topicId } = await fixture(context)
    const refusal = await admit(client, topicId, batchWithDelta(-5, 0))
    assert.is(refusal?.code, 'BAD_BATCH', refusal?.message)
    assert.match(refusal?.message ?? '', /timestamp -5/)
    await publish(client, [topicId, 0, batchOf(['after'])])
    assert.equal(await valuesOf(client, topicId), ['after'])
  })
}

for (const name of ['publish', 'transaction'] as const) {
  test(`${name} refuses a record that is later than its batch says`, async (context) => {
    const { client, topicId } = await fixture(context)
    const refusal = await (paths[name] as Path)(client, topicId, batchWithDelta(7, 1_000))
    assert.is(refusal?.code, 'BAD_BATCH', refusal?.message)
    assert.match(refusal?.message ?? '', /record 0 has timestamp 1007, expected 0 to .* 1000/)
  })
}

test('publish.each refuses batches with too many uncompressed bytes before it decompresses them', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const builder = new RecordBatchBuilder()
  builder.append({ value: Buffer.alloc(12 * 1024 * 1024), timestamp: 1_000 })
  const batch = builder.finish('brotli')
  const batches = Array.from({ length: 3 }, () => [topicId, 0, batch.length] as const)
  const messages = batches.map(() => [0, undefined] as [number, undefined])
  const refusal = await refusalOf(
    client.request(commands.publishEach, { batches, messages }, Buffer.concat([batch, batch, batch])),
  )
  assert.is(refusal?.code, 'BATCH_TOO_LARGE', refusal?.message)
  assert.match(refusal?.message ?? '', /have 37,7[\d,]+ bytes \(.* MiB\) after decompression/)
})

test('a transaction refuses a batch of an idempotent producer', async (context) => {
  const { client, topicId } = await fixture(context)
  const batch = batchOf(['a'], { producerId: 7, producerEpoch: 0, baseSequence: 0 })
  const refusal = await paths.transaction?.(client, topicId, batch)
  assert.is(refusal?.code, 'BAD_BATCH')
  assert.match(refusal?.message ?? '', /has producerId 7, expected 0/)
})

test('a delayed message that was accepted is delivered under a lower limit', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const value = 'x'.repeat(2_000)
  assert.is(await each(client, topicId, batchOf([value]), Date.now() + 300), undefined)
  await client.request(commands.topicAlter, { topic: 'orders', settings: { batchBytesMax: 1_024 } })
  await waitFor('the message', async () => (await valuesOf(client, topicId)).length === 1)
  assert.equal(await valuesOf(client, topicId), [value])
})

test('the dead letter of a message that grew beyond a frame is readable', async (context) => {
  const settings = { frameBytesMax: 256 * 1024, batchBytesMax: 128 * 1024 }
  const client = await testClient(context, await testBroker(context, settings))
  const topicId = await createTopic(client, 'tasks')
  const group = 'crew'
  const worker = { group, workerId: 'worker-1' }
  await client.request(commands.queueOpen, {
    ...{ ...worker, topics: ['tasks'], concurrency: 1 },
    settings: { ttlMs: 1, expired: 'dead-letter' },
  })
  const builder = new RecordBatchBuilder()
  builder.append({ value: Buffer.alloc(1024 * 1024), timestamp: 1_000 })
  await publish(client, [topicId, 0, builder.finish('gzip')])
  const wanted = { ...worker, messagesMax: 1, bytesMax: 1_000, waitMs: 0, leaseMs: 60_000 }
  await waitFor('the dead letter', async () => {
    await client.request(commands.queueLease, wanted)
    return (await client.request(commands.queueDescribe, { group })).body.dead === 1
  })
  const { topic } = (await client.request(commands.topicDescribe, { topic: `${group}.dead-letters` })).body
  const { records } = await fetchPartition(client, topic.topicId, 0, 0)
  assert.equal(
    records.map(({ value }) => value.length),
    [1024 * 1024],
  )
})

test.run()
