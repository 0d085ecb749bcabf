import * as assert from 'uvu/assert'
import { nextDueAfter } from '../../../broker/later/cron.js'
import { isMillraceError } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/later/cron')

function errorOf(pattern: string, timeZone = 'UTC'): string {
  try {
    return `due at ${nextDueAfter(pattern, timeZone, 0)}`
  } catch (error) {
    assert.ok(isMillraceError(error, 'BAD_SCHEDULE'))
    return (error as Error).message
  }
}

test('an error names the field of the pattern, what it has and what is allowed', () => {
  const minutes = 'expected 0 to 59, *, a list like 0,30, a range like 0-30 or a step like */5'
  const seconds = 'expected 0 to 59, *, a list like 0,30, a range like 0-30 or a step like */10'
  const cases: readonly (readonly [pattern: string, problem: string])[] = [
    ['61 * * * *', `the minute is "61", ${minutes}`],
    ['0,61 * * * *', `the minute is "61" in "0,61", ${minutes}`],
    ['1,,2 * * * *', `the minute is "" in "1,,2", ${minutes}`],
    ['*/0 * * * *', `the minute is "*/0", ${minutes}`],
    ['5-1 * * * *', `the minute is "5-1", ${minutes}`],
    ['60 * * * * *', `the second is "60", ${seconds}`],
    ['* 25 * * *', 'the hour is "25", expected 0 to 23, *,'],
    ['0 * 25 * * *', 'the hour is "25", expected 0 to 23, *,'],
    ['* * 32 * *', 'the day of the month is "32", expected 1 to 31, L (the last day), *,'],
    ['* * * FOO *', 'the month is "FOO", expected 1 to 12, JAN to DEC, *,'],
    ['* * * * 8', 'the day of the week is "8", expected 0 to 7'],
    [
      'every night',
      'it has 2 fields, expected five (minute, hour, day of the month, month, day of the week)',
    ],
    ['', 'it has 0 fields, expected five'],
    ['hourly', 'it has 1 field, expected five'],
    ['* * * * * * *', 'it has 7 fields, expected five'],
    ['2026-01-31T12:00:00Z', 'it is a time, which is due once'],
  ]
  for (const [pattern, problem] of cases) {
    const message = errorOf(pattern)
    assert.ok(
      message.startsWith(`the cron pattern ${JSON.stringify(pattern)} is not allowed: ${problem}`),
      message,
    )
    assert.not.match(message, /CronPattern|illegal|NaN/)
  }
})

test('an unknown time zone is refused with examples', () => {
  assert.match(
    errorOf('* * * * *', 'Mars/Base'),
    'the time zone "Mars/Base" is unknown, expected a name like Europe/Berlin',
  )
})

test('patterns with every allowed form are due', () => {
  for (const pattern of [
    '*/5 * * * *',
    '0 9-17 * * MON-FRI',
    '0 0 L * *',
    '0 0 * * MON#2',
    '30 0 0 1,15 JAN *',
    '@daily',
  ])
    assert.match(errorOf(pattern), /^due at \d+$/)
})

test.run()
