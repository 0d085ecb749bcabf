import * as assert from 'uvu/assert'
import { commands, RecordBatchBuilder } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/lease_room')

const group = 'crew'
const messageBytes = 256 * 1024
const messages = 160
const perLease = 4
/** A reply that is sent, one that is prepared, and what the sockets of the system hold. */
const heldBytesMax = 20 * 1024 * 1024

async function openWorker(context: TestContext, harness: Harness, workerId: string): Promise<RawClient> {
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 1 })
  return raw
}

function lease(raw: RawClient, workerId: string): Promise<number> {
  const wanted = {
    messagesMax: perLease,
    bytesMax: perLease * (messageBytes + 100),
    waitMs: 60_000,
    leaseMs: 600_000,
  }
  return raw
    .request(commands.queueLease, { group, workerId, ...wanted })
    .then(({ body }) => body.batches.reduce((sum, [, , , [, count = 0]]) => sum + count, 0))
}

test('a worker that does not read its replies holds no more memory than its connection may', async (context) => {
  const harness = await Harness.start(context, { connectionOutboundBytesMax: 1024 * 1024 })
  const topicId = await harness.createTopic('tasks')
  const builder = new RecordBatchBuilder()
  builder.append({ value: Buffer.alloc(messageBytes), timestamp: 1_000 })
  const batch = builder.finish()
  for (let n = 0; n < messages; n++) await harness.publishBatch(topicId, 0, batch)
  const leased = async (): Promise<number> =>
    (await harness.client.queues.describe(group)).partitions.reduce((sum, { inFlight }) => sum + inFlight, 0)

  const deaf = await openWorker(context, harness, 'deaf')
  deaf.socket.pause()
  const replies = Array.from({ length: messages / perLease }, () => lease(deaf, 'deaf'))
  let before = -1
  let same = 0
  await waitFor('the leases to stop', async () => {
    const now = await leased()
    same = now > 0 && now === before ? same + 1 : 0
    before = now
    return same === 10
  })
  const heldBytes = (await leased()) * messageBytes
  assert.ok(heldBytes <= heldBytesMax, `${heldBytes} bytes are leased to a worker that does not read`)

  const other = await openWorker(context, harness, 'other')
  const taken = await lease(other, 'other')
  assert.ok(taken > 0, 'the others get messages meanwhile')

  deaf.socket.resume()
  // A lease takes what stands in line, which may be less than it asks for.
  let received = taken
  const count = (reply: Promise<number>): Promise<void> =>
    reply.then(
      (some) => {
        received += some
      },
      () => {},
    )
  for (const reply of replies) void count(reply)
  for (let n = 0; n < messages; n++) void count(lease(deaf, 'deaf'))
  await waitFor('all messages', () => received >= messages)
  assert.is(received, messages)
})

test.run()
