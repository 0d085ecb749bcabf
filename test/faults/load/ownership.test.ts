import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { percentile } from '../figures.js'
import { Ownership } from './ownership.js'

const test = suite('faults/load/ownership')

test('one owner after the other is no finding', () => {
  const ownership = new Ownership(2)
  ownership.assigned('a', [0, 1], 10)
  ownership.delivered('a', 0, 'x', 11, 12)
  ownership.revoked('a', [0], 20)
  ownership.assigned('b', [0], 21)
  ownership.delivered('b', 0, 'y', 15, 22)
  assert.equal(ownership.problems, [])
  assert.equal(ownership.owners(30), [1, 1])
  assert.equal(
    ownership.unmovedMs,
    [1],
    'a message that was in flight while the partition moved does not count',
  )
})

test('two owners at a time are found, and deliveries to a member that does not own the partition', () => {
  const ownership = new Ownership(1)
  ownership.assigned('a', [0], 10)
  ownership.assigned('b', [0], 20)
  assert.is(ownership.problems.length, 1)
  assert.equal(ownership.owners(21), [2])
  ownership.ended('a', 25)
  ownership.delivered('a', 0, 'x', 11, 26)
  assert.is(ownership.problems.length, 2)
  assert.is(ownership.values.get('x'), 1)
})

test('percentiles are measured values', () => {
  assert.equal(
    [0, 0.5, 0.99, 1].map((share) => percentile([4, 1, 3, 2], share)),
    [1, 2, 4, 4],
  )
  assert.is(percentile([], 0.5), 0)
})

test.run()
