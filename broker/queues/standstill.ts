import type { commands, ReplyOf } from '../../protocol/index.js'
import type { QueueHost } from './host.js'
import type { LiveGroup } from './live_group.js'
import type { QueueRecord } from './queues_view.js'

type PartitionDescription = ReplyOf<typeof commands.queueDescribe>['partitions'][number]

const reasonsMax = 20
const deletedReasonsMax = 10
const failureTextMax = 1_000

/**
 * The reasons why messages of a queue group do not move, for humans. While messages wait there is at least one reason,
 * even if only that they are about to be leased.
 */
export function reasonsOf(
  host: QueueHost,
  record: QueueRecord,
  live: LiveGroup | undefined,
  partitions: readonly PartitionDescription[],
): string[] {
  const counts = { waiting: sum(partitions, 'waiting'), inFlight: sum(partitions, 'inFlight') }
  const delayed = sum(partitions, 'delayed')
  const reasons: string[] = []
  if (record.settings.paused) reasons.push('the group is paused')
  reasons.push(...deletedReasons(host, record, live))
  if (live !== undefined) reasons.push(...failureReasons(live))
  if (counts.waiting + delayed + counts.inFlight > 0) {
    reasons.push(...workerReasons(host, record, live, counts))
    reasons.push(...laneReasons(live))
  }
  if (delayed > 0) reasons.push(delayReason(host, record, delayed))
  if (counts.waiting > 0 && reasons.length === 0)
    reasons.push(
      `the broker is about to lease ${counts.waiting} messages: ${live?.readyCount ?? 0} are ready, and it reads the others`,
    )
  return reasons.slice(0, reasonsMax)
}

function sum(partitions: readonly PartitionDescription[], field: 'waiting' | 'inFlight' | 'delayed'): number {
  return partitions.reduce((total, partition) => total + partition[field], 0)
}

/** Deleted topics that the group read, if that may be the reason. */
function deletedReasons({ catalog }: QueueHost, record: QueueRecord, live: LiveGroup | undefined): string[] {
  const reasons: string[] = []
  for (const name of record.deletedTopics) {
    if (catalog.byName(name) !== undefined)
      reasons.push(`topic "${name}" was deleted and created again, and no worker reads the new topic`)
    else if (record.topics.size === 0 || live === undefined || live.workers.size === 0)
      reasons.push(`the group read topic "${name}", which was deleted`)
    if (reasons.length === deletedReasonsMax) break
  }
  return reasons
}

function failureReasons({ failures }: LiveGroup): string[] {
  const reasons: string[] = []
  for (const [what, error] of failures) {
    const text = error instanceof Error ? error.message : String(error)
    reasons.push(`the broker can't ${what} and tries again: ${text.slice(0, failureTextMax)}`)
  }
  return reasons
}

function workerReasons(
  { latestMs }: QueueHost,
  { settings }: QueueRecord,
  live: LiveGroup | undefined,
  { waiting, inFlight }: { readonly waiting: number; readonly inFlight: number },
): string[] {
  const reasons: string[] = []
  if (live === undefined || live.workers.size === 0) reasons.push('no worker is connected')
  else if (!settings.paused && live.askers.length === 0 && waiting > 0 && live.failures.size === 0)
    reasons.push(
      `every worker has its maximum number of messages: ${inFlight} are in flight, ${live.readyCount} are ready`,
    )
  else if (waiting > 0 && live.askers.length > 0 && live.askers.every(({ waitsForRoom }) => waitsForRoom))
    reasons.push('the workers read their replies too slowly: the send buffers of their connections are full')
  let absent = 0
  let firstEndMs = Number.POSITIVE_INFINITY
  for (const { workerId, messages, deadlineMs } of live?.grants.values() ?? []) {
    if (live?.workers.has(workerId)) continue
    absent += messages.size
    firstEndMs = Math.min(firstEndMs, deadlineMs)
  }
  if (absent === 0) return reasons
  const endsAt = new Date(latestMs() + Math.max(0, firstEndMs - (live?.clock.nowMs ?? 0))).toISOString()
  reasons.push(`disconnected workers hold leases on ${absent} messages; the first lease ends at ${endsAt}`)
  return reasons
}

function laneReasons(live: LiveGroup | undefined): string[] {
  const reasons: string[] = []
  for (const lane of live?.lanes ?? []) {
    const { partition } = lane
    if (lane.hasMore && !lane.hasRoom)
      reasons.push(
        `partition ${partition.index} of topic "${partition.topic.name}" has ${lane.live.size} unfinished messages, which is the maximum; the group reads no more of it until some are finished`,
      )
    const worst = lane.worstBlocker
    if (worst === undefined) continue
    const { message, blocked } = worst
    reasons.push(
      `${blocked} messages of topic "${partition.topic.name}" wait behind a message with the same key, offset ${message.offset} of partition ${partition.index}, which is ${message.state}, attempt ${message.attempts + 1}`,
    )
    if (reasons.length >= reasonsMax) break
  }
  return reasons
}

function delayReason({ view, catalog, nowMs }: QueueHost, record: QueueRecord, delayed: number): string {
  let firstMs = Number.POSITIVE_INFINITY
  const now = nowMs()
  for (const topicId of [...record.topics.keys(), record.deadTopicId])
    for (const { log } of catalog.byId(topicId)?.partitions ?? [])
      for (const { grantId, dueAtMs } of view.stateOf(record, log.id)?.open.values() ?? [])
        if (grantId === 0 && dueAtMs > now && dueAtMs < firstMs) firstMs = dueAtMs
  const first = Number.isFinite(firstMs) ? `, the first at ${new Date(firstMs).toISOString()}` : ''
  return `${delayed} messages wait for their next attempt${first}`
}
