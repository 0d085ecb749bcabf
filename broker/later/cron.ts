import { Cron } from 'croner'
import { MillraceError } from '../../protocol/index.js'

/** Patterns are parsed to tables of some kilobytes, so not all are kept. */
const parsedMax = 100
const parsed = new Map<string, Cron>()

/**
 * The first time after `afterMs` at which a pattern is due, ms since 1970; undefined when there is none.
 *
 * Croner decides (https://croner.56k.guru): five fields, or six with seconds in front; where both day of month and day of
 * week are given, either will do. When the clocks change, a pattern with one hour and one minute is due once: when a time
 * that is skipped has been skipped, and at the first of two. One with several is due as often as its hours come: not at all
 * in one that is skipped, twice in one that comes twice.
 * @throws MillraceError BAD_SCHEDULE
 */
export function nextDueAfter(pattern: string, timeZone: string, afterMs: number): number | undefined {
  const cron = cronOf(pattern, timeZone)
  try {
    return cron.nextRun(new Date(afterMs))?.getTime()
  } catch (cause) {
    throw new MillraceError('BAD_SCHEDULE', `the time zone ${JSON.stringify(timeZone)} is unknown`, { cause })
  }
}

function cronOf(pattern: string, timeZone: string): Cron {
  const key = `${timeZone} ${pattern}`
  const known = parsed.get(key)
  if (known !== undefined) return known
  const cron = parse(pattern, timeZone)
  const [oldest] = parsed.keys()
  if (parsed.size >= parsedMax && oldest !== undefined) parsed.delete(oldest)
  parsed.set(key, cron)
  return cron
}

function parse(pattern: string, timezone: string): Cron {
  // Croner takes times as well, which are no patterns.
  const isTime = /^\d{4}-/.test(pattern.trim())
  try {
    if (isTime) throw new Error('it is a time')
    return new Cron(pattern, { timezone, mode: '5-or-6-parts' })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.replace(/^\w+: /, '') : String(cause)
    throw new MillraceError(
      'BAD_SCHEDULE',
      `the cron pattern ${JSON.stringify(pattern)} can't be read: ${reason}`,
      { cause },
    )
  }
}
