import type { commands, ReplyOf } from '../../protocol/index.js'
import type { Partition } from '../partition/partition.js'
import { deadTopicName } from './dead_letter_topic.js'
import type { DeliveryState } from './delivery_state.js'
import type { QueueHost } from './host.js'
import type { Lane } from './lane.js'
import type { LiveGroup } from './live_group.js'
import { deadCount, type QueueRecord } from './queues_view.js'
import { reasonsOf } from './standstill.js'

type Description = ReplyOf<typeof commands.queueDescribe>
type PartitionDescription = Description['partitions'][number]

/** Describes a queue group, with the reasons why its messages do not move. */
export function describeQueue(
  host: QueueHost,
  record: QueueRecord,
  live: LiveGroup | undefined,
): Description {
  const { catalog } = host
  const inFlightOf = (workerId: string): number => {
    let messages = 0
    for (const grant of live?.grants.values() ?? [])
      if (grant.workerId === workerId) messages += grant.messages.size
    return messages
  }
  const workers = [...(live?.workers.values() ?? [])].map(({ workerId, session, concurrency }) => ({
    workerId,
    clientName: session.clientName,
    address: session.address,
    concurrency,
    inFlight: inFlightOf(workerId),
    asking: live?.askers.some((asker) => asker.workerId === workerId) ?? false,
  }))
  const partitions: PartitionDescription[] = []
  for (const topicId of [...record.topics.keys(), record.deadTopicId]) {
    for (const partition of catalog.byId(topicId)?.partitions ?? []) {
      const state = host.view.stateOf(record, partition.log.id)
      if (state === undefined) continue
      const isDead = topicId === record.deadTopicId
      // `dead` counts the dead letters that were not redriven.
      if (isDead && state.open.size === 0) continue
      partitions.push(partitionOf(host, partition, state, live?.lane(topicId, partition.index), isDead))
    }
  }
  return {
    group: record.group,
    settings: record.settings,
    deadLetterTopic: deadTopicName(record.group),
    dead: deadCount(record, catalog),
    workers,
    partitions,
    reasons: reasonsOf(host, record, live, partitions),
  }
}

function partitionOf(
  host: QueueHost,
  partition: Partition,
  state: DeliveryState,
  lane: Lane | undefined,
  isDead: boolean,
): PartitionDescription {
  const nowMs = host.nowMs()
  let inFlight = 0
  let delayed = 0
  let waiting = 0
  for (const { grantId, dueAtMs } of state.open.values()) {
    if (grantId !== 0) inFlight++
    else if (dueAtMs > nowMs) delayed++
    else waiting++
  }
  const { log, topic, index } = partition
  if (!isDead) waiting += Math.max(0, log.endOffset - Math.max(state.next, log.startOffset))
  let oldest: number | undefined
  for (const { timestamp } of lane?.live.values() ?? []) {
    if (oldest === undefined || timestamp < oldest) oldest = timestamp
  }
  return {
    topic: topic.name,
    topicId: topic.topicId,
    partition: index,
    doneOffset: Math.min(state.doneOffset, log.endOffset),
    endOffset: log.endOffset,
    waiting,
    inFlight,
    delayed,
    oldestTimestampMs: oldest,
  }
}
