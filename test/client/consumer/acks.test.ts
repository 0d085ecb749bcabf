import * as assert from 'uvu/assert'
import { type AckRun, AckWindow } from '../../../client/consumer/acks.js'
import { suite } from '../../helpers/suite.js'

const test = suite('client/consumer/acks')

function deliver(window: AckWindow, firstOffset: number, count: number): AckRun {
  const run = window.open(firstOffset, count)
  run.delivered(count)
  return run
}

test('nothing is committable beyond the start before the first acknowledgement', () => {
  const window = new AckWindow(40)
  deliver(window, 40, 3)
  assert.is(window.committable, 40)
  assert.is(window.unacked, 3)
})

test('acknowledgements in order move the committable offset one by one', () => {
  const window = new AckWindow(40)
  const run = deliver(window, 40, 3)
  run.ack(40)
  assert.is(window.committable, 41)
  run.ack(41)
  run.ack(42)
  assert.is(window.committable, 43)
  assert.is(window.unacked, 0)
})

test('the committable offset never passes a gap and closes it at once', () => {
  const window = new AckWindow(0)
  const run = deliver(window, 0, 5)
  run.ack(4)
  run.ack(1)
  run.ack(2)
  assert.is(window.committable, 0)
  run.ack(0)
  assert.is(window.committable, 3)
  run.ack(3)
  assert.is(window.committable, 5)
})

test('a later run waits for an earlier one', () => {
  const window = new AckWindow(0)
  const first = deliver(window, 0, 2)
  const second = deliver(window, 2, 2)
  second.ackRange(2, 4)
  assert.is(window.committable, 0)
  first.ack(0)
  assert.is(window.committable, 1)
  first.ack(1)
  assert.is(window.committable, 4)
})

test('acknowledging twice counts once', () => {
  const window = new AckWindow(0)
  const run = deliver(window, 0, 4)
  run.ack(0)
  run.ack(0)
  run.ack(2)
  run.ack(2)
  run.ackRange(0, 3)
  assert.is(window.unacked, 1)
  assert.is(window.committable, 3)
})

test('offsets that were dropped from the log count as acknowledged', () => {
  const window = new AckWindow(0)
  window.skipTo(10)
  assert.is(window.committable, 10)
  const run = deliver(window, 10, 1)
  window.skipTo(50)
  assert.is(window.committable, 10)
  run.ack(10)
  assert.is(window.committable, 50)
  const later = deliver(window, 70, 1)
  assert.is(window.committable, 70)
  later.ack(70)
  assert.is(window.committable, 71)
})

test('agrees with a plain model for random acknowledgements', ({ random }) => {
  const generator = random()
  for (let round = 0; round < 50; round++) {
    const window = new AckWindow(0)
    const runs: AckRun[] = []
    const pending: { run: AckRun; offset: number }[] = []
    const unacked = new Set<number>()
    let end = 0
    for (let step = 0; step < 300; step++) {
      if (generator.chance(0.15)) {
        const count = generator.int(1, 12)
        if (generator.chance(0.1)) end += generator.int(1, 5)
        const run = deliver(window, end, count)
        runs.push(run)
        for (let i = 0; i < count; i++) {
          pending.push({ run, offset: end + i })
          unacked.add(end + i)
        }
        end += count
      } else if (runs.length > 0 && generator.chance(0.2)) {
        const run = generator.pick(runs)
        const from = run.firstOffset + generator.int(0, run.count - 1)
        const to = generator.int(from + 1, run.endOffset)
        run.ackRange(from, to)
        for (let offset = from; offset < to; offset++) unacked.delete(offset)
      } else if (pending.length > 0) {
        const { run, offset } = generator.pick(pending.slice(0, 20))
        run.ack(offset)
        unacked.delete(offset)
        pending.splice(0, generator.int(0, 2))
      }
      assert.is(window.unacked, unacked.size)
      // A gap counts as acknowledged only once everything before it is.
      assert.is(window.committable, unacked.size === 0 ? end : Math.min(...unacked))
      const ranges = Array.from({ length: runs.length === 0 ? 0 : generator.int(0, 4) }, () => {
        const run = generator.pick(runs)
        const first = run.firstOffset + generator.int(0, run.count - 1)
        return { run, first, end: generator.int(first + 1, run.endOffset) }
      })
      const left = [...unacked].filter(
        (offset) => !ranges.some(({ first, end }) => first <= offset && offset < end),
      )
      assert.is(window.committableWith(ranges), left.length === 0 ? end : Math.min(...left))
    }
  }
})

test.run()
