import { Cron } from 'croner'
import { MillraceError } from '../../protocol/index.js'
import { cronProblem } from './cron_problem.js'

/** Limit of parsed patterns in memory: each takes some kilobytes. */
const parsedMax = 100
const mode = '5-or-6-parts'
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
    throw new MillraceError(
      'BAD_SCHEDULE',
      `the time zone ${JSON.stringify(timeZone)} is unknown, expected a name like Europe/Berlin or UTC`,
      { cause },
    )
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
  let cause: unknown
  if (!isTime) {
    try {
      return new Cron(pattern, { timezone, mode })
    } catch (error) {
      cause = error
    }
  }
  const problem = isTime ? 'it is a time, which is due once' : cronProblem(pattern, isAllowed)
  throw new MillraceError(
    'BAD_SCHEDULE',
    `the cron pattern ${JSON.stringify(pattern)} is not allowed: ${problem}`,
    { cause },
  )
}

function isAllowed(pattern: string): boolean {
  try {
    new Cron(pattern, { mode })
    return true
  } catch {
    // The caller reports which part of the pattern is at fault.
    return false
  }
}
