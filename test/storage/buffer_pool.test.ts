import * as assert from 'uvu/assert'
import { BufferPool, SharedBuffer } from '../../storage/buffer_pool.js'
import { suite } from '../helpers/suite.js'

const test = suite('storage/buffer_pool')

test('a returned buffer is reused for similar sizes', () => {
  const pool = new BufferPool(1_000_000)
  const first = pool.take(65_600)
  assert.is(first.length, 65_600)
  pool.give(first)
  assert.ok(pool.freeBytes >= 65_600 && pool.freeBytes < 65_600 * 1.15)
  const again = pool.take(65_700)
  assert.is(again.length, 65_700)
  assert.is(again.buffer, first.buffer)
  assert.is(pool.freeBytes, 0)
  assert.is.not(pool.take(65_700).buffer, first.buffer)
})

test('it keeps buffers up to its limit, and no small ones', () => {
  const pool = new BufferPool(150_000)
  const buffers = Array.from({ length: 4 }, () => pool.take(65_536))
  for (const buffer of buffers) pool.give(buffer)
  assert.is(pool.freeBytes, 2 * 65_536)
  const small = pool.take(100)
  assert.is(small.length, 100)
  pool.give(small)
  assert.is(pool.freeBytes, 2 * 65_536)
})

test('every size fits into its buffer, with little waste', () => {
  const pool = new BufferPool(0)
  for (let bytes = 4_096; bytes < 20_000_000; bytes = Math.floor(bytes * 1.01) + 1) {
    const buffer = pool.take(bytes)
    assert.is(buffer.length, bytes)
    assert.ok(buffer.buffer.byteLength >= bytes && buffer.buffer.byteLength <= bytes * 1.126, `${bytes}`)
  }
})

test('a shared buffer goes back with its last user', () => {
  const pool = new BufferPool(1_000_000)
  const shared = new SharedBuffer(pool, 10_000)
  shared.retain()
  shared.release()
  assert.is(pool.freeBytes, 0)
  shared.release()
  assert.ok(pool.freeBytes >= 10_000)
})

test.run()
