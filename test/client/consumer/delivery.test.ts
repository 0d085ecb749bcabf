import * as assert from 'uvu/assert'
import { Delivery } from '../../../client/consumer/delivery.js'
import { PartitionStream } from '../../../client/consumer/partition_stream.js'
import { RecordBatchBuilder, stampBaseOffset } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('client/consumer/delivery')

type Stream = PartitionStream<string, string>

function batch(baseOffset: number, count: number): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < count; i++) builder.append({ value: `v-${baseOffset + i}`, timestamp: 1 })
  const bytes = builder.finish()
  stampBaseOffset(bytes, 0, baseOffset)
  return bytes
}

function streamOf(partition: number, position = 0, withAcks = false): Stream {
  const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString()
  const decoder = { ahead: false, key: text, value: text }
  const onAck = withAcks ? () => {} : undefined
  const stream: Stream = new PartitionStream({
    topic: 't',
    topicId: 1,
    partition,
    epoch: 1,
    decoder,
    committer: undefined,
    onAck,
  })
  stream.restart(position)
  stream.state = 'active'
  return stream
}

function deliveryOf(unackedMax = 1_000): { delivery: Delivery<string, string>; consumed: number[] } {
  const consumed: number[] = []
  const onConsumed = ({ partition }: Stream): void => void consumed.push(partition)
  return { delivery: new Delivery({ unackedMax, onConsumed }), consumed }
}

function partitionsOf(delivery: Delivery<string, string>, count: number): (number | undefined)[] {
  return Array.from({ length: count }, () => delivery.next()?.partition)
}

test('streams take turns batch by batch', () => {
  const { delivery, consumed } = deliveryOf()
  const [busy, rare] = [streamOf(0), streamOf(1)]
  for (let at = 0; at < 6; at += 2) busy.push(batch(at, 2))
  rare.push(batch(0, 1))
  delivery.offer(busy)
  delivery.offer(rare)
  assert.equal(partitionsOf(delivery, 8), [0, 0, 1, 0, 0, 0, 0, undefined])
  assert.equal(consumed, [0, 1, 0, 0])
})

test('a batch that begins before the position is delivered from the position on', () => {
  const { delivery } = deliveryOf()
  const stream = streamOf(0, 3)
  stream.push(batch(0, 5))
  delivery.offer(stream)
  assert.is(delivery.next()?.value, 'v-3')
  assert.is(stream.position, 4)
})

test('batches that were fetched earlier are not delivered again', () => {
  const { delivery } = deliveryOf()
  const stream = streamOf(0)
  stream.push(batch(0, 2))
  stream.push(Buffer.concat([batch(0, 2), batch(2, 1)]))
  const { bufferedBytes } = stream
  stream.push(batch(0, 2))
  assert.is(stream.fetchOffset, 3)
  assert.is(stream.bufferedBytes, bufferedBytes)
  delivery.offer(stream)
  assert.equal(
    Array.from({ length: 4 }, () => delivery.next()?.offset),
    [0, 1, 2, undefined],
  )
})

test('nothing is delivered at or after stopAt', () => {
  const { delivery } = deliveryOf()
  const stream = streamOf(0)
  stream.stopAt = 3
  stream.push(Buffer.concat([batch(0, 2), batch(2, 4), batch(6, 2)]))
  delivery.offer(stream)
  assert.equal(
    Array.from({ length: 4 }, () => delivery.next()?.offset),
    [0, 1, 2, undefined],
  )
  assert.is(stream.finished, true)
  assert.is(stream.bufferedBytes, 0)
})

test('a stream that was dropped in the middle of its turn delivers no more', () => {
  const { delivery } = deliveryOf()
  const [first, second] = [streamOf(0), streamOf(1)]
  for (const stream of [first, second]) {
    stream.push(batch(0, 3))
    delivery.offer(stream)
  }
  assert.is(delivery.next()?.partition, 0)
  first.state = 'revoking'
  first.clear()
  assert.equal(partitionsOf(delivery, 4), [1, 1, 1, undefined])
})

test('a group of messages is never larger than the room for unacknowledged ones', () => {
  const { delivery } = deliveryOf(4)
  const stream = streamOf(0, 0, true)
  stream.push(batch(0, 10))
  delivery.offer(stream)
  const group = delivery.nextGroup(100)
  assert.is(group?.messages.length, 4)
  assert.is(delivery.nextGroup(100), undefined)
  group?.run.acks?.ackRange(0, 2)
  delivery.offer(stream)
  assert.is(delivery.nextGroup(100)?.messages.length, 2)
})

test('a dropped log start does not hold acknowledgements back', () => {
  const { delivery } = deliveryOf()
  const stream = streamOf(0, 0, true)
  stream.push(batch(0, 2))
  stream.skipTo(50)
  stream.push(batch(50, 1))
  delivery.offer(stream)
  for (let message = delivery.next(); message !== undefined; message = delivery.next()) message.ack()
  assert.is(stream.acks?.committable, 51)
})

test.run()
