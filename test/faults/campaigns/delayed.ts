import type { Campaign } from '../campaign.js'
import { type CrashPlan, runKillTrial } from '../trial/crash_trial.js'
import { DelayedBursts } from '../workloads/delayed_bursts.js'

export const delayedPlan: CrashPlan = {
  start: (context, server) => DelayedBursts.start(context, server),
  crashes: { full: 5, short: 2 },
  operationsMax: 4_000,
  // Now and then the broker lives long enough to pass over a message: a restart would bring it.
  pauseMs: ({ rng }) => (rng.chance(0.4) ? rng.int(4_000, 8_000) : rng.int(0, 20)),
}

/** Kill -9 under delayed messages that come in bursts, and schedules. */
export const delayed: Campaign = {
  name: 'delayed',
  title: 'kill -9 of the broker under bursts of delayed messages and schedules',
  rounds: { full: 20, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  round: (context) => runKillTrial(context, delayedPlan),
}
