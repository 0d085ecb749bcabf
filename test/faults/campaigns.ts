import type { Campaign } from './campaign.js'
import { drain } from './campaigns/drain.js'
import { kill } from './campaigns/kill.js'
import { power } from './campaigns/power.js'
import { zombies } from './campaigns/zombies.js'

/** All campaigns, in the order in which they are run. A new one is a file and a line here. */
export const campaigns: readonly Campaign[] = [kill, power, zombies, drain]
