import * as assert from 'uvu/assert'
import { BufferBudget } from '../../../client/producer/buffer_budget.js'
import type { PartitionQueue } from '../../../client/producer/partition_queue.js'
import { TopicQueues } from '../../../client/producer/topic_queues.js'
import { MillraceError, readBatchHeader } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'
import { codeOf } from '../fixtures.js'

const test = suite('client/producer/partition_queue')

const info = { name: 't', topicId: 1, partitions: 1, owners: [0] }

/** A queue with one batch for each value. */
function queueOf(
  values: readonly string[],
  ended: string[] = [],
  deliveryTimeoutMs = 60_000,
): PartitionQueue {
  const topic = new TopicQueues(info, {
    batchBytes: 1,
    batchesInFlightMax: 5,
    gatherMsMax: 100,
    deliveryTimeoutMs,
    compression: 'none',
  })
  const queue = topic.queue(0)
  for (const value of values) {
    const batch = queue.open(100)
    batch.add(
      { value, timestamp: 1 },
      100,
      ({ offset }) => ended.push(`${value}@${offset}`),
      (error) => ended.push(`${value}:${codeOf(error)}`),
    )
  }
  return queue
}

function stampOf(bytes: Uint8Array): string {
  const { producerEpoch, baseSequence } = readBatchHeader(bytes)
  return `${producerEpoch}/${baseSequence}`
}

test('sends nothing after a failure until all requests on the wire are answered, then sends all again', () => {
  const ended: string[] = []
  const queue = queueOf(['a', 'b', 'c', 'd'], ended)
  const [a, b, c] = [queue.take(7), queue.take(7), queue.take(7)]
  queue.retry(b.batch)
  assert.not(queue.ready(false))
  queue.retry(c.batch)
  assert.not(queue.ready(false), 'the first one is still on the wire')
  queue.succeeded(a.batch, 10)
  const again = [queue.take(7), queue.take(7), queue.take(7)]
  assert.equal(
    again.map(({ bytes }) => stampOf(bytes)),
    ['0/1', '0/2', '0/3'],
  )
  assert.is(again[0]?.bytes, b.bytes, 'the very same bytes')
  for (const [index, { batch }] of again.entries()) queue.succeeded(batch, 11 + index)
  assert.equal(ended, ['a@10', 'b@11', 'c@12', 'd@13'])
  assert.ok(queue.isEmpty)
})

test('batches after one that timed out keep their sequences until the broker reports a gap', () => {
  const queue = queueOf(['a', 'b', 'c'])
  const [a, b] = [queue.take(7), queue.take(7)]
  queue.gaveUp(a.batch, new MillraceError('DELIVERY_TIMEOUT'))
  queue.retry(b.batch)
  const again = queue.take(7)
  assert.is(stampOf(again.bytes), '0/1')
  assert.ok(queue.isOldest(again.batch))
  queue.endEpoch()
  assert.not(queue.ready(false), 'only once nothing is on the wire')
  queue.retry(again.batch)
  assert.is(stampOf(queue.take(7).bytes), '1/0')
  assert.is(stampOf(queue.take(7).bytes), '1/1')
  assert.is(stampOf(again.bytes), '0/1', 'bytes that may be in a socket are not written over')
})

test('batches that wait too long are given up, and sequences stay', () => {
  const ended: string[] = []
  const queue = queueOf(['a', 'b'], ended, 1_000)
  queue.retry(queue.take(7).batch)
  const deadlineMs = queue.unacknowledged[0]?.deadlineMs ?? 0
  assert.is(
    queue.expire(deadlineMs - 1, () => new MillraceError('DELIVERY_TIMEOUT')),
    0,
  )
  const bytes = queue.expire(deadlineMs, () => new MillraceError('DELIVERY_TIMEOUT'))
  assert.ok(bytes > 0)
  assert.is(ended[0], 'a:DELIVERY_TIMEOUT')
  if (!queue.isEmpty) assert.is(stampOf(queue.take(7).bytes), '0/1')
})

test('reservations count, and are granted in the order of the requests', async () => {
  const budget = new BufferBudget(100)
  budget.add(90)
  const granted: string[] = []
  const waiting = [60, 50, 10].map(async (bytes, index) => {
    await budget.reserve(bytes)
    granted.push(`${index}`)
  })
  assert.not(budget.fits(1), 'nobody passes those that wait')
  budget.free(90)
  await waiting[0]
  assert.equal(granted, ['0'], 'both would be too much, and the small one waits for its turn')
  budget.add(55)
  budget.unreserve(60)
  assert.equal(granted, ['0'])
  budget.free(55)
  await Promise.all(waiting)
  assert.equal(granted, ['0', '1', '2'])
  budget.unreserve(50)
  budget.unreserve(10)
  assert.ok(budget.fits(100))
  assert.ok(budget.fits(1_000), 'one that is larger than all gets in alone')
})

test.run()
