import * as assert from 'uvu/assert'
import { commands, limits, RecordBatchBuilder } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello } from '../../helpers/raw_client.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/queues/large_letter')

const group = 'crew'
const workerId = 'worker-1'

test('a message as large as a batch can be becomes a dead letter, and can be redriven', async (context) => {
  const harness = await Harness.start(context)
  const { topicId } = await harness.cluster.call(commands.topicCreate, {
    topic: 'tasks',
    partitions: 1,
    settings: { batchBytesMax: limits.batchBytesMax },
  })
  const builder = new RecordBatchBuilder()
  builder.append({ key: 'key', value: Buffer.alloc(limits.batchBytesMax - 200, 1), timestamp: 1000 })
  await harness.publishBatch(topicId, 0, builder.finish())
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 1 })
  const lease = async () => {
    const request = { group, workerId, messagesMax: 1, bytesMax: 1e6, waitMs: 5_000, leaseMs: 60_000 }
    return await raw.request(commands.queueLease, request)
  }
  const { body } = await lease()
  const entry = { topicId, partition: 0, grantId: body.grantId, outcome: 'reject', offsets: [0, 1] } as const
  const error = 'e'.repeat(4096)
  const settled = await raw.request(commands.queueSettle, { group, entries: [{ ...entry, error }] })
  assert.equal(settled.body.refused, [])
  const { body: redriven } = await raw.request(commands.queueRedrive, { group, offsets: [0, 1] })
  assert.is(redriven.redriven, 1)
  const again = await lease()
  assert.is(again.body.batches.length, 1)
  assert.ok(again.payload.length > limits.batchBytesMax)
})

test.run()
