import { groupMember } from './members.js'
import { offsetObserver } from './observer.js'
import { sdkPublisher } from './publishers.js'
import { faultTopic } from './values.js'
import type { Workload } from './workload.js'
import { zombieMembers } from './zombie.js'

const topic = { name: 'fault-groups', partitions: 8 }
const group = 'fault-group'

/** Publishers and a stream group whose members come, leave, die and rise again. */
export const streamGroups: Workload = {
  name: 'stream-groups',
  topics: [topic],
  groups: [group],
  async run(context) {
    const { prefix } = context
    const defined = faultTopic(topic.name)
    const life = { lifeMsMin: 300, lifeMsMax: 3_000 }
    await Promise.all([
      ...[0, 1].map((index) => sdkPublisher(context, defined, `${prefix}p${index}`)),
      ...[0, 1, 2].map((index) => groupMember(context, defined, group, `${prefix}m${index}`, life)),
      zombieMembers(context, topic.name, group, `${prefix}z`),
      offsetObserver(context, topic, group, `${prefix}o`),
    ])
  },
}
