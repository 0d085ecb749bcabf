import * as assert from 'uvu/assert'
import type { Partition } from '../../../broker/partition/partition.js'
import { ProducerTable } from '../../../broker/partition/producers.js'
import {
  encodeProducersForgotten,
  type ProducerLimits,
  ProducersView,
  type SilentProducer,
} from '../../../broker/partition/producers_view.js'
import { type BatchHeader, RecordBatchBuilder, readBatchHeader } from '../../../protocol/index.js'
import { State } from '../../../storage/state.js'
import { suite } from '../../helpers/suite.js'
import { FaultyEngines } from '../../storage/fixtures.js'

const test = suite('broker/partition/producers_view')

const idleMs = 60_000

function batchOf(producerId: number, baseSequence: number): BatchHeader {
  const builder = new RecordBatchBuilder()
  builder.append({ value: 'x', timestamp: 1_000 })
  return readBatchHeader(builder.finish('none', { producerId, producerEpoch: 0, baseSequence }))
}

function partitionOf(id: number): Partition {
  const producers = new ProducerTable()
  return { log: { id }, producers, producersIfAny: producers } as unknown as Partition
}

async function setUp(clock: { latestMs: number }, max: Partial<ProducerLimits> = {}) {
  const state = await State.open(await new FaultyEngines().open('state'))
  const partition = partitionOf(7)
  const { producers } = partition
  const limits = { producersPerPartitionMax: 10, producersMax: 10, producerIdleMs: idleMs, clock, ...max }
  const view = new ProducersView(state, limits)
  const forget = (silent: readonly SilentProducer[]): void =>
    view.applyForgotten(encodeProducersForgotten(silent), (logId) => (logId === 7 ? partition : undefined))
  return { view, partition, producers, forget }
}

test('the clock finds idle producers, and only the journal forgets them', async () => {
  const clock = { latestMs: 0 }
  const { view, partition, producers, forget } = await setUp(clock)
  view.appended(partition, batchOf(1, 0))
  clock.latestMs = 50_000
  view.appended(partition, batchOf(2, 0))
  const silent: SilentProducer[] = []
  view.findSilent(partition, 70_000, silent, 100)
  assert.equal(silent, [[7, 1, 0, 1]])
  assert.is(producers.size, 2, 'nothing has changed yet')
  forget(silent)
  assert.equal([producers.get(1), producers.size, view.count], [undefined, 1, 1])
})

test('a reader that applies the journal later ends with the same producers', async () => {
  const reader = await setUp({ latestMs: 1_000_000 })
  reader.view.appended(reader.partition, batchOf(1, 0))
  reader.view.appended(reader.partition, batchOf(2, 0))
  reader.forget([[7, 1, 0, 1]])
  assert.equal([reader.producers.get(1), reader.producers.size], [undefined, 1])
})

test('a producer that publishes after it was found idle stays', async () => {
  const { view, partition, producers, forget } = await setUp({ latestMs: 0 })
  view.appended(partition, batchOf(1, 0))
  const silent: SilentProducer[] = []
  view.findSilent(partition, 70_000, silent, 100)
  view.appended(partition, batchOf(1, 1))
  forget(silent)
  assert.is(producers.get(1)?.nextSequence, 2)
  forget([[8, 1, 0, 2]])
  assert.is(producers.size, 1)
})

test('a reader with other limits ends with the producers that the journal names', async () => {
  const clock = { latestMs: 0 }
  const writer = await setUp(clock, { producersPerPartitionMax: 3 })
  const readers = [await setUp(clock, { producersPerPartitionMax: 1 }), await setUp(clock)]
  let called = 0
  writer.view.onExcess = () => void called++
  for (let id = 1; id <= 8; id++)
    for (const { view, partition } of [writer, ...readers]) view.appended(partition, batchOf(id, 0))
  assert.is(called, 5)
  const excess = writer.view.excess(100)
  assert.equal(
    excess.map(([logId, id]) => [logId, id]),
    [1, 2, 3, 4, 5].map((id) => [7, id]),
  )
  for (const { forget } of [writer, ...readers]) forget(excess)
  for (const { producers, view } of [writer, ...readers]) {
    assert.equal(
      [...producers.states].map(({ producerId }) => producerId),
      [6, 7, 8],
    )
    assert.is(view.count, 3)
  }
  assert.equal(writer.view.excess(100), [])
})

test('the limit of all partitions takes from those that went over it in turn, and leaves each its newest', async () => {
  const { view } = await setUp({ latestMs: 0 }, { producersMax: 4 })
  const [quiet, a, b] = [partitionOf(1), partitionOf(2), partitionOf(3)] as const
  for (let id = 1; id <= 3; id++) view.appended(quiet, batchOf(id, 0))
  for (let id = 11; id <= 14; id++) view.appended(a, batchOf(id, 0))
  for (let id = 21; id <= 22; id++) view.appended(b, batchOf(id, 0))
  const names = view.excess(100).map(([logId, id]) => [logId, id])
  assert.equal(names, [
    [2, 11],
    [3, 21],
    [2, 12],
    [2, 13],
  ])
  assert.is(view.excess(2).length, 2, 'in parts')
})

test('a partition that is gone has no producers over the limit', async () => {
  const { view, partition } = await setUp({ latestMs: 0 }, { producersPerPartitionMax: 2 })
  for (let id = 1; id <= 5; id++) view.appended(partition, batchOf(id, 0))
  view.dropped(partition)
  assert.equal([view.excess(100), view.count], [[], 0])
})

test.run()
