import * as assert from 'uvu/assert'
import { coarseWaitMs } from '../../broker/coarse_wait.js'
import { suite } from '../helpers/suite.js'

const test = suite('broker/coarse_wait')

test('long waits that begin at different times end together, never early and at most 250 ms late', (context) => {
  const random = context.random()
  const ends = new Set<number>()
  for (let n = 0; n < 1_000; n++) {
    const nowMs = 5_000 + random.int(0, 999) + n / 1_000
    const waitMs = coarseWaitMs(10_000, nowMs)
    assert.ok(waitMs >= 10_000 && waitMs <= 10_250, `${waitMs} ms`)
    ends.add(Math.round(nowMs + waitMs))
  }
  assert.ok(ends.size <= 5, `${ends.size} ends`)
})

test('short waits are exact', () => {
  for (const waitMs of [0, 1, 20, 500, 1_999]) assert.is(coarseWaitMs(waitMs, 12_345.6), waitMs)
})

test.run()
