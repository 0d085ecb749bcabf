import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { LatencyHistogram, sendAtRate } from '../../bench/lib/latency.js'
import { mannWhitneyP, median, spread } from '../../bench/lib/statistics.js'
import { drawTable, reachesTarget, shown, shownDuration, withoutEmptyColumns } from '../../bench/lib/table.js'
import { monotonicMs } from '../../bench/lib/worker.js'
import { figuresTable } from '../../bench/report/tables.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/figures')

test('takes the median of odd and even numbers of values, in any order', () => {
  assert.is(median([30, 10, 20]), 20)
  assert.is(median([40, 10, 20, 30]), 25)
  assert.ok(Number.isNaN(median([])))
  assert.is(spread([90, 100, 120]), 0.3)
  assert.is(spread([0, 0]), 0)
})

test('gives the exact p-value of the Mann-Whitney U test', () => {
  // From tables of the test: 3 against 3 without overlap gives 2/20, 4 against 4 2/70, 5 against 5 with U = 2 gives
  // 8/252.
  assert.is(mannWhitneyP([1, 2, 3], [4, 5, 6]), 2 / 20)
  assert.is(mannWhitneyP([8, 7, 6, 5], [1, 2, 3, 4]), 2 / 70)
  assert.is(mannWhitneyP([1, 2, 3, 4, 7], [5, 6, 8, 9, 10]), 8 / 252)
  assert.is(mannWhitneyP([5, 5, 5], [5, 5, 5]), 1)
  assert.ok(Number.isNaN(mannWhitneyP([], [1])))
})

test('draws tables as Markdown, without empty columns and with cells that cannot end early', () => {
  const columns = [
    { name: 'name', align: 'left' },
    { name: 'none', align: 'left' },
    { name: 'value', align: 'right' },
  ] as const
  const drawn = drawTable(withoutEmptyColumns({ columns, rows: [['a|b', '', '10']] }))
  assert.is(drawn, '| name | value |\n| ---- | ----: |\n| a\\|b |    10 |')
})

test('shows numbers with their significant digits', () => {
  assert.equal([1234567, 12.34, 1.234, 0.01234, 0].map(shown), ['1,234,567', '12.3', '1.23', '0.0123', '0'])
  assert.equal([4.4, 65, 3_660].map(shownDuration), ['4 s', '1 min 5 s', '1 h 1 min'])
})

test('shows ratio to the pipe and whether the target is reached', () => {
  const figure = { unit: 'messages/s', better: 'higher', values: [500], details: {} } as const
  const recorded = { scenario: 'publish', name: 'publish', ...figure, pipe: 1_000, target: 600 }
  const lines = drawTable(figuresTable([recorded])).split('\n')
  assert.match(lines[2] ?? '', /publish .* 500 .* 1,000 \| +0\.50 \| >= 600 \| MISSED/)
  assert.is(reachesTarget({ name: 'x', ...figure, better: 'lower', target: 600 }), true)
  assert.is(reachesTarget({ name: 'x', ...figure }), undefined)
})

test('measures latency from the intended time, so that a stall delays every message behind it', async () => {
  const histogram = new LatencyHistogram()
  const stop = new AbortController()
  const stallMs = 200
  let sent = 0
  const send = (intendedMs: number): void => {
    if (sent++ === 0) for (const end = monotonicMs() + stallMs; monotonicMs() < end; );
    histogram.recordSince(intendedMs)
    if (sent === 200) stop.abort()
  }
  await Promise.race([sendAtRate(1_000, send, stop.signal), sleep(5_000, undefined, { ref: false })])
  assert.is(sent, 200)
  const { p50Ms, maxMs } = histogram.figures()
  assert.ok(maxMs >= stallMs, `longest ${maxMs} ms`)
  assert.ok(p50Ms >= stallMs / 4, `median ${p50Ms} ms`)
})

test('sends at the rate and almost on time, and leaves no thread behind', async () => {
  const stop = new AbortController()
  const intended: number[] = []
  const lateMs: number[] = []
  const send = (intendedMs: number): void => {
    intended.push(intendedMs)
    lateMs.push(monotonicMs() - intendedMs)
    if (intended.length === 300) stop.abort()
  }
  await Promise.race([sendAtRate(1_000, send, stop.signal), sleep(5_000, undefined, { ref: false })])
  assert.is(intended.length, 300)
  assert.ok(Math.min(...lateMs) >= 0)
  const steps = intended.slice(1).map((ms, i) => ms - (intended[i] ?? 0))
  assert.ok(steps.every((ms) => Math.abs(ms - 1) < 1e-6))
  assert.not(process.getActiveResourcesInfo().includes('MessagePort'))
})

test('sends no more messages than there is room for, and keeps the intended times of waiting ones', async () => {
  const stop = new AbortController()
  const intended: number[] = []
  let room = 3
  const send = (intendedMs: number): void => {
    intended.push(intendedMs)
    room--
  }
  const startedMs = monotonicMs()
  const ended = sendAtRate(1_000, send, stop.signal, () => room > 0)
  while (room > 0) await sleep(1)
  const fullMs = monotonicMs()
  while (monotonicMs() < fullMs + 50) await sleep(1)
  assert.is(intended.length, 3)
  room = 3
  while (room > 0) await sleep(1)
  stop.abort()
  await ended
  assert.is(intended.length, 6)
  assert.ok((intended[0] ?? 0) >= startedMs)
  assert.ok(Math.abs((intended[5] ?? 0) - (intended[0] ?? 0) - 5) < 1e-6)
})

test.run()
