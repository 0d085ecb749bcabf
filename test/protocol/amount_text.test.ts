import * as assert from 'uvu/assert'
import { bytesText, durationText, limitText, timeText } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/amount_text')

test('a duration is text with readable units', () => {
  const cases: readonly (readonly [ms: number, text: string])[] = [
    [0, '0 ms'],
    [0.4, '0 ms'],
    [500, '500 ms'],
    [1_000, '1 s'],
    [2_500, '2.5 s'],
    [90_000, '1 min 30 s'],
    [60_000, '1 min'],
    [86_400_000, '1 day'],
    [31_622_400_000, '366 days'],
    [31_622_400_001, '366 days 1 ms'],
    [694_861_500, '8 days 1 h 1 min 1.5 s'],
    [-5_000, '-5 s'],
    [Number.NaN, 'NaN ms'],
    [Number.POSITIVE_INFINITY, 'Infinity ms'],
  ]
  for (const [ms, text] of cases) assert.is(durationText(ms), text)
})

test('a point in time is text, also when a date cannot have it', () => {
  assert.is(timeText(0), '1970-01-01T00:00:00.000Z')
  assert.is(timeText(9e15), '9000000000000000 ms since 1970')
})

test('a limit is a number, with its unit if the name of the field has one', () => {
  assert.is(limitText('leaseMs', 1_000), '1000 (1 s)')
  assert.is(limitText('settings.batchBytesMax', 4_194_304), '4194304 (4 MiB)')
  assert.is(limitText('batchBytes', 1), '1')
  assert.is(limitText('committedAtMs', 5_000), '5000')
  assert.is(limitText('partitions', 10_000), '10000')
  assert.is(limitText('retentionMs', Number.MAX_SAFE_INTEGER), String(Number.MAX_SAFE_INTEGER))
})

test('a size is text with units, and with its bytes when it is not round', () => {
  const cases: readonly (readonly [bytes: number, text: string])[] = [
    [0, '0 bytes'],
    [1, '1 byte'],
    [999, '999 bytes'],
    [1_000, '1 kB'],
    [1_024, '1 KiB'],
    [1_025, '1,025 bytes (1.00 KiB)'],
    [4_194_304, '4 MiB'],
    [4_194_305, '4,194,305 bytes (4.00 MiB)'],
    [10e9, '10 GB'],
    [1_500 * 2 ** 20, '1,500 MiB'],
    [-1_024, '-1 KiB'],
    [Number.NaN, 'NaN bytes'],
  ]
  for (const [bytes, text] of cases) assert.is(bytesText(bytes), text)
})

test.run()
