import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { type DelayedHistory, type DelayedRead, judgeDelayed, type ScheduleRead } from './delayed.js'

const test = suite('faults/judges/delayed')

/** Two lives of a broker; messages due every 100 ms that came 5 ms late; a schedule that was read until second 29. */
function goodHistory(): DelayedHistory {
  const values = Array.from({ length: 200 }, (_, index) => ({
    value: `m${index}`,
    dueMs: 1_000 + index * 100,
  }))
  return {
    published: values.map(({ value, dueMs }) => ({ value, dueMs, outcome: 'ok', knownMs: 900 })),
    read: values.map(({ value, dueMs }, index) => ({
      value,
      partition: index % 3,
      offset: Math.floor(index / 3),
      readMs: dueMs + 5,
    })),
    schedules: [{ name: 'all', missed: 'all', setMs: 900 }],
    ticks: Array.from({ length: 29 }, (_, index) => tick(index + 1)),
    lives: [
      { fromMs: 0, toMs: 12_000 },
      { fromMs: 12_500, toMs: 30_000 },
    ],
    ticksUntilMs: 29_000,
  }
}

function tick(second: number): ScheduleRead {
  return { value: 'all', dueMs: second * 1_000, readMs: second * 1_000 + 5, partition: 0, offset: second }
}

function without(history: DelayedHistory, value: string): DelayedHistory {
  return { ...history, read: history.read.filter((one) => one.value !== value) }
}

function readLater(history: DelayedHistory, value: string, readMs: number, offset?: number): DelayedHistory {
  const read = history.read.map((one) =>
    one.value === value ? { ...one, readMs, offset: offset ?? one.offset } : one,
  )
  return { ...history, read }
}

function readAlso(history: DelayedHistory, read: DelayedRead): DelayedHistory {
  return { ...history, read: [...history.read, read] }
}

function checksOf(history: DelayedHistory): string[] {
  return [...new Set(judgeDelayed(history).map(({ check }) => check))].sort()
}

test('a correct history has no findings', () => {
  const history = goodHistory()
  assert.equal(judgeDelayed(history), [])
  const again = history.read[4]
  assert.ok(again)
  assert.equal(judgeDelayed(readAlso(history, again)), [], 'a reader may get an offset again')
})

test('a message of unknown outcome may come or not', () => {
  const history = goodHistory()
  const published = history.published.map((one) =>
    one.value === 'm7' ? { ...one, outcome: 'unknown' as const } : one,
  )
  assert.equal(judgeDelayed({ ...history, published }), [])
  assert.equal(judgeDelayed(without({ ...history, published }, 'm7')), [])
})

test('a message that never comes is lost', () => {
  assert.equal(checksOf(without(goodHistory(), 'm20')), ['delayed-lost'])
})

test('a message that comes only after a restart is found as skipped', () => {
  assert.equal(checksOf(readLater(goodHistory(), 'm20', 12_600, 900)), ['delayed-passed-over'])
})

test('a message that is read late, but is at the right place, is no finding', () => {
  assert.equal(checksOf(readLater(goodHistory(), 'm20', 12_600)), [])
})

test('a message that was due shortly before a crash may come after it', () => {
  assert.equal(checksOf(readLater(goodHistory(), 'm105', 13_000, 40)), [])
})

test('a message that comes 400 ms before its due time is early', () => {
  assert.equal(checksOf(readLater(goodHistory(), 'm50', 1_000 + 5_000 - 400)), ['delayed-early'])
})

test('a message at two offsets came twice', () => {
  const twice = readAlso(goodHistory(), { value: 'm9', partition: 0, offset: 900, readMs: 15_000 })
  assert.equal(checksOf(twice), ['delayed-twice'])
})

test('a message that nobody published, and one whose cancellation was confirmed, must not come', () => {
  const phantom = readAlso(goodHistory(), { value: 'x', partition: 0, offset: 900, readMs: 15_000 })
  assert.equal(checksOf(phantom), ['delayed-phantom'])
  const history = goodHistory()
  const published = history.published.map((one) =>
    one.value === 'm7' ? { ...one, outcome: 'cancelled' as const } : one,
  )
  assert.equal(checksOf({ ...history, published }), ['cancelled-fired'])
})

test('a due time of a schedule that is missing, doubled or early is found', () => {
  const history = goodHistory()
  const missing = { ...history, ticks: history.ticks.filter(({ dueMs }) => dueMs !== 12_000) }
  assert.equal(checksOf(missing), ['schedule-lost'])
  const twice = { ...history, ticks: [...history.ticks, { ...tick(5), offset: 77 }] }
  assert.equal(checksOf(twice), ['schedule-twice'])
  const early = { ...history, ticks: history.ticks.map((one) => ({ ...one, readMs: one.readMs - 400 })) }
  assert.equal(checksOf(early), ['schedule-early'])
})

test('a schedule with missed "skip" may miss times near a crash, and no others', () => {
  const history = goodHistory()
  const skips = (dueMs: number): DelayedHistory => ({
    ...history,
    schedules: [{ name: 'all', missed: 'skip', setMs: 900 }],
    ticks: history.ticks.filter((one) => one.dueMs !== dueMs),
  })
  assert.equal(checksOf(skips(12_000)), [])
  assert.equal(checksOf(skips(20_000)), ['schedule-lost'])
})

test.run()
