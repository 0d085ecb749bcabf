import type { Campaign } from '../campaign.js'
import { loopVolumeUnavailable } from '../machine/loop_volume.js'
import { runPowerTrial } from '../trial/crash_trial.js'
import { queuesPlan } from './queues.js'

/** Power cuts under queue groups: everything that was not synced is gone. */
export const queuesPower: Campaign = {
  name: 'queues-power',
  title: 'loss of power under workers, dead letters, delayed messages and transactions',
  rounds: { full: 5, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  round: (context) => runPowerTrial(context, queuesPlan),
}
