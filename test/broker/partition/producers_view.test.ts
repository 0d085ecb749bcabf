import * as assert from 'uvu/assert'
import type { Partition } from '../../../broker/partition/partition.js'
import { ProducerTable } from '../../../broker/partition/producers.js'
import {
  encodeProducersForgotten,
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

async function setUp(clock: { latestMs: number }) {
  const state = await State.open(await new FaultyEngines().open('state'))
  const producers = new ProducerTable()
  const partition = { log: { id: 7 }, producers, producersIfAny: producers } as unknown as Partition
  const limits = { producersPerPartitionMax: 10, producersMax: 10, producerIdleMs: idleMs, clock }
  const view = new ProducersView(state, limits)
  const forget = (silent: readonly SilentProducer[]): void =>
    view.applyForgotten(encodeProducersForgotten(silent), (logId) => (logId === 7 ? partition : undefined))
  return { view, partition, producers, forget }
}

test('silence is found by the clock, and only the journal forgets a producer', async () => {
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

test('a producer that has published since its silence was found stays', async () => {
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

test.run()
