import type { Campaign } from '../campaign.js'
import { loopVolumeUnavailable } from '../machine/loop_volume.js'
import { runPowerTrial } from '../trial/crash_trial.js'
import { recreatedPlan } from './recreated.js'

/** Power cuts under a topic that is deleted and created again while clients publish to it and read it. */
export const recreatedPower: Campaign = {
  name: 'recreated-power',
  title: 'loss of power under a topic that is deleted and created again and again',
  rounds: { full: 10, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: loopVolumeUnavailable,
  round: (context) => runPowerTrial(context, recreatedPlan),
}
