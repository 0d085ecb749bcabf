import { commands, errorOf, isMillraceError, limits, MillraceError } from '../../protocol/index.js'
import { pause } from '../backoff.js'
import type { BrokerPort } from './broker_port.js'
import type { StartPosition } from './options.js'
import { retryMs } from './retry.js'

/** A partition and the position to find in it. */
export interface OffsetQuery {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  readonly at: StartPosition
}

const earliest = -2
const latest = -1

/** Finds the offsets of queries, in the same order; numbers are offsets already and need no request. */
export async function findOffsets(
  port: BrokerPort,
  queries: readonly OffsetQuery[],
  signal: AbortSignal,
): Promise<number[]> {
  const offsets = new Array<number>(queries.length)
  const open = new Set<number>()
  for (const [index, { at }] of queries.entries()) {
    if (typeof at === 'number') offsets[index] = at
    else open.add(index)
  }
  for (let failures = 0; open.size > 0; failures++) {
    if (failures > 0) await pause(retryMs(failures), signal)
    if (signal.aborted) throw new MillraceError('CLOSED', 'the consumer was closed')
    try {
      await askOwners(port, queries, open, offsets, signal)
    } catch (error) {
      if (!isMillraceError(error) || !error.retryable) throw error
    }
  }
  return offsets
}

/** Sends the open queries; removes answered queries from `open`. */
async function askOwners(
  port: BrokerPort,
  queries: readonly OffsetQuery[],
  open: Set<number>,
  offsets: number[],
  signal: AbortSignal,
): Promise<void> {
  for (const [owner, indices] of byOwner(port, queries, open)) {
    const partitions = indices.map((index) => {
      const { topicId, partition, at } = queries[index] as OffsetQuery
      return [topicId, partition, wireAt(at)] as const
    })
    const { body } = await port.toOwner(owner, commands.offsetsList, { partitions }, { signal })
    for (const [position, index] of indices.entries()) {
      const result = body.partitions[position]
      if (result === undefined) continue
      if (result.error !== 0) await refused(port, queries[index] as OffsetQuery, errorOf({ ...result }))
      else if (result.offset !== undefined) {
        offsets[index] = result.offset
        open.delete(index)
      }
    }
  }
}

function byOwner(
  port: BrokerPort,
  queries: readonly OffsetQuery[],
  open: ReadonlySet<number>,
): Map<number, number[]> {
  const indices = new Map<number, number[]>()
  for (const index of open) {
    const { topic, partition } = queries[index] as OffsetQuery
    const owner = port.ownerOf(topic, partition)
    const list = indices.get(owner)
    if (list === undefined) indices.set(owner, [index])
    else if (list.length < limits.fetchPartitionsMax) list.push(index)
  }
  return indices
}

async function refused(port: BrokerPort, { topic }: OffsetQuery, error: MillraceError): Promise<void> {
  if (!error.retryable) throw error
  if (error.code === 'NOT_OWNER') await port.topic(topic, { fresh: true })
}

function wireAt(at: StartPosition): number {
  if (at === 'earliest') return earliest
  if (at === 'latest') return latest
  return at instanceof Date ? at.getTime() : at
}
