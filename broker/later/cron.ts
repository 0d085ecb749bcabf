import { Cron } from 'croner'
import { MillraceError } from '../../protocol/index.js'

/** Limit of parsed patterns in memory: each takes some kilobytes. */
const parsedMax = 100
const parsed = new Map<string, Cron>()

/**
 * The first due time of a pattern after `afterMs`, ms since 1970; undefined if there is none.
 *
 * Croner (https://croner.56k.guru) defines the patterns: five fields, or six with seconds first; with both day of month
 * and day of week, either one is enough. When the clocks change, a pattern with one hour and one minute is due exactly
 * once: after a skipped time, or at the first of two equal times. A pattern with several hours or minutes is due
 * whenever the clock shows them: not in a skipped hour, and twice in a repeated one.
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
  // Croner also accepts dates, which are not patterns.
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
