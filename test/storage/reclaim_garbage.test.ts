import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import {
  decodeFreed,
  decodeGarbage,
  encodeFreed,
  encodeGarbage,
  joinFreed,
  piecesOf,
  worthwhile,
} from '../../storage/reclaim_garbage.js'
import { suite } from '../helpers/suite.js'

const test = suite('storage/reclaim_garbage')

const freed = (from: number, to: number, bytes: number) => ({ from, to, bytes })

test('the format of a garbage record does not change', () => {
  const parts = [
    { position: 1, bytes: 65_536 },
    { position: 2 ** 40 + 5, bytes: 300 },
  ]
  const record = encodeGarbage(parts)
  assert.is(record.toString('hex'), '010000000000000000000100' + '05000000000100002c010000')
  assert.equal(decodeGarbage(record), parts)
  assert.equal(decodeGarbage(new Uint8Array(0)), [])
})

test('the format of a freed range does not change', () => {
  const value = encodeFreed(freed(7, 9, 2 ** 33))
  assert.is(value.toString('hex'), '09000000000000000000000002000000')
  assert.equal(decodeFreed(7, value), freed(7, 9, 2 ** 33))
})

test('values of a wrong size are corrupt', () => {
  const isCorrupt = (error: unknown): boolean => isMillraceError(error, 'CORRUPT')
  assert.throws(() => decodeGarbage(new Uint8Array(13)), isCorrupt)
  assert.throws(() => decodeGarbage(new Uint8Array(12 * 65)), isCorrupt)
  assert.throws(() => decodeFreed(1, new Uint8Array(15)), isCorrupt)
})

test('ranges join over small gaps and stay apart over large ones', () => {
  const ranges = [freed(50, 60, 5), freed(1, 10, 1), freed(12, 20, 2), freed(15, 18, 3)]
  assert.equal(joinFreed(ranges, 2, 10), [freed(1, 20, 6), freed(50, 60, 5)])
  assert.equal(joinFreed([], 2, 10), [])
})

test('a range that joins no other stays the same object, so that it is not written again', () => {
  const range = freed(1, 10, 1)
  assert.is(joinFreed([range, freed(100, 100, 1)], 2, 10)[0], range)
})

test('too many ranges join over larger gaps', () => {
  const ranges = [0, 1, 2, 3].map((n) => freed(n * 100, n * 100 + (n === 3 ? 50 : 1), 1))
  ranges[3] = freed(1_000, 1_001, 1)
  const joined = joinFreed(ranges, 1, 2)
  assert.equal(joined, [freed(0, 201, 3), freed(1_000, 1_001, 1)])
})

test('ranges that free little beside the others are not worth a compaction', () => {
  const ranges = [freed(1, 2, 10), freed(100, 200, 600), freed(300, 400, 390)]
  assert.equal(worthwhile(ranges, 0.95), [ranges[1], ranges[2]])
  assert.equal(worthwhile(ranges, 1), ranges)
  assert.equal(worthwhile([], 1), [])
})

test('pieces cover a range without overlap', () => {
  assert.equal(piecesOf(freed(1, 10, 100), 1_000), [[1, 10]])
  assert.equal(piecesOf(freed(1, 10, 1_000), 400), [
    [1, 4],
    [5, 8],
    [9, 10],
  ])
  assert.equal(piecesOf(freed(5, 6, 1_000_000), 1), [
    [5, 5],
    [6, 6],
  ])
})

test.run()
