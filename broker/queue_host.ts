import type { TopicSettingsInput } from '../protocol/index.js'
import type { Op } from '../storage/index.js'
import type { Admission } from './admission.js'
import type { BrokerSettings } from './config.js'
import type { Logger } from './log.js'
import { type QueueHost, Queues } from './queues/index.js'
import type { Shard } from './shard.js'
import type { Topic } from './topics/topic.js'
import type { WallClock } from './wall_clock.js'

/** Space for the body of a reply in a frame with one message. */
const replyBodyBytes = 16 * 1024

/** The queue groups of a shard. */
export function queuesOf(
  shard: Shard,
  admission: Admission,
  clock: WallClock,
  logger: Logger,
  { frameBytesMax }: Pick<BrokerSettings, 'frameBytesMax'>,
  isStreamGroup: (name: string) => boolean,
): Queues {
  const host: QueueHost = {
    catalog: shard.catalog,
    view: shard.queues,
    reader: shard,
    admission,
    payloadBytesMax: frameBytesMax - replyBodyBytes,
    uniqueId: () => shard.uniqueId(),
    nowMs: () => clock.earliestMs,
    latestMs: () => clock.latestMs,
    commit: (ops: readonly Op[], assigned) => shard.commit(ops, assigned),
    isStreamGroup,
    createTopic: (topic: string, settings: TopicSettingsInput): Promise<Topic> =>
      shard.topics.create({ topic, partitions: 1, settings }),
    lost: (group, topic, partition, from, to) =>
      logger.warn(
        { group, topic, partition, from, to },
        "a queue group can't read messages that are lost, and skips them",
      ),
    unreadable: (group, topic, partition, { first, end, problem }) =>
      logger.warn(
        { group, topic, partition, from: first, to: end, problem },
        'a record batch of a publisher is malformed; the queue group makes it a dead letter',
      ),
    failed: (group, err) =>
      logger.warn({ group, err }, 'an action of a queue group failed; the broker will try again'),
  }
  return new Queues(host)
}
