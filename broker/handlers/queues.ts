import { type commands, MillraceError, type ReplyOf, runsOf } from '../../protocol/index.js'
import type { BrokerContext } from '../context.js'
import { type Delivery, type Leased, leaseBatch } from '../queues/index.js'
import type { Handler, HandlerReply } from './handler.js'
import { withHealth } from './with_health.js'
import { withOldest } from './with_oldest.js'

type LeaseReply = ReplyOf<typeof commands.queueLease>

const queueOpen: Handler<typeof commands.queueOpen> = async ({ broker, session }, request) => ({
  body: await broker.queues.open(request, session),
})

const queueLease: Handler<typeof commands.queueLease> = async ({ broker, session }, request) => {
  const leased = await broker.queues.lease(request, session)
  if (!session.isOpen) await broker.queues.giveBack(request.group, leased)
  return leaseReply(broker, leased)
}

const queueSettle: Handler<typeof commands.queueSettle> = async ({ broker }, request) => ({
  body: await broker.queues.settle(request),
})

const queueExtend: Handler<typeof commands.queueExtend> = async ({ broker }, request) => ({
  body: await broker.queues.extend(request),
})

const queueDescribe: Handler<typeof commands.queueDescribe> = async ({ broker }, { group }) => {
  const description = broker.queues.describe(group)
  const partitions = await withOldest(broker.shard, description.partitions, ({ doneOffset }) => doneOffset)
  return { body: withHealth(broker, { ...description, partitions }) }
}

const queueConfigure: Handler<typeof commands.queueConfigure> = async ({ broker }, request) => ({
  body: await broker.queues.configure(request),
})

const queueDeadLetters: Handler<typeof commands.queueDeadLetters> = async ({ broker }, request) => ({
  body: await broker.queues.deadLetters(request),
})

const queueRedrive: Handler<typeof commands.queueRedrive> = async ({ broker }, request) => ({
  body: await broker.queues.redrive(request),
})

const queueDelete: Handler<typeof commands.queueDelete> = async ({ broker }, { group }) => {
  await broker.queues.delete(group)
  return { body: {} }
}

const queueList: Handler<typeof commands.queueList> = ({ broker }) => ({ body: broker.queues.list() })

const queuePeek: Handler<typeof commands.queuePeek> = ({ broker }, request) => ({
  body: broker.queues.peek(request),
})

const queueLeave: Handler<typeof commands.queueLeave> = async ({ broker }, request) => {
  await broker.queues.leave(request)
  return { body: {} }
}

export const queueHandlers = {
  queueOpen,
  queueLease,
  queueSettle,
  queueExtend,
  queueDescribe,
  queueConfigure,
  queueDeadLetters,
  queueRedrive,
  queueDelete,
  queueList,
  queueLeave,
  queuePeek,
}

function leaseReply(
  broker: BrokerContext,
  { grant, deliveries, reservedBytes }: Leased,
): HandlerReply<LeaseReply> {
  const batches: LeaseReply['batches'][number][] = []
  const payload: Uint8Array[] = []
  for (const some of runsOfBatches(deliveries)) {
    const [{ message, record }] = some as [Delivery]
    const { topic, index } = message.lane.partition
    let lastTimestamp = 0
    for (const { message } of some) lastTimestamp = Math.max(lastTimestamp, message.timestamp)
    const records = some.map(({ record }) => record.bytes)
    const batch = leaseBatch(records, record.firstTimestamp, lastTimestamp, broker.queues.payloadBytesMax)
    if (batch === undefined) throw new MillraceError('INTERNAL', 'a leased message is larger than a frame')
    const offsets = runsOf(some.map(({ message }) => message.offset))
    const attempts = some.map(({ message }) => message.attempts)
    payload.push(batch)
    batches.push([topic.topicId, index, batch.length, offsets, attempts.some((n) => n > 0) ? attempts : []])
    broker.metrics.fetchedBytes += batch.length
    broker.metrics.fetchedRecords += some.length
  }
  return {
    body: { grantId: grant?.id ?? 0, leaseMs: grant?.leaseMs ?? 0, batches },
    payload,
    acquiredBytes: reservedBytes,
  }
}

/** Consecutive messages with the same base timestamp share a batch, in ascending order. */
function* runsOfBatches(deliveries: readonly Delivery[]): Iterable<readonly Delivery[]> {
  let some: Delivery[] = []
  for (const delivery of deliveries) {
    const last = some.at(-1)
    const fits =
      last === undefined ||
      (last.message.lane === delivery.message.lane &&
        last.message.offset < delivery.message.offset &&
        last.record.firstTimestamp === delivery.record.firstTimestamp)
    if (!fits) {
      yield some
      some = []
    }
    some.push(delivery)
  }
  if (some.length > 0) yield some
}
