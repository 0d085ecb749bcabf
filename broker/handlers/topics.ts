import {
  type commands,
  type ErrorFields,
  errorFields,
  errorTable,
  type ReplyOf,
} from '../../protocol/index.js'
import { encodeTrims, opKinds, type Trim } from '../../storage/index.js'
import type { BrokerContext } from '../context.js'
import { offsetForTime } from '../partition/offset_for_time.js'
import type { Partition } from '../partition/partition.js'
import type { Topic } from '../topics/topic.js'
import { EntryErrors } from './entry_errors.js'
import type { Handler } from './handler.js'

type TopicSummary = ReplyOf<typeof commands.topicCreate>
type MetadataTopic = ReplyOf<typeof commands.metadata>['topics'][number]
type PurgedPartition = ReplyOf<typeof commands.topicPurge>['partitions'][number]
type OffsetResult = ReplyOf<typeof commands.offsetsList>['partitions'][number]

const earliest = -2
const latest = -1
/** Limit of the unknown topics in one request for which the broker searches a similar name, because that takes time. */
const suggestionsMax = 3
const unknownTopic = { error: errorTable.UNKNOWN_TOPIC.number }

const metadata: Handler<typeof commands.metadata> = ({ broker, session }, { topics: names }) => {
  const { brokerId, advertisedHost } = broker.settings
  const { catalog } = broker.shard
  const describe = (topic: Topic): MetadataTopic => ({
    name: topic.name,
    error: 0,
    topicId: topic.topicId,
    owners: topic.partitions.map(() => brokerId),
  })
  let unknownCount = 0
  const unknown = (name: string): ErrorFields | { error: number } =>
    ++unknownCount <= suggestionsMax ? errorFields(catalog.unknownTopic(name)) : unknownTopic
  const topics =
    names === undefined
      ? Array.from(catalog.topics, describe)
      : names.map((name) => {
          const topic = catalog.byName(name)
          return topic === undefined ? { name, ...unknown(name) } : describe(topic)
        })
  const host = advertisedHost === 'auto' ? session.localAddress : advertisedHost
  return { body: { brokers: [{ brokerId, host, port: broker.server.port }], topics } }
}

const topicCreate: Handler<typeof commands.topicCreate> = async ({ broker }, request) => ({
  body: summaryOf(await broker.shard.topics.create(request)),
})

const topicAlter: Handler<typeof commands.topicAlter> = async ({ broker }, request) => ({
  body: summaryOf(await broker.shard.topics.alter(request)),
})

const topicDelete: Handler<typeof commands.topicDelete> = async ({ broker }, { topic }) => {
  await broker.shard.topics.delete(topic)
  return { body: {} }
}

const topicList: Handler<typeof commands.topicList> = ({ broker }) => ({
  body: { topics: Array.from(broker.shard.catalog.topics, summaryOf) },
})

const topicDescribe: Handler<typeof commands.topicDescribe> = ({ broker }, { topic: name }) => {
  const topic = broker.shard.catalog.topic(name)
  const partitions = topic.partitions.map(({ log }, partition) => ({
    partition,
    owner: broker.settings.brokerId,
    startOffset: log.startOffset,
    endOffset: log.endOffset,
    bytes: log.liveBytes,
    problem: broker.shard.store.problemOf(log),
  }))
  return { body: { topic: summaryOf(topic), partitions } }
}

const offsetsList: Handler<typeof commands.offsetsList> = async ({ broker }, request) => {
  const errors = new EntryErrors(broker.logger)
  const partitions: OffsetResult[] = []
  for (const [topicId, index, at] of request.partitions) {
    try {
      partitions.push({
        error: 0,
        offset: await offsetAt(broker.shard.partition(topicId, index), at, broker),
      })
    } catch (error) {
      partitions.push(errors.fields(error))
    }
  }
  return { body: { partitions } }
}

const topicPurge: Handler<typeof commands.topicPurge> = async ({ broker }, { topic: name, partitions }) => {
  const topic = broker.shard.catalog.topic(name)
  const purged = new Set(partitions ?? topic.partitions.keys())
  const trims: Trim[] = []
  const results: PurgedPartition[] = []
  for (const index of purged) {
    const { log } = broker.shard.partition(topic.topicId, index)
    const { startOffset, endOffset } = log
    if (endOffset > startOffset) trims.push([log.id, endOffset])
    results.push({ partition: index, startOffset: endOffset, dropped: endOffset - startOffset })
  }
  if (trims.length > 0)
    await broker.shard.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims(trims) }])
  return { body: { partitions: results } }
}

export const topicHandlers = {
  metadata,
  topicCreate,
  topicAlter,
  topicDelete,
  topicList,
  topicDescribe,
  offsetsList,
  topicPurge,
}

function summaryOf({ name, topicId, partitions, createdAtMs, settings }: Topic): TopicSummary {
  return { name, topicId, partitions: partitions.length, createdAtMs, settings }
}

function offsetAt(partition: Partition, at: number, broker: BrokerContext): number | Promise<number> {
  if (at === earliest) return partition.startOffset
  if (at === latest) return partition.endOffset
  return offsetForTime(broker.shard, partition, at)
}
