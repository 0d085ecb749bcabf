import * as assert from 'uvu/assert'
import { commands, MillraceError } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { UnreadableEngines } from '../harness.js'

const test = suite('broker/queues/uncertain_commit')

const group = 'crew'
const workerId = 'worker-1'

async function start(context: TestContext) {
  const engines = new UnreadableEngines()
  const harness = await Harness.start(context, { engine: 'memory', engines })
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['0', '1'])
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 1 })
  const lease = async (leaseMs: number, waitMs = 5_000) => {
    const request = { group, workerId, messagesMax: 1, bytesMax: 1e6, waitMs, leaseMs }
    return (await raw.request(commands.queueLease, request)).body
  }
  const offsetsOf = ({ batches }: Awaited<ReturnType<typeof lease>>) =>
    batches.flatMap(([, , , offsets]) => offsets)
  return { engines, harness, topicId, raw, lease, offsetsOf }
}

const isStorageFailed = (error: unknown): boolean =>
  error instanceof MillraceError && error.code === 'STORAGE_FAILED'

test('messages of a transaction are not delivered again when its commit was written but reported as failed', async (context) => {
  const { engines, topicId, raw, lease, offsetsOf } = await start(context)
  const first = await lease(1_000)
  assert.equal(offsetsOf(first), [0, 1])
  const entry = { topicId, partition: 0, grantId: first.grantId, offsets: [0, 1] }
  const request = { id: 'tx-1', batches: [], acks: [{ group, entries: [entry] }], offsets: [] }
  engines.refuseNext = true
  const error = await raw.request(commands.transaction, request).catch((error: unknown) => error)
  assert.ok(isStorageFailed(error))
  // The store applies the written commit, and then a repeat finds out that it has counted.
  await waitFor('the transaction', () =>
    raw.request(commands.transaction, request).then(
      () => true,
      (error: unknown) => {
        if (isStorageFailed(error)) return false
        throw error
      },
    ),
  )
  // That is answered before the store takes writes again.
  const second = await waitFor('the store', () =>
    lease(60_000).catch((error: unknown) => {
      if (isStorageFailed(error)) return undefined
      throw error
    }),
  )
  assert.equal(offsetsOf(second), [1, 1])
  // Long enough for the first lease to end.
  assert.equal(offsetsOf(await lease(60_000, 2_500)), [])
})

test('a message that a failed commit made a dead letter does not become a second one', async (context) => {
  const { engines, harness, topicId, raw, lease } = await start(context)
  const { grantId } = await lease(1_000)
  const reject = async () =>
    raw.request(commands.queueSettle, {
      group,
      entries: [{ topicId, partition: 0, grantId, outcome: 'reject', offsets: [0, 1] }],
    })
  // The dead-letter topic exists before.
  const second = await lease(60_000)
  await raw.request(commands.queueSettle, {
    group,
    entries: [{ topicId, partition: 0, grantId: second.grantId, outcome: 'reject', offsets: [1, 1] }],
  })
  engines.refuseNext = true
  assert.ok(isStorageFailed(await reject().catch((error: unknown) => error)))
  await waitFor('the store', () =>
    reject().then(
      () => true,
      (error: unknown) => {
        if (isStorageFailed(error)) return false
        throw error
      },
    ),
  )
  assert.is((await harness.client.queues.describe(group)).dead, 2)
})

test('a group that could not be read when it was opened works as soon as it can', async (context) => {
  const { engines, harness, topicId, lease } = await start(context)
  const { grantId } = await lease(60_000)
  await harness.broker.close()
  const again = await Harness.start(context, { engine: 'memory', engines })
  const raw = await connectHello(again.broker.address)
  context.defer(() => raw.destroy())
  const open = () => raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 1 })
  engines.unreadable = true
  const error = await open().catch((error: unknown) => error)
  assert.instance(error, MillraceError)
  engines.unreadable = false
  await open()
  const entry = { topicId, partition: 0, grantId, outcome: 'ack', offsets: [0, 1] } as const
  const { body } = await raw.request(commands.queueSettle, { group, entries: [entry] })
  assert.equal(body.refused, [])
  const request = { group, workerId, messagesMax: 10, bytesMax: 1e6, waitMs: 5_000, leaseMs: 60_000 }
  const { batches } = (await raw.request(commands.queueLease, request)).body
  assert.equal(
    batches.flatMap(([, , , offsets]) => offsets),
    [1, 1],
  )
})

test.run()
