import { log } from './log.js'
import { streamGroups } from './stream_groups.js'
import type { Workload } from './workload.js'

/** All of the others at once. */
export const mix: Workload = {
  name: 'mix',
  topics: [...log.topics, ...streamGroups.topics],
  groups: [...log.groups, ...streamGroups.groups],
  async run(context) {
    const named = (part: string) => ({ ...context, prefix: `${context.prefix}${part}-` })
    await Promise.all([log.run(named('log')), streamGroups.run(named('groups'))])
  },
}
