import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../client/index.js'
import type { LatencyFigures } from '../lib/latency.js'
import { LatencyHistogram } from '../lib/latency.js'
import { monotonicMs, serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkDelayerOptions {
  readonly port: number
  readonly topic: string
  readonly messageBytes: number
  /** Messages that are armed for tomorrow first. */
  readonly armed: number
  /** Messages that are armed then and come in the meantime, at this rate. */
  readonly fired: number
  readonly firedPerS: number
}

export interface DelayFigures {
  /** How long it took to arm those for tomorrow. */
  readonly armMs: number
  /** From the due time to receipt. */
  readonly late: LatencyFigures
}

const dayMs = 86_400_000
/** Time to arm those that are fired before the first is due. */
const leadMs = 4_000

async function start(options: SdkDelayerOptions): Promise<WorkerTask> {
  const client = await connect(`127.0.0.1:${options.port}`)
  let messages = 0
  return {
    count: () => ({ messages, bytes: messages * options.messageBytes }),
    begin: async (): Promise<DelayFigures> => {
      const startedMs = monotonicMs()
      await arm(client, options, options.armed, (i) => Date.now() + dayMs + i)
      const armMs = monotonicMs() - startedMs
      const late = new LatencyHistogram()
      const firstMs = Date.now() + leadMs
      const receiving = receive(client, options, late, () => ++messages)
      await arm(client, options, options.fired, (i) => firstMs + Math.floor((i * 1000) / options.firedPerS))
      await receiving
      return { armMs, late: late.figures() }
    },
    stop: async () => {
      await client.close()
      return {}
    },
  }
}

async function arm(
  client: Client,
  { topic, messageBytes }: SdkDelayerOptions,
  count: number,
  dueMs: (index: number) => number,
): Promise<void> {
  const value = Buffer.alloc(messageBytes, 'x')
  function* messages(): Iterable<{ value: Buffer; deliverAt: number }> {
    for (let i = 0; i < count; i++) yield { value, deliverAt: dueMs(i) }
  }
  await client.publishMany(topic, messages())
}

/** Receives all that are fired; a message's timestamp is its due time, by the same clock. */
async function receive(
  client: Client,
  { topic, fired }: SdkDelayerOptions,
  late: LatencyHistogram,
  count: () => number,
): Promise<void> {
  const consumer = client.consume(topic, { from: 'earliest' })
  for await (const batch of consumer.batches()) {
    const lateMs = (timestamp: number): number => Math.max(0, Date.now() - timestamp)
    for (const { timestamp } of batch.messages) {
      late.recordSince(monotonicMs() - lateMs(timestamp))
      if (count() < fired) continue
      await sleep(0)
      await consumer.close()
      return
    }
  }
}

await serveWorker(start)
