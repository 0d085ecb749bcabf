import type { Campaign } from '../campaign.js'
import { loopVolumeUnavailable } from '../machine/loop_volume.js'
import { runPowerTrial } from '../trial/crash_trial.js'
import { delayedPlan } from './delayed.js'

/** Power cuts under delayed messages that come in bursts, and schedules. */
export const delayedPower: Campaign = {
  name: 'delayed-power',
  title: 'loss of power under bursts of delayed messages and schedules',
  rounds: { full: 10, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  round: (context) => runPowerTrial(context, delayedPlan),
}
