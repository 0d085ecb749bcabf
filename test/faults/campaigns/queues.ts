import type { Campaign } from '../campaign.js'
import { type CrashPlan, runKillTrial } from '../trial/crash_trial.js'
import { QueueWork } from '../workloads/queue_work.js'

export const queuesPlan: CrashPlan = {
  start: (context, server) => QueueWork.start(context, server),
  crashes: { full: 20, short: 5 },
  operationsMax: 400,
}

/** Kill -9 under queue groups: leases, retries, dead letters, delayed messages and transactions. */
export const queues: Campaign = {
  name: 'queues',
  title: 'kill -9 of the broker under workers, dead letters, delayed messages and transactions',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  round: (context) => runKillTrial(context, queuesPlan),
}
