import type { Campaign } from './campaign.js'
import { bitRot } from './campaigns/bit_rot.js'
import { churn } from './campaigns/churn.js'
import { clock } from './campaigns/clock.js'
import { delayed } from './campaigns/delayed.js'
import { delayedPower } from './campaigns/delayed_power.js'
import { drain } from './campaigns/drain.js'
import { fastPublishers } from './campaigns/fast_publishers.js'
import { fullDisk } from './campaigns/full_disk.js'
import { hostileInput } from './campaigns/hostile_input.js'
import { idleConnections } from './campaigns/idle_connections.js'
import { ioErrors } from './campaigns/io_errors.js'
import { kill } from './campaigns/kill.js'
import { leases } from './campaigns/leases.js'
import { leasesPower } from './campaigns/leases_power.js'
import { limits } from './campaigns/limits.js'
import { linkDown } from './campaigns/link_down.js'
import { network } from './campaigns/network.js'
import { power } from './campaigns/power.js'
import { queues } from './campaigns/queues.js'
import { queuesPower } from './campaigns/queues_power.js'
import { recreated } from './campaigns/recreated.js'
import { recreatedPower } from './campaigns/recreated_power.js'
import { slowSync } from './campaigns/slow_sync.js'
import { stalledConsumers } from './campaigns/stalled_consumers.js'
import { zombies } from './campaigns/zombies.js'

/** All campaigns, in their order. A new one is a file, its test beside it, and a line here. */
export const campaigns: readonly Campaign[] = [
  kill,
  power,
  queues,
  queuesPower,
  delayed,
  delayedPower,
  leases,
  leasesPower,
  recreated,
  recreatedPower,
  bitRot,
  drain,
  zombies,
  churn,
  slowSync,
  clock,
  stalledConsumers,
  idleConnections,
  fastPublishers,
  hostileInput,
  fullDisk,
  ioErrors,
  limits,
  network,
  linkDown,
]
