import { log } from './log.js'
import { mix } from './mix.js'
import { steadyGroups } from './steady_groups.js'
import { streamGroups } from './stream_groups.js'
import type { Workload } from './workload.js'

/** All workloads, by name. A new one is a file and a line here. */
export const workloads: ReadonlyMap<string, Workload> = new Map(
  [log, streamGroups, steadyGroups, mix].map((workload) => [workload.name, workload]),
)
