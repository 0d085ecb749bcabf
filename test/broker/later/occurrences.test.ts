import * as assert from 'uvu/assert'
import { nextDueAfter } from '../../../broker/later/cron.js'
import { type MissedPolicy, occurrencesUntil } from '../../../broker/later/occurrences.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/later/occurrences')

const secondMs = 1_000
const hourMs = 3_600_000
const startMs = Date.UTC(2026, 0, 1)

function until(nowMs: number, policy: MissedPolicy, pattern = '* * * * * *') {
  const next = (afterMs: number): number | undefined => nextDueAfter(pattern, 'UTC', afterMs)
  return occurrencesUntil(nowMs, startMs, policy, 1_000, next)
}

const times = (fromMs: number, count: number): number[] =>
  Array.from({ length: count }, (_, n) => fromMs + n * secondMs)

test('every policy makes up for due times of the last ten seconds', () => {
  for (const policy of ['skip', 'once', 'all'] as const) {
    const { dueMs, missed, nextDueMs } = until(startMs + 10 * secondMs, policy)
    assert.equal([dueMs, missed, nextDueMs], [times(startMs, 11), 0, startMs + 11 * secondMs])
  }
})

test('of missed times "skip" fires none, "once" the newest, "all" the oldest thousand', () => {
  const nowMs = startMs + hourMs
  const recent = times(nowMs - 10 * secondMs, 11)
  assert.equal(until(nowMs, 'skip'), { dueMs: recent, missed: 1_000, nextDueMs: nowMs + secondMs })
  const once = until(nowMs, 'once')
  assert.equal(once.dueMs, [nowMs - 11 * secondMs, ...recent])
  const all = until(nowMs, 'all')
  assert.equal(all.dueMs, [...times(startMs, 1_000), ...recent])
  assert.is(all.missed, 0)
  // Due in bursts, and not at all in between.
  assert.is(until(nowMs, 'once', '* 0-20,40 * * * *').dueMs[0], startMs + 41 * 60 * secondMs - secondMs)
})

/** The local hours and minutes at which a pattern is due within a day, with the hours since midnight UTC. */
function dueWithin(pattern: string, fromMs: number, untilMs: number): string[] {
  const due: string[] = []
  for (let at = nextDueAfter(pattern, 'Europe/Berlin', fromMs); at !== undefined && at < untilMs; ) {
    due.push(new Date(at).toISOString().slice(11, 16))
    at = nextDueAfter(pattern, 'Europe/Berlin', at)
  }
  return due
}

test('one time a day is due once when the clocks change, several in an hour as often as that hour comes', () => {
  const springMs = Date.UTC(2026, 2, 28, 23)
  const autumnMs = Date.UTC(2026, 9, 24, 22)
  assert.equal(dueWithin('30 2 * * *', springMs - 1, springMs + 23 * hourMs), ['01:00'])
  assert.equal(dueWithin('30 2 * * *', autumnMs - 1, autumnMs + 25 * hourMs), ['00:30'])
  assert.equal(dueWithin('15,45 2 * * *', springMs - 1, springMs + 23 * hourMs), [])
  assert.equal(dueWithin('15,45 2 * * *', autumnMs - 1, autumnMs + 25 * hourMs), [
    '00:15',
    '00:45',
    '01:15',
    '01:45',
  ])
  assert.is(dueWithin('0 * * * *', springMs - 1, springMs + 23 * hourMs).length, 23)
  assert.is(dueWithin('0 * * * *', autumnMs - 1, autumnMs + 25 * hourMs).length, 25)
})

test.run()
