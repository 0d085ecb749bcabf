import type { Cluster } from '../cluster.js'
import { type Topic, type TopicOrName, topicOf } from '../topic.js'
import type { BrokerPort } from './broker_port.js'
import { type ConsumedTopic, Consumer } from './consumer.js'
import type { ConsumeOptions } from './options.js'

/**
 * Makes a consumer of one topic or several, which starts when it is first iterated over.
 * @throws MillraceError BAD_OPTION, BAD_NAME
 */
export function createConsumer<Input, Output, Key>(
  cluster: Cluster,
  topics: TopicOrName<Input, Output, Key> | readonly TopicOrName<Input, Output, Key>[],
  options: ConsumeOptions = {},
): Consumer<Output, Key> {
  const list = Array.isArray(topics) ? (topics as readonly TopicOrName<Input, Output, Key>[]) : [topics]
  const consumed = list.map((topic) => consumedTopic(topicOf(topic as TopicOrName<Input, Output, Key>)))
  return new Consumer(clusterPort(cluster), consumed, options)
}

function consumedTopic<Input, Output, Key>({
  name,
  key,
  value,
}: Topic<Input, Output, Key>): ConsumedTopic<Output, Key> {
  return {
    name,
    decoder: {
      ahead: false,
      key: (bytes) => key.decode(bytes),
      value: (bytes) => (bytes === undefined ? (null as Output) : value.decode(bytes)),
    },
  }
}

/** What a consumer needs of a client, over its connections. */
export function clusterPort(cluster: Cluster): BrokerPort {
  return {
    control: (command, body, options) => cluster.control(command, body, options),
    toOwner: (owner, command, body, options) => cluster.toOwner(owner, 'fetch', command, body, options),
    ownerOf: (topic, partition) => cluster.known(topic)?.owners[partition] ?? 0,
    topic: (name, options) => cluster.topic(name, options),
    get limits() {
      return cluster.limits
    },
  }
}
