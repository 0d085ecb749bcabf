import type { Campaign } from '../campaign.js'
import { type CrashPlan, runKillTrial } from '../trial/crash_trial.js'
import { HeldLeases } from '../workloads/held_leases.js'

export const leasesPlan: CrashPlan = {
  start: (context, server) => HeldLeases.start(context, server),
  crashes: { full: 5, short: 2 },
  operationsMax: 1_000,
  pauseMs: ({ rng }) => (rng.chance(0.3) ? rng.int(2_000, 6_000) : rng.int(0, 20)),
}

/** Kill -9 under queue groups whose replies are held back, lost and cut: no attempt may be counted that nobody saw. */
export const leases: Campaign = {
  name: 'leases',
  title: 'kill -9 of the broker under workers whose replies are held back, lost and cut',
  rounds: { full: 20, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  round: (context) => runKillTrial(context, leasesPlan),
}
