/** A due time counts as missed after this time: the broker was down, or could not write. */
export const missedAfterMs = 10_000

export type MissedPolicy = 'skip' | 'once' | 'all'

/** The due times of a schedule to process at a time. */
export interface Occurrences {
  /** Due times that get a message, in order. */
  readonly dueMs: readonly number[]
  /** Number of missed due times without a message; counted up to a limit. */
  readonly missed: number
  /** The next due time; undefined: none. */
  readonly nextDueMs: number | undefined
}

/**
 * Classifies the due times from `nextDueMs` to now. Every due time of the last ten seconds fires. Of the earlier ones,
 * policy "all" fires each (the oldest `missedMax`), "once" the newest, "skip" none.
 * @param next the due time after another; undefined: none
 */
export function occurrencesUntil(
  nowMs: number,
  nextDueMs: number,
  policy: MissedPolicy,
  missedMax: number,
  next: (afterMs: number) => number | undefined,
): Occurrences {
  const missed: number[] = []
  const missedEndMs = nowMs - missedAfterMs
  let newest: number | undefined
  let at: number | undefined = nextDueMs
  for (; at !== undefined && at < missedEndMs; at = next(at)) {
    newest = at
    if (missed.length === missedMax) {
      // An exact count of more missed times is not useful.
      if (policy === 'once') newest = lastBefore(missedEndMs, at, next)
      at = next(missedEndMs - 1)
      break
    }
    missed.push(at)
  }
  const once = newest === undefined ? [] : [newest]
  const made = policy === 'all' ? missed : policy === 'once' ? once : []
  const due = [...made]
  for (; at !== undefined && at <= nowMs; at = next(at)) due.push(at)
  return { dueMs: due, missed: missed.length - made.length, nextDueMs: at }
}

/** The last due time before a time, by bisection: a pattern can only be evaluated forwards. */
function lastBefore(endMs: number, dueMs: number, next: (afterMs: number) => number | undefined): number {
  let last = dueMs
  for (let high = endMs; high - last > 1; ) {
    const middle = Math.floor((last + high) / 2)
    const found = next(middle - 1) ?? endMs
    if (found < endMs) last = found
    else high = middle
  }
  return last
}
