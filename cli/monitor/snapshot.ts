import {
  type BrokerStatus,
  type Client,
  type GroupDescription,
  isMillraceError,
  type QueueDescription,
  type TopicDescription,
} from '../../client/index.js'

/** The state of a broker at one time. */
export interface Snapshot {
  /** ms of the monotonic clock. */
  readonly atMs: number
  readonly status: BrokerStatus
  readonly topics: readonly TopicDescription[]
  readonly groups: readonly GroupDescription[]
  readonly queues: readonly QueueDescription[]
}

/** Rates between two snapshots, and the counts of the second. Rates are per second. */
export interface TopView {
  /** ISO 8601. */
  readonly at: string
  readonly health: string
  readonly connections: number
  readonly publishedPerSecond: number
  readonly publishedBytesPerSecond: number
  readonly fetchedPerSecond: number
  readonly fetchedBytesPerSecond: number
  /** The busiest ones first. */
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: number
    readonly publishedPerSecond: number
    readonly messages: number
    readonly bytes: number
  }[]
  readonly groups: readonly {
    readonly group: string
    readonly state: string
    readonly members: number
    readonly consumedPerSecond: number
    readonly lag: number
  }[]
  readonly queues: readonly {
    readonly group: string
    readonly workers: number
    readonly donePerSecond: number
    readonly waiting: number
    readonly inFlight: number
    readonly delayed: number
    readonly dead: number
    readonly reasons: readonly string[]
  }[]
}

/** Number of requests in flight at a time. */
const requestsMax = 16

/** Requests the complete state. It omits topics and groups that are deleted during the requests. @throws MillraceError */
export async function snapshotOf(client: Client, signal: AbortSignal): Promise<Snapshot> {
  const options = { signal }
  const status = await client.status(options)
  const topics = await describeAll(
    (await client.topics.list(options)).map(({ name }) => name),
    (name) => client.topics.describe(name, options),
  )
  const groups = await describeAll(
    (await client.groups.list(options)).map(({ group }) => group),
    (group) => client.groups.describe(group, options),
  )
  const queues = await describeAll(
    (await client.queues.list(options)).map(({ group }) => group),
    (group) => client.queues.describe(group, options),
  )
  return { atMs: performance.now(), status, topics, groups, queues }
}

async function describeAll<T>(
  names: readonly string[],
  describe: (name: string) => Promise<T>,
): Promise<T[]> {
  const found: T[] = []
  for (let at = 0; at < names.length; at += requestsMax) {
    const some = names.slice(at, at + requestsMax).map(async (name) => {
      try {
        return await describe(name)
      } catch (error) {
        if (isMillraceError(error, 'UNKNOWN_TOPIC', 'UNKNOWN_GROUP')) return undefined
        throw error
      }
    })
    for (const one of await Promise.all(some)) if (one !== undefined) found.push(one)
  }
  return found
}

/** The view between two snapshots. */
export function viewOf(before: Snapshot, now: Snapshot): TopView {
  const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1_000)
  const rateOf = (count: number, earlier: number | undefined): number =>
    Math.max(0, (count - (earlier ?? count)) / seconds)
  const published = new Map(before.topics.map((one) => [one.topic.topicId, publishedOf(one)]))
  const consumed = new Map(before.groups.map((one) => [one.group, consumedOf(one)]))
  const done = new Map(before.queues.map((one) => [one.group, doneOf(one)]))
  const { rates, health, connections } = now.status
  return {
    at: new Date().toISOString(),
    health: health.status,
    connections,
    publishedPerSecond: rates.publishedRecords,
    publishedBytesPerSecond: rates.publishedBytes,
    fetchedPerSecond: rates.fetchedRecords,
    fetchedBytesPerSecond: rates.fetchedBytes,
    topics: now.topics
      .map((one) => ({
        topic: one.topic.name,
        partitions: one.topic.partitions,
        publishedPerSecond: rateOf(publishedOf(one), published.get(one.topic.topicId)),
        messages: sum(one.partitions, ({ startOffset, endOffset }) => endOffset - startOffset),
        bytes: sum(one.partitions, ({ bytes }) => bytes),
      }))
      .sort((a, b) => b.publishedPerSecond - a.publishedPerSecond || (a.topic < b.topic ? -1 : 1)),
    groups: now.groups
      .map((one) => ({
        group: one.group,
        state: one.paused ? 'paused' : one.state,
        members: one.members.length,
        consumedPerSecond: rateOf(consumedOf(one), consumed.get(one.group)),
        lag: sum(one.partitions, ({ lag }) => lag),
      }))
      .sort((a, b) => b.lag - a.lag || (a.group < b.group ? -1 : 1)),
    queues: now.queues
      .map((one) => ({
        group: one.group,
        workers: one.workers.length,
        donePerSecond: rateOf(doneOf(one), done.get(one.group)),
        waiting: sum(one.partitions, ({ waiting }) => waiting),
        inFlight: sum(one.partitions, ({ inFlight }) => inFlight),
        delayed: sum(one.partitions, ({ delayed }) => delayed),
        dead: one.dead,
        reasons: one.reasons,
      }))
      .sort((a, b) => b.waiting - a.waiting || (a.group < b.group ? -1 : 1)),
  }
}

function publishedOf({ partitions }: TopicDescription): number {
  return sum(partitions, ({ endOffset }) => endOffset)
}

function consumedOf({ partitions }: GroupDescription): number {
  return sum(partitions, ({ committedOffset }) => committedOffset ?? 0)
}

/** Number of finished messages, independent of their offsets. */
function doneOf({ partitions }: QueueDescription): number {
  return sum(
    partitions,
    ({ endOffset, waiting, inFlight, delayed }) => endOffset - waiting - inFlight - delayed,
  )
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0)
}
