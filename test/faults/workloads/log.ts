import { rawPublisher, sdkPublisher } from './publishers.js'
import { soloReader } from './readers.js'
import { faultTopic } from './values.js'
import type { Workload } from './workload.js'

const topic = { name: 'fault-log', partitions: 4 }

/** Publishers, and readers of their own without a group. */
export const log: Workload = {
  name: 'log',
  topics: [topic],
  groups: [],
  async run(context) {
    const { prefix } = context
    const defined = faultTopic(topic.name)
    await Promise.all([
      ...[0, 1, 2].map((index) => sdkPublisher(context, defined, `${prefix}p${index}`)),
      rawPublisher(context, topic.name, context.random.int(0, topic.partitions - 1), `${prefix}w`),
      soloReader(context, defined, topic.partitions, `${prefix}r`),
    ])
  },
}
