import type { commands, ReplyOf, RequestOf } from '../../protocol/index.js'
import type { Partition } from '../partition/partition.js'
import type { DeliveryState, OpenMessage } from './delivery_state.js'
import type { QueueHost } from './host.js'
import type { QueueRecord } from './queues_view.js'

type Request = Omit<RequestOf<typeof commands.queuePeek>, 'group'>
type Peeked = ReplyOf<typeof commands.queuePeek>['messages'][number]

/** Up to `limit` unfinished messages of a queue group: in turn from each partition, by offset. */
export function peekQueue(
  { catalog, view, nowMs }: Pick<QueueHost, 'catalog' | 'view' | 'nowMs'>,
  record: QueueRecord,
  { topic: only, state: wanted, limit }: Request,
): readonly Peeked[] {
  const now = nowMs()
  let sources: Iterator<Peeked>[] = []
  for (const topicId of [...record.topics.keys(), record.deadTopicId]) {
    const topic = catalog.byId(topicId)
    if (topic === undefined || (only !== undefined && topic.name !== only)) continue
    for (const partition of topic.partitions) {
      const state = view.stateOf(record, partition.log.id)
      if (state !== undefined)
        sources.push(messagesOf(partition, state, wanted, now, topicId === record.deadTopicId))
    }
  }
  const messages: Peeked[] = []
  while (sources.length > 0 && messages.length < limit) {
    const left: Iterator<Peeked>[] = []
    for (const source of sources) {
      const next = source.next()
      if (next.done === true) continue
      messages.push(next.value)
      if (messages.length === limit) return messages
      left.push(source)
    }
    sources = left
  }
  return messages
}

/** In the dead-letter topic, only redriven letters are open messages. */
function* messagesOf(
  { log, topic: { name: topic, topicId }, index: partition }: Partition,
  { open, next }: DeliveryState,
  wanted: Request['state'],
  nowMs: number,
  isDead: boolean,
): Generator<Peeked> {
  const place = { topic, topicId, partition }
  for (const offset of [...open.keys()].sort((a, b) => a - b)) {
    const message = open.get(offset)
    if (message === undefined || offset < log.startOffset) continue
    const peeked = peekedOf(message, nowMs)
    if (wanted === undefined || peeked.state === wanted) yield { ...place, offset, ...peeked }
  }
  if (isDead || (wanted !== undefined && wanted !== 'waiting')) return
  for (let offset = Math.max(next, log.startOffset); offset < log.endOffset; offset++)
    yield { ...place, offset, state: 'waiting', attempts: 0 }
}

function peekedOf(
  { attempts, dueAtMs, grantId, workerId }: OpenMessage,
  nowMs: number,
): Pick<Peeked, 'state' | 'attempts' | 'dueAtMs' | 'workerId'> {
  if (grantId !== 0) return { state: 'inFlight', attempts, ...(workerId === '' ? {} : { workerId }) }
  return dueAtMs > nowMs ? { state: 'delayed', attempts, dueAtMs } : { state: 'waiting', attempts }
}
