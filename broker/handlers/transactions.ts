import { type commands, MillraceError, type ReplyOf, type RequestOf } from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { BrokerContext } from '../context.js'
import { encodeOffsetsCommitted } from '../groups/index.js'
import { encodeTransaction } from '../queues/index.js'
import type { Handler } from './handler.js'

type TransactionRequest = RequestOf<typeof commands.transaction>
type TransactionReply = ReplyOf<typeof commands.transaction>

/** A part of a transaction; it becomes visible with the commit. */
interface Part {
  readonly ops: readonly Op[]
  done(): void
  failed(): void
}

const underWay = new WeakMap<BrokerContext, Map<string, Promise<TransactionReply>>>()

/** All parts in one commit of the journal. */
const transaction: Handler<typeof commands.transaction> = async ({ broker }, request, payload) => {
  const { id } = request
  // First of all: the client must learn that it is committed, whatever the state of the broker.
  if (broker.shard.transactions.has(id)) return { body: { baseOffsets: request.batches.map(() => -1) } }
  let ofBroker = underWay.get(broker)
  if (ofBroker === undefined) {
    ofBroker = new Map()
    underWay.set(broker, ofBroker)
  }
  const repeated = ofBroker.get(id)
  if (repeated !== undefined) return { body: await repeated }
  if (broker.draining) throw new MillraceError('DRAINING')
  if (!broker.shard.transactions.hasRoom(ofBroker.size + 1, broker.clock.earliestMs))
    throw new MillraceError(
      'OVERLOADED',
      'the broker has too many transactions of the last 15 minutes; try again later',
    )
  const reply = commit(broker, request, payload)
  ofBroker.set(id, reply)
  try {
    return { body: await reply }
  } finally {
    ofBroker.delete(id)
  }
}

export const transactionHandlers = { transaction }

async function commit(
  broker: BrokerContext,
  request: TransactionRequest,
  payload: Uint8Array,
): Promise<TransactionReply> {
  const baseOffsets = request.batches.map(() => -1)
  const parts: Part[] = []
  try {
    for (const { group, entries } of request.acks) parts.push(await broker.queues.prepareAcks(group, entries))
    for (const { group, memberId, offsets } of request.offsets) {
      const entries = offsets.map(
        ([topicId, partition, epoch, offset]) => [topicId, partition, epoch, offset, undefined] as const,
      )
      const prepared = broker.groups.prepareCommit({ group, memberId, offsets: entries })
      const committedAtMs = broker.clock.earliestMs
      const payload = encodeOffsetsCommitted({ group, committedAtMs, entries: prepared.entries })
      const ops = [{ kind: opKinds.offsetsCommitted, payload }]
      parts.push({ ops, done: prepared.ended, failed: prepared.ended })
    }
    // Check in the turn of the commit: topics may have been deleted or changed during the lookup of leases.
    const ops: Op[] = batchesOf(broker, request, payload)
    for (const part of parts) ops.push(...part.ops)
    const atMs = broker.clock.earliestMs
    ops.push({ kind: opKinds.transaction, payload: encodeTransaction(request.id, atMs) })
    await broker.shard.commit(ops, (index, baseOffset) => {
      baseOffsets[index] = baseOffset
    })
  } catch (error) {
    for (const part of parts) part.failed()
    throw error
  }
  for (const part of parts) part.done()
  return { baseOffsets }
}

/** The memory of the payload is reused after the reply, and not before: the commit copies it. */
function batchesOf(broker: BrokerContext, { batches }: TransactionRequest, payload: Uint8Array): Op[] {
  let at = 0
  const gate = broker.admission.gate()
  const ops = batches.map(([topicId, index, bytes]) => {
    const partition = broker.shard.partition(topicId, index)
    const batch = payload.subarray(at, at + bytes)
    at += bytes
    gate.batch(partition, batch, undefined)
    return { log: partition.log, batch }
  })
  if (at !== payload.length)
    throw new MillraceError(
      'BAD_REQUEST',
      `the sizes of the batches add up to ${at} bytes, but the payload has ${payload.length}`,
    )
  return ops
}
