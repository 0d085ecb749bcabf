import { randomBytes } from 'node:crypto'
import { brotliCompressSync } from 'node:zlib'
import * as assert from 'uvu/assert'
import {
  batchHeaderBytes,
  commands,
  compressionNumbers,
  RecordBatchBuilder,
  RecordCursor,
  readBatchHeader,
  writeBatchHeader,
} from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/large_lease')

const group = 'crew'
const workerId = 'worker-1'
const settings = { frameBytesMax: 256 * 1024, batchBytesMax: 128 * 1024 }

/** Brotli finds repeats that are further away than the window of gzip. */
function brotliBatch(value: Uint8Array): Uint8Array {
  const builder = new RecordBatchBuilder()
  builder.append({ key: 'k', value, timestamp: 1_000 })
  const plain = builder.finish()
  const packed = brotliCompressSync(plain.subarray(batchHeaderBytes))
  const batch = Buffer.concat([plain.subarray(0, batchHeaderBytes), packed])
  writeBatchHeader(batch, { ...readBatchHeader(plain), compression: compressionNumbers.brotli })
  return batch
}

async function open(context: TestContext, batches: readonly Uint8Array[]) {
  const harness = await Harness.start(context, settings)
  const topicId = await harness.createTopic('tasks')
  for (const batch of batches) await harness.publishBatch(topicId, 0, batch)
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 1 })
  const wanted = { messagesMax: 10, bytesMax: 10_000_000, waitMs: 5_000, leaseMs: 60_000 }
  return { harness, lease: () => raw.request(commands.queueLease, { group, workerId, ...wanted }) }
}

test('a message that is larger than a frame is leased compressed', async (context) => {
  const value = Buffer.alloc(1024 * 1024, 'a')
  const { lease } = await open(context, [brotliBatch(value)])
  const { payload } = await lease()
  assert.ok(payload.length < settings.frameBytesMax)
  const cursor = new RecordCursor(payload)
  assert.ok(cursor.next())
  assert.equal(Buffer.from(cursor.view(cursor.valueStart, cursor.valueEnd)), value)
})

test('a message that fits into no frame becomes a dead letter, and later messages are leased', async (context) => {
  const block = randomBytes(100 * 1024)
  const small = new RecordBatchBuilder()
  small.append({ value: 'small', timestamp: 1_000 })
  const huge = brotliBatch(Buffer.concat([block, block, block, block]))
  const { harness, lease } = await open(context, [huge, small.finish()])
  const { client } = harness
  const leased: number[] = []
  await waitFor('the message behind it', async () => {
    for (const [, , , [first]] of (await lease()).body.batches) leased.push(first as number)
    return leased.length > 0
  })
  assert.equal(leased, [1])
  const letters = []
  for await (const letter of client.queues.deadLetters(group)) letters.push(letter)
  assert.equal(
    letters.map(({ reason, originOffset, attempts }) => [reason, originOffset, attempts]),
    [['too-large', 0, 0]],
  )
  assert.match(letters[0]?.error ?? '', /409,6\d\d bytes \(.*\), which is more than a frame can hold/)
})

test('a lease takes no more messages than fit into a frame', async (context) => {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < 8; i++) builder.append({ value: Buffer.alloc(100_000), timestamp: 1_000 })
  const { lease } = await open(context, [builder.finish('gzip')])
  const { payload, body } = await lease()
  assert.ok(payload.length < settings.frameBytesMax, `${payload.length} bytes`)
  assert.ok(body.batches.length > 0)
})

test.run()
