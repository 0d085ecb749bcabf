import { groupMember } from './members.js'
import { offsetObserver } from './observer.js'
import { sdkPublisher } from './publishers.js'
import { faultTopic } from './values.js'
import type { Workload } from './workload.js'

const topic = { name: 'fault-steady', partitions: 8 }
const group = 'fault-steady-group'
/** Longer than any round. */
const lifeMs = 3_600_000

/** Publishers and a stream group whose members stay: what becomes of them is the work of faults alone. */
export const steadyGroups: Workload = {
  name: 'steady-groups',
  topics: [topic],
  groups: [group],
  async run(context) {
    const { prefix } = context
    const defined = faultTopic(topic.name)
    const life = { lifeMsMin: lifeMs, lifeMsMax: lifeMs }
    await Promise.all([
      ...[0, 1].map((index) => sdkPublisher(context, defined, `${prefix}p${index}`)),
      ...[0, 1].map((index) => groupMember(context, defined, group, `${prefix}m${index}`, life)),
      offsetObserver(context, topic, group, `${prefix}o`),
    ])
  },
}
