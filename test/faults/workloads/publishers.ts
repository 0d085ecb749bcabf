import { setTimeout as sleep } from 'node:timers/promises'
import { isMillraceError, type Topic } from '../../../client/index.js'
import { commands, type ErrorCode, errorOf, RecordBatchBuilder } from '../../../protocol/index.js'
import { Random } from '../../helpers/random.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { encodeValue, randomBytes, type SizedValue } from './values.js'
import type { WorkloadContext } from './workload.js'

const tickMs = 10
const inFlightMax = 2_000
const lanes = 3
const rawBatchMax = 5
const rawPauseMs = 5
const rawTimeoutMs = 5_000

/** Errors of the SDK after which the message may be there all the same. */
const unknownOutcomes: readonly ErrorCode[] = [
  'DELIVERY_TIMEOUT',
  'OUTCOME_UNKNOWN',
  'CLOSED',
  'PRODUCER_FENCED',
  'CONNECTION_LOST',
  'REQUEST_TIMEOUT',
  'STORAGE_FAILED',
  'INTERNAL',
]
/** Refusals by which the broker says that it did not take the batch. Everything else leaves the outcome unknown. */
const definiteRefusals: readonly ErrorCode[] = ['STORAGE_FULL', 'OVERLOADED', 'DRAINING', 'CORRUPT']

const rawPublisherName = /w\d*$/

/** Whether a process of a history is one of `rawPublisher`. */
export function isRawPublisher(process: string): boolean {
  return rawPublisherName.test(process)
}

/** Publishes through the SDK, which retries: at a steady rate, under a few keys, without waiting for receipts. */
export async function sdkPublisher(
  context: WorkloadContext,
  topic: Topic<SizedValue>,
  name: string,
): Promise<void> {
  const { history, stop, publisherRate, valueBytesMax, deliveryTimeoutMs } = context
  const random = new Random(context.random.uint32())
  const client = await context.client({ producer: { deliveryTimeoutMs } })
  const running = new Set<Promise<void>>()
  let number = 0
  const publish = async (): Promise<void> => {
    const value = { id: `${name}:${number++}`, bytes: randomBytes(random, valueBytesMax) }
    const lane = `${name}-${number % lanes}`
    const call = { op: 'publish', topic: topic.name, value: value.id, lane } as const
    const id = history.invoke(name, call)
    try {
      const { partition, offset } = await client.publish(topic, { key: lane, value })
      history.outcome(name, id, 'ok', { partition, offset })
      context.progress(1, 0)
    } catch (error) {
      if (!isMillraceError(error)) throw error
      const cause = isMillraceError(error.cause) ? `${error.code}: ${error.cause.code}` : error.code
      history.outcome(name, id, unknownOutcomes.includes(error.code) ? 'info' : 'fail', { error: cause })
    }
  }
  for (let due = 0; !stop.aborted; await sleep(tickMs)) {
    due = Math.min(due + (publisherRate * tickMs) / 1_000, inFlightMax)
    for (; due >= 1 && running.size < inFlightMax; due--) {
      const call = publish()
      running.add(call)
      call.finally(() => running.delete(call)).catch(() => {})
    }
  }
  await Promise.all(running)
}

/**
 * Publishes with nothing but the protocol: one request at a time, never sent again, so that every refusal shows, and by
 * partition. A connection is a lane of its own, since what was on the old one may be appended after what comes on the new.
 */
export async function rawPublisher(
  context: WorkloadContext,
  topic: string,
  partition: number,
  name: string,
): Promise<void> {
  const { stop } = context
  const random = new Random(context.random.uint32())
  let number = 0
  for (let connection = 0; !stop.aborted; connection++) {
    let client: RawClient | undefined
    try {
      client = await connectHello(context.address, { idleMsMax: rawTimeoutMs })
      const { body } = await client.request(commands.metadata, { topics: [topic] })
      const topicId = body.topics[0]?.topicId ?? 0
      while (!stop.aborted) {
        const ids = Array.from({ length: random.int(1, rawBatchMax) }, () => `${name}:${number++}`)
        await publishRaw(context, client, {
          topic,
          topicId,
          partition,
          name,
          lane: `${name}.${connection}`,
          ids,
        })
        await sleep(rawPauseMs)
      }
    } catch (error) {
      if (!isMillraceError(error) && !isSystemError(error)) throw error
      await sleep(rawPauseMs)
    } finally {
      client?.destroy()
    }
  }
}

interface RawBatch {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  readonly name: string
  readonly lane: string
  readonly ids: readonly string[]
}

/** @throws MillraceError when the connection is of no more use */
async function publishRaw(context: WorkloadContext, client: RawClient, batch: RawBatch): Promise<void> {
  const { history, random, valueBytesMax } = context
  const { topic, topicId, partition, name, lane, ids } = batch
  const builder = new RecordBatchBuilder()
  for (const id of ids) {
    const value = encodeValue({ id, bytes: randomBytes(random, valueBytesMax) })
    builder.append({ value, timestamp: Date.now() })
  }
  const payload = builder.finish('none')
  const calls = ids.map((value) => history.invoke(name, { op: 'publish', topic, value, lane }))
  try {
    const request = { batches: [[topicId, partition, payload.length] as const] }
    const { body } = await client.request(commands.publish, request, payload)
    const [result] = body.results
    if (result === undefined || result.error !== 0) throw errorOf(result ?? { error: 1 })
    for (const [index, id] of calls.entries())
      history.outcome(name, id, 'ok', { partition, offset: (result.baseOffset ?? -1) + index })
    context.progress(ids.length, 0)
  } catch (error) {
    if (!isMillraceError(error)) throw error
    const type = definiteRefusals.includes(error.code) ? 'fail' : 'info'
    for (const id of calls) history.outcome(name, id, type, { error: error.code })
    if (client.socket.destroyed) throw error
  }
}

export function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}
