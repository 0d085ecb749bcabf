import * as assert from 'uvu/assert'
import { deadHeaders, deadLetter, hasMessage } from '../../../broker/queues/dead_letters.js'
import { type ReadRecord, readSome } from '../../../broker/queues/read_records.js'
import type { DeadLetter } from '../../../client/index.js'
import { commands, stampBaseOffset } from '../../../protocol/index.js'
import type { PartitionLog } from '../../../storage/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { unopenableBatch } from '../../helpers/lying_batches.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/redrive')

const group = 'crew'
const workerId = 'worker-1'
const death = {
  group,
  reason: 'rejected',
  error: 'no',
  attempts: 1,
  atMs: 5_000,
  origin: { topic: 'tasks', partition: 0, offset: 7 },
} as const

interface Setup {
  readonly harness: Harness
  readonly raw: RawClient
  /** Number of leased messages. */
  readonly lease: () => Promise<number>
}

/** A group with two dead letters: 0 of a batch that does not open, 1 of the message behind it. */
async function start(context: TestContext): Promise<Setup> {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 10 })
  await harness.publishBatch(topicId, 0, unopenableBatch(3))
  await harness.publish(topicId, 0, ['good'])
  const wanted = { group, workerId, messagesMax: 10, bytesMax: 1e6, waitMs: 5_000, leaseMs: 60_000 }
  const { body } = await raw.request(commands.queueLease, wanted)
  const entry = { topicId, partition: 0, grantId: body.grantId, outcome: 'reject', offsets: [3, 1] } as const
  await raw.request(commands.queueSettle, { group, entries: [{ ...entry, error: 'bad' }] })
  await waitFor('two dead letters', async () => (await harness.client.queues.describe(group)).dead === 2)
  const lease = async (): Promise<number> => {
    const { body: leased } = await raw.request(commands.queueLease, wanted)
    return leased.batches.length
  }
  return { harness, raw, lease }
}

test('a redrive skips the dead letter of a batch that does not open', async (context) => {
  const { harness, raw, lease } = await start(context)
  for (let repeat = 0; repeat < 2; repeat++) {
    const { body } = await raw.request(commands.queueRedrive, { group, offsets: [0, 2] })
    assert.equal(body, { redriven: 1, skipped: [0, 1] })
  }
  assert.is(await lease(), 1, 'the other one is delivered, alone')
  const left: DeadLetter[] = []
  for await (const letter of harness.client.queues.deadLetters(group)) left.push(letter)
  assert.equal(
    left.map(({ offset, reason }) => [offset, reason]),
    [[0, 'unreadable']],
  )
  const { body } = await raw.request(commands.queueRedrive, { group, offsets: [0, 1] })
  assert.equal(body, { redriven: 0, skipped: [0, 1] })
})

test('queues.redrive names the dead letters that the broker skipped', async (context) => {
  const { harness } = await start(context)
  const skipped: DeadLetter[] = []
  const onSkipped = (letter: DeadLetter): void => void skipped.push(letter)
  assert.is(await harness.client.queues.redrive(group, { onSkipped }), 1)
  assert.equal(
    skipped.map(({ offset, topic, originOffset, reason }) => [offset, topic, originOffset, reason]),
    [[0, 'tasks', 0, 'unreadable']],
  )
})

/** The record of a dead letter. */
async function recordOf(batch: Uint8Array): Promise<ReadRecord> {
  stampBaseOffset(batch, 0, 0)
  const reader = { readTail: () => ({ chunks: [batch], bytes: batch.length }), read: async () => [] }
  const log = { id: 1, startOffset: 0, endOffset: 1 } as PartitionLog
  const { records } = await readSome(reader, log, 0)
  const [record] = records
  if (record === undefined) throw new Error('the letter has no record')
  return record
}

function messageOf(fields: Partial<ReadRecord>): ReadRecord {
  const bytes = new Uint8Array(2_000)
  const none = { key: undefined, value: undefined, headers: undefined }
  return { offset: 7, timestamp: 1_000, firstTimestamp: 1_000, bytes, ...none, ...fields }
}

test('a dead letter that had no room for its message has no message', async () => {
  const value = Uint8Array.from({ length: 2_000 }, (_, i) => (i * i * 31) % 251)
  const message = messageOf({ value })
  assert.ok(hasMessage(await recordOf(deadLetter(message, death, 100_000))))
  const letter = await recordOf(deadLetter(message, death, 500))
  assert.is(letter.value, undefined)
  assert.not(hasMessage(letter))
})

test('a message without key and value is one, and headers of publishers do not hide a message', async () => {
  assert.ok(hasMessage(await recordOf(deadLetter(messageOf({}), death, 100_000))))
  const headers = {
    [deadHeaders.cut]: Buffer.from('1'),
    [deadHeaders.count]: Buffer.from('1'),
    [deadHeaders.reason]: Buffer.from('unreadable'),
  }
  const forged = messageOf({ value: Buffer.from('x'), headers })
  assert.ok(hasMessage(await recordOf(deadLetter(forged, death, 100_000))))
})

test('a message that a purge removed during its lease leaves no dead letter', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 10 })
  await harness.publish(topicId, 0, ['purged', 'purged too'])
  const wanted = { group, workerId, messagesMax: 2, bytesMax: 1e6, waitMs: 5_000, leaseMs: 60_000 }
  const { body: first } = await raw.request(commands.queueLease, wanted)
  await harness.client.topics.purge('tasks')
  await harness.publish(topicId, 0, ['kept'])
  const { body: second } = await raw.request(commands.queueLease, wanted)
  const reject = async (grantId: number, offset: number): Promise<void> => {
    const entry = { topicId, partition: 0, grantId, outcome: 'reject', error: 'no' } as const
    const { body } = await raw.request(commands.queueSettle, {
      group,
      entries: [{ ...entry, offsets: [offset, 1] }],
    })
    assert.equal(body.refused, [])
  }
  await reject(first.grantId, 1)
  await reject(second.grantId, 2)
  const origins: number[] = []
  for await (const { originOffset } of harness.client.queues.deadLetters(group)) origins.push(originOffset)
  assert.equal(origins, [2])
  const { partitions } = await harness.client.queues.describe(group)
  assert.is(partitions[0]?.inFlight, 1, 'the lease of the other purged message is left')
})

test('the dead letter of a message that damage made unreadable says so, and is not redriven', async () => {
  const letter = await recordOf(deadLetter(undefined, death, 1_000_000))
  assert.is(Buffer.from(letter.headers?.[deadHeaders.cut] ?? []).toString(), '0')
  assert.not(hasMessage(letter))
})

test.run()
