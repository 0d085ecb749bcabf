import * as assert from 'uvu/assert'
import {
  decodeProducerState,
  encodeProducerState,
  ProducerTable,
  rememberedBatchesMax,
} from '../../../broker/partition/producers.js'
import { type BatchHeader, readBatchHeader } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'
import { batchOf } from '../harness.js'

const test = suite('broker/partition/producers')
const producerId = 7

function header(baseSequence: number, recordCount: number, producerEpoch = 0, baseOffset = 0): BatchHeader {
  const values = Array.from({ length: recordCount }, () => 'v')
  const batch = batchOf(values, { producerId, producerEpoch, baseSequence })
  return { ...readBatchHeader(batch), baseOffset }
}

test('appends the expected sequence, and refuses one that arrives too early', () => {
  const table = new ProducerTable()
  assert.equal(table.check(header(0, 3)), { kind: 'append' })
  table.applied(header(0, 3), 0)
  assert.equal(table.check(header(3, 1)), { kind: 'append' })
  assert.equal(table.check(header(4, 1)), { kind: 'gap', expected: 3 })
})

test('an unknown producer starts at sequence 0', () => {
  const table = new ProducerTable()
  assert.equal(table.check(header(5, 1)), { kind: 'gap', expected: 0 })
})

test('answers the last five batches with their offsets, and forgets older ones', () => {
  const table = new ProducerTable()
  for (let i = 0; i < 8; i++) table.applied(header(i * 2, 2, 0, 100 + i * 2), 0)
  for (let i = 8 - rememberedBatchesMax; i < 8; i++) {
    const verdict = table.check(header(i * 2, 2))
    assert.is(verdict.kind, 'duplicate')
    if (verdict.kind === 'duplicate') assert.is(verdict.batch.baseOffset, 100 + i * 2)
  }
  assert.equal(table.check(header(0, 2)), { kind: 'forgotten' })
})

test('a batch that starts before the expected sequence and ends after it is a gap, not a duplicate', () => {
  const table = new ProducerTable()
  table.applied(header(0, 4), 0)
  assert.equal(table.check(header(2, 4)), { kind: 'gap', expected: 4 })
})

test('counts pending batches, and removes them when they are rolled back or withdrawn', () => {
  const table = new ProducerTable()
  const commit = { committed: Promise.resolve() }
  table.accept(header(0, 2), commit)
  assert.equal(table.check(header(2, 2)), { kind: 'append' })
  const second = table.accept(header(2, 2), commit)
  const verdict = table.check(header(2, 2))
  assert.is(verdict.kind, 'duplicate')
  if (verdict.kind === 'duplicate') assert.is(verdict.pending, second)
  table.withdraw(second)
  assert.equal(table.check(header(4, 2)), { kind: 'gap', expected: 2 })
  table.rolledBack()
  assert.equal(table.check(header(0, 2)), { kind: 'append' })
})

test('a higher epoch begins at 0 and fences the lower one', () => {
  const table = new ProducerTable()
  table.applied(header(0, 3, 1), 0)
  assert.equal(table.check(header(0, 1, 0)), { kind: 'fenced', epoch: 1 })
  assert.equal(table.check(header(3, 1, 2)), { kind: 'gap', expected: 0 })
  assert.equal(table.check(header(0, 1, 2)), { kind: 'append' })
  table.applied(header(0, 1, 2), 0)
  assert.equal(table.check(header(3, 1, 1)), { kind: 'fenced', epoch: 2 })
})

test('sequences wrap around at 2^32', () => {
  const table = new ProducerTable()
  const last = 2 ** 32 - 2
  table.load({ producerId, epoch: 0, nextSequence: last, lastUsedMs: 0, batches: [] })
  assert.equal(table.check(header(last, 4)), { kind: 'append' })
  table.applied(header(last, 4, 0, 50), 0)
  assert.is(table.get(producerId)?.nextSequence, 2)
  assert.equal(table.check(header(2, 1)), { kind: 'append' })
  assert.is(table.check(header(last, 4)).kind, 'duplicate')
  assert.equal(table.check(header(3, 1)), { kind: 'gap', expected: 2 })
})

test('a stored state is read back, byte for byte as it is written down', () => {
  const state = {
    producerId: 2 ** 40 + 5,
    epoch: 3,
    nextSequence: 9,
    lastUsedMs: 1_700_000_000_000,
    batches: [{ baseSequence: 4, recordCount: 5, baseOffset: 2 ** 33 }],
  }
  const bytes = encodeProducerState(state)
  assert.is(
    Buffer.from(bytes).toString('hex'),
    '0050000000007042' +
      '00008056febc7842' +
      '03000000' +
      '09000000' +
      '04000000' +
      '05000000' +
      '0000000000000042',
  )
  assert.equal(decodeProducerState(bytes), state)
})

test.run()
