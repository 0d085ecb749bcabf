import * as assert from 'uvu/assert'
import { LivenessClock } from '../../broker/liveness_clock.js'
import { suite } from '../helpers/suite.js'

const test = suite('broker/liveness_clock')

test('follows the monotonic clock between ticks', () => {
  let realMs = 5_000
  const clock = new LivenessClock(1_000, () => realMs)
  assert.is(clock.nowMs, 0)
  realMs += 250
  assert.is(clock.nowMs, 250)
  clock.tick()
  realMs += 250
  clock.tick()
  assert.is(clock.nowMs, 500)
})

test('stops while the process is suspended', () => {
  let realMs = 0
  const clock = new LivenessClock(1_000, () => realMs)
  realMs += 60_000
  assert.is(clock.nowMs, 1_000)
  clock.tick()
  assert.is(clock.nowMs, 1_000)
  realMs += 10
  assert.is(clock.nowMs, 1_010)
})

test.run()
