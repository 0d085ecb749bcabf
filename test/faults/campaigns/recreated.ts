import type { Campaign } from '../campaign.js'
import { type CrashPlan, runKillTrial } from '../trial/crash_trial.js'
import { RecreatedTopics } from '../workloads/recreated_topics.js'

export const recreatedPlan: CrashPlan = {
  start: (context, server) => RecreatedTopics.start(context, server),
  crashes: { full: 5, short: 2 },
  operationsMax: 4_000,
  pauseMs: ({ rng }) => (rng.chance(0.4) ? rng.int(1_000, 5_000) : rng.int(0, 20)),
}

/** Kill -9 under a topic that is deleted and created again while clients publish to it and read it. */
export const recreated: Campaign = {
  name: 'recreated',
  title: 'kill -9 of the broker under a topic that is deleted and created again and again',
  rounds: { full: 20, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  round: (context) => runKillTrial(context, recreatedPlan),
}
