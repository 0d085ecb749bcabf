import * as assert from 'uvu/assert'
import { formatBytes, formatDuration } from '../../cli/output.js'
import { readableLine } from '../../cli/readable_log.js'
import { startPosition } from '../../cli/start_position.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/output')

test('shows bytes and durations in readable units', () => {
  for (const [bytes, text] of [
    [-1, 'unlimited'],
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.00 kB'],
    [999_999, '1.00 MB'],
    [4_194_304, '4.19 MB'],
    [5e15, '5.00 PB'],
  ] as const) {
    assert.is(formatBytes(bytes), text)
  }
  for (const [ms, text] of [
    [-1, 'forever'],
    [0, '0 s'],
    [90_000, '1 m 30 s'],
    [604_800_000, '7 d'],
    [90_061_001, '1 d 1 h'],
  ] as const) {
    assert.is(formatDuration(ms), text)
  }
})

test('formats log lines for a terminal, with the stack of an error', () => {
  const time = Date.UTC(2026, 0, 31, 12, 34, 56, 789)
  const line = { level: 30, time, pid: 1, hostname: 'h', name: 'millrace', port: 7420, msg: 'ready' }
  assert.is(readableLine(JSON.stringify(line)), '12:34:56.789 info  ready port=7420\n')
  const failure = { level: 50, time, msg: 'failed', err: { message: 'no', stack: 'Error: no\n    at x' } }
  assert.is(readableLine(JSON.stringify(failure)), '12:34:56.789 error failed\nError: no\n    at x\n')
  assert.is(readableLine('not JSON\n'), 'not JSON\n')
})

test('parses start positions', () => {
  assert.is(startPosition('earliest'), 'earliest')
  assert.is(startPosition('42'), 42)
  assert.equal(startPosition('2026-01-31T12:00:00Z'), new Date(Date.UTC(2026, 0, 31, 12)))
  for (const wrong of ['', '-1', '1.5', 'now', '99999999999999999999', '2026-13-01']) {
    assert.throws(() => startPosition(wrong), /expected earliest, latest, an offset, or a time/)
  }
})

test.run()
