import { setTimeout as sleep } from 'node:timers/promises'
import type { Campaign } from '../campaign.js'
import { Trial } from '../trial/trial.js'

const kills = { full: 5, short: 2 }

/** Kill -9 of the broker at random times under load, several times in the life of one data folder. */
export const kill: Campaign = {
  name: 'kill',
  title: 'kill -9 of the broker at random times under load',
  rounds: { full: 60, short: 1 },
  roundDeadlineMs: 180_000,
  unavailable: async () => undefined,
  async round(context) {
    const { rng } = context
    const workload = rng.pick(['log', 'stream-groups', 'mix'])
    // Small, so that kills also hit the change of the journal to a new database.
    const broker = { settings: { journalSegmentBytes: '4MiB' } }
    const trial = await Trial.start(context, { workload, clients: 2, broker })
    for (let count = context.short ? kills.short : kills.full; count > 0; count--) {
      await trial.progress(rng.int(1, 600))
      await sleep(rng.int(0, 20))
      await trial.crash()
    }
    await trial.progress(200)
    return trial.conclude()
  },
}
