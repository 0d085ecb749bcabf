import * as assert from 'uvu/assert'
import { WallClock } from '../../broker/wall_clock.js'
import { suite } from '../helpers/suite.js'

const test = suite('broker/wall_clock')

const hourMs = 3_600_000
const startMs = 1_800_000_000_000

/** A clock over hands that a test moves. */
function clockAt(wall = startMs) {
  const hands = { wall, monotonic: 5_000 }
  const clock = new WallClock(
    () => hands.wall,
    () => hands.monotonic,
  )
  const pass = (ms: number): void => {
    hands.wall += ms
    hands.monotonic += ms
    clock.earliestMs
    clock.latestMs
  }
  return { clock, hands, pass, interval: () => [clock.earliestMs - startMs, clock.latestMs - startMs] }
}

test('follows the wall clock while nobody changes it', () => {
  const { pass, interval, hands } = clockAt()
  assert.equal(interval(), [0, 0])
  pass(10 * hourMs)
  hands.wall += 900
  assert.equal(interval(), [10 * hourMs + 900, 10 * hourMs + 900], 'small corrections are taken as they come')
})

test('a jump ahead makes nothing older until it has held for as long as it is large', () => {
  const { pass, interval, hands } = clockAt()
  hands.wall += 600_000
  assert.equal(interval(), [0, 600_000])
  pass(590_000)
  assert.equal(interval(), [590_000, 1_190_000])
  pass(10_000)
  assert.equal(interval(), [1_200_000, 1_200_000])
})

test('a jump ahead that is undone leaves nothing behind', () => {
  const { pass, interval, hands } = clockAt()
  hands.wall += hourMs
  pass(1_000)
  hands.wall -= hourMs
  assert.is(interval()[0], 1_000)
  pass(hourMs + 1_000)
  assert.equal(interval(), [hourMs + 2_000, hourMs + 2_000])
})

test('a jump back makes nothing come from the future until it has held', () => {
  const { pass, interval, hands } = clockAt()
  hands.wall -= 600_000
  assert.equal(interval(), [-600_000, 0])
  pass(600_000)
  assert.equal(interval(), [0, 0])
})

test('a clock that returns from the past within the hour is accepted at once', () => {
  const { pass, interval, hands } = clockAt()
  hands.wall -= hourMs
  pass(60_000)
  hands.wall -= hourMs
  pass(60_000)
  assert.is(interval()[0], -2 * hourMs + 120_000)
  hands.wall += 2 * hourMs
  assert.equal(interval(), [120_000, 120_000])
  hands.wall += hourMs
  assert.equal(interval(), [120_000, hourMs + 120_000], 'but only to where it was')
})

test('an hour is enough for any jump', () => {
  const { pass, interval, hands } = clockAt()
  hands.wall += 1_000 * hourMs
  pass(0)
  pass(hourMs)
  assert.equal(interval(), [1_001 * hourMs, 1_001 * hourMs])
})

test('a clock that keeps jumping is not accepted sooner', () => {
  const { pass, interval, hands } = clockAt()
  for (let i = 0; i < 60; i++) {
    hands.wall += 120_000
    pass(60_000)
  }
  assert.is(interval()[0], 60 * 60_000)
})

test('the time between two processes must be accepted too', () => {
  const { clock, pass, interval } = clockAt()
  clock.wasAt(startMs - 600_000)
  assert.equal(interval(), [-600_000, 0])
  pass(600_000)
  assert.equal(interval(), [600_000, 600_000])
  clock.wasAt(startMs + 700_000)
  assert.equal(interval(), [600_000, 700_000])
})

test('a machine that sleeps again and again is followed, although no hour passes without a jump', () => {
  const { pass, interval, hands } = clockAt()
  for (let sleeps = 0; sleeps < 100; sleeps++) {
    hands.wall += hourMs
    for (let minutes = 0; minutes < 10; minutes++) pass(60_000)
  }
  const [earliestMs = 0, latestMs = 0] = interval()
  assert.is(latestMs, 100 * (hourMs + 600_000))
  assert.ok(latestMs - earliestMs <= 7 * hourMs, `${latestMs - earliestMs} ms behind`)
  pass(hourMs)
  assert.is(interval()[0], interval()[1])
})

test('a clock that drifts by more than a second between two looks is followed', () => {
  const { pass, interval, hands } = clockAt()
  for (const driftMs of [1_500, -1_500]) {
    for (let minutes = 0; minutes < 1_000; minutes++) {
      hands.wall += driftMs
      pass(60_000)
    }
    const [earliestMs = 0, latestMs = 0] = interval()
    assert.ok(latestMs - earliestMs <= 3_000, `${latestMs - earliestMs} ms between both ends`)
  }
})

test('of several jumps the undone ones are not accepted', () => {
  const { pass, interval, hands } = clockAt()
  hands.wall += 600_000
  pass(0)
  pass(300_000)
  hands.wall += hourMs
  pass(300_000)
  assert.is(interval()[0], 600_000)
  hands.wall -= hourMs
  assert.is(interval()[0], 1_200_000, 'the first has held')
})

test.run()
