import type { Interval } from '../../lib/throughput.js'

/** A measured interval shorter than this is a trial, whose warm-up stays as short as it was asked for. */
const trialMs = 2_000
/** After that long, the rate of a new server with new tools grows no more. */
const warmUpMsMin = 8_000

/** The same work with a warm-up that is long enough for the compiler of a JVM. */
export function warmedUp<Work extends Interval>(work: Work): Work {
  return work.measureMs < trialMs ? work : { ...work, warmUpMs: Math.max(work.warmUpMs, warmUpMsMin) }
}
