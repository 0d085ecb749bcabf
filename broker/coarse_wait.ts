/** Waits of at least this end together. */
const coarseFromMs = 2_000
/** Long waits end at multiples of this. */
const stepMs = 250

/**
 * The time of a long poll's timer, ms: at most 250 ms more than `waitMs`, and not more at all below 2 s. Idle clients have
 * very many polls that end without a result. When they end together, the process wakes up four times a second for
 * all of them, and a connection answers its polls in one write.
 * @param nowMs of the monotonic clock
 */
export function coarseWaitMs(waitMs: number, nowMs: number = performance.now()): number {
  if (waitMs < coarseFromMs) return waitMs
  return Math.ceil((nowMs + waitMs) / stepMs) * stepMs - nowMs
}
