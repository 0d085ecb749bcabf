/** A due time that nothing was made of for so long is missed: the broker was down, or could not write. */
export const missedAfterMs = 10_000

export type MissedPolicy = 'skip' | 'once' | 'all'

/** What a schedule has to make up for, and do, at a time. */
export interface Occurrences {
  /** Due times of which messages are made, in order. */
  readonly dueMs: readonly number[]
  /** Due times that were missed and of which no message is made; counted up to a limit. */
  readonly missed: number
  /** When it is due next; undefined: never again. */
  readonly nextDueMs: number | undefined
}

/**
 * Decides about the due times from `nextDueMs` up to now. Those of the last ten seconds are fired each; of those before
 * them policy "all" makes up for each (the oldest `missedMax`), "once" for the newest, "skip" for none.
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
      // Far more were missed than anyone wants to know exactly.
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

/** The last due time before a time, halving the range that it is in: a pattern can only be asked forwards. */
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
