import type { Campaign } from '../campaign.js'
import { loopVolumeUnavailable } from '../machine/loop_volume.js'
import { runPowerTrial } from '../trial/crash_trial.js'
import { leasesPlan } from './leases.js'

/** Power cuts under queue groups whose replies are held back, lost and cut. */
export const leasesPower: Campaign = {
  name: 'leases-power',
  title: 'loss of power under workers whose replies are held back, lost and cut',
  rounds: { full: 10, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  round: (context) => runPowerTrial(context, leasesPlan),
}
