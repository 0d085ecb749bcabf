import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { LatencyHistogram, sendAtRate } from '../../bench/lib/latency.js'
import { median, spread } from '../../bench/lib/statistics.js'
import { reachesTarget, table } from '../../bench/lib/table.js'
import { monotonicMs } from '../../bench/lib/worker.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/figures')

test('takes the median of odd and even numbers of values, in any order', () => {
  assert.is(median([30, 10, 20]), 20)
  assert.is(median([40, 10, 20, 30]), 25)
  assert.ok(Number.isNaN(median([])))
  assert.is(spread([90, 100, 120]), 0.3)
})

test('shows ratio to the pipe and whether the target is reached', () => {
  const figure = { unit: 'messages/s', better: 'higher', values: [500], details: {} } as const
  const lines = table([{ name: 'publish', ...figure, pipe: 1_000, target: 600 }]).split('\n')
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

test.run()
