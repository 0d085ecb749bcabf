import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { createTopic, fill, repeated, topic, withBroker } from './sdk.js'
import type { SdkWorkerOptions } from './worker.js'

export interface QueueWork
  extends Interval,
    Required<Pick<SdkWorkerOptions, 'concurrency' | 'order' | 'isPoisoned'>> {
  readonly messageBytes: number
  /** Messages that wait when the worker begins: more than it can handle in the time. */
  readonly messages: number
  /** Number of keys; undefined: none. */
  readonly keys?: number
  readonly dataRoot: string
}

/** Fills a topic, and measures how fast one worker handles and acknowledges its messages, one by one. */
export function runQueueWork(work: QueueWork): Promise<Throughput> {
  const { messageBytes, messages, keys, concurrency, order, isPoisoned } = work
  return withBroker(work.dataRoot, async (running) => {
    const { broker, port, start } = running
    await createTopic(port)
    const data = { ...repeated(messageBytes), ...(keys === undefined ? {} : { keys }) }
    await fill(running, { data, logBytes: messages * messageBytes })
    const worker = await start('worker', { port, topic, concurrency, order, isPoisoned })
    return measureThroughput(worker, [broker], work)
  })
}
