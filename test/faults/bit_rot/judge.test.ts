import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { judge } from './judge.js'
import type { ExpectedPartition, Observed, ObservedPartition } from './model.js'

const test = suite('faults/bit_rot/judge')

const expected: ExpectedPartition = {
  topic: 't',
  topicId: 1,
  partition: 2,
  records: ['a', 'b', 'c', 'd'],
  committedOffset: 3,
  isTrimmed: false,
  last: { batch: new Uint8Array(0), baseOffset: 2 },
}

function observed(changes: Partial<ObservedPartition> = {}, rest: Partial<Observed> = {}): Observed {
  const partition: ObservedPartition = {
    startOffset: 0,
    endOffset: 4,
    served: new Map(expected.records.map((digest, offset) => [offset, digest])),
    corrupt: new Set(),
    errors: new Map(),
    committedOffset: 3,
    repeated: 2,
    published: 4,
    ...changes,
  }
  return { partitions: [partition], reasons: [], hasTailNotice: false, ...rest }
}

const without = (...offsets: number[]) =>
  new Map(
    expected.records.map((digest, offset) => [offset, digest] as const).filter(([o]) => !offsets.includes(o)),
  )

const checksOf = (seen: Observed, afterCrash = false): string[] =>
  judge([expected], seen, afterCrash).map(({ check }) => check)

const line = (offsets: string) => `partition 2 of topic "t": offsets ${offsets} are damaged or lost`

test('finds nothing if all records are served, or the health reports the missing offsets', () => {
  assert.equal(checksOf(observed()), [])
  const damaged = { served: without(1, 2), corrupt: new Set([1, 2]) }
  assert.equal(checksOf(observed(damaged, { reasons: [line('1 to 2')] })), [])
})

test('rejects each kind of wrong answer', () => {
  assert.equal(checksOf(observed({ served: without(1).set(1, 'x') })), ['wrong-record'])
  assert.equal(checksOf(observed({ served: without().set(4, 'x') })), ['wrong-record'])
  assert.equal(checksOf(observed({ served: without(3), endOffset: 3, published: 4 })), ['silent-loss'])
  assert.equal(checksOf(observed({ served: without(1), errors: new Map([[1, 'STORAGE_FAILED']]) })), [
    'silent-loss',
  ])
  assert.equal(checksOf(observed({ published: 3 })), ['offset-reused'])
  assert.equal(checksOf(observed({ published: 'CORRUPT' })), ['publish-refused'])
  assert.equal(checksOf(observed({ committedOffset: 1 })), ['committed-offset-lost'])
  assert.equal(checksOf(observed({ repeated: 4, published: 5 })), ['duplicate-appended'])
  assert.equal(checksOf({ ...observed(), partitions: [undefined] }), ['silent-loss'])
})

test('damage counts as reported only under the right partition and offsets', () => {
  const damaged = { served: without(1, 2), corrupt: new Set([1, 2]) }
  assert.equal(checksOf(observed(damaged)), ['unreported-damage', 'unreported-damage'])
  assert.equal(checksOf(observed(damaged, { reasons: [line('1 to 1')] })), ['unreported-damage'])
  const other = line('0 to 3').replace('partition 2', 'partition 1')
  assert.equal(checksOf(observed(damaged, { reasons: [other] })).length, 2)
})

test('the last write may only be dropped after a crash, and with a log message', () => {
  const dropped = { served: without(3), endOffset: 3, published: 3, repeated: 3 }
  assert.equal(checksOf(observed(dropped, { hasTailNotice: true }), true), [])
  assert.ok(checksOf(observed(dropped, { hasTailNotice: true }), false).includes('silent-loss'))
  assert.ok(checksOf(observed(dropped), true).includes('silent-loss'))
})

test('records that retention dropped are no finding', () => {
  const trimmed = { startOffset: 2, served: without(0, 1) }
  assert.equal(checksOf(observed(trimmed)), ['silent-loss', 'silent-loss'])
  assert.equal(judge([{ ...expected, isTrimmed: true }], observed(trimmed), false), [])
})

test.run()
