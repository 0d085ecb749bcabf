import * as assert from 'uvu/assert'
import { type FetchBudget, isHungry, planFetch, shareBytes } from '../../../client/consumer/fetch_plan.js'
import { suite } from '../../helpers/suite.js'

const test = suite('client/consumer/fetch_plan')

const kib = 1024
const mib = 1024 * kib
const idle: FetchBudget = {
  bufferBytesMax: 16 * mib,
  bufferedBytes: 0,
  requestedBytes: 0,
  fetchBytesMax: 4 * mib,
  fetchWaitMs: 500,
  openFetches: 0,
  openFetchesMax: 4,
}

test('the buffer is shared evenly, but not below 64 KiB each', () => {
  assert.is(shareBytes(16 * mib, 1), 16 * mib)
  assert.is(shareBytes(16 * mib, 8), 2 * mib)
  assert.is(shareBytes(16 * mib, 10_000), 64 * kib)
})

test('a partition is hungry once half of its share is delivered', () => {
  assert.is(isHungry(0, 100), true)
  assert.is(isHungry(50, 100), true)
  assert.is(isHungry(51, 100), false)
})

test('a fetch requests no more than the demand, the limit of a fetch, and half of the free memory', () => {
  assert.is(planFetch(idle, 100 * kib)?.bytesMax, 100 * kib)
  assert.is(planFetch(idle, 100 * mib)?.bytesMax, 4 * mib)
  assert.is(
    planFetch({ ...idle, bufferedBytes: 10 * mib, requestedBytes: 4 * mib }, 100 * mib)?.bytesMax,
    mib,
  )
})

test('no fetch over the limit of open fetches, and none for a few bytes while another is open', () => {
  assert.is(planFetch({ ...idle, openFetches: 4 }, mib), undefined)
  assert.is(planFetch({ ...idle, openFetches: 1, bufferedBytes: 16 * mib - kib }, mib), undefined)
})

test('memory full of paused partitions does not stop the others', () => {
  assert.is(planFetch({ ...idle, bufferedBytes: 20 * mib }, mib)?.bytesMax, 32 * kib)
})

test('the last open fetch waits shortly, since other partitions may need a fetch', () => {
  assert.is(planFetch({ ...idle, openFetches: 2 }, mib)?.waitMs, 500)
  assert.is(planFetch({ ...idle, openFetches: 3 }, mib)?.waitMs, 20)
})

test.run()
