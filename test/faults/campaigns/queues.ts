import type { Campaign } from '../campaign.js'
import { runQueueTrial } from '../trial/queue_trial.js'

/** Kill -9 under queue groups: leases, retries, dead letters, delayed messages and transactions. */
export const queues: Campaign = {
  name: 'queues',
  title: 'kill -9 of the broker under workers, dead letters, delayed messages and transactions',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: async () => undefined,
  async round(context) {
    const dir = await context.tempDir()
    return runQueueTrial(context, { dir }, 'kill -9', (broker) => broker.kill())
  },
}
