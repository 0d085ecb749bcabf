import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import type { DelayFigures, SdkDelayerOptions } from './delayer.js'
import { createTopic, fill, repeated, topic, withBroker } from './sdk.js'
import type { SdkWorkerOptions } from './worker.js'

export interface QueueWork extends Interval, Pick<SdkWorkerOptions, 'concurrency' | 'order' | 'isPoisoned'> {
  readonly messageBytes: number
  /** Messages that wait when the worker begins: more than it can do in the time. */
  readonly messages: number
  /** Messages have one of so many keys; undefined: none. */
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

export interface DelayWork extends Pick<SdkDelayerOptions, 'messageBytes' | 'armed' | 'fired' | 'firedPerS'> {
  readonly dataRoot: string
}

export interface Delayed extends DelayFigures {
  readonly brokerRssBytes: number
}

/** Arms messages for tomorrow, then others that come soon, and measures how late these come. */
export function runDelayed({ dataRoot, ...work }: DelayWork): Promise<Delayed> {
  return withBroker(
    dataRoot,
    async ({ broker, port, start }) => {
      await createTopic(port)
      const delayer = await start('delayer', { port, topic, ...work })
      const figures = (await delayer.begin()) as DelayFigures
      const { rssBytes } = await broker.sample()
      return { ...figures, brokerRssBytes: rssBytes }
    },
    { messageIdsMax: 2 * (work.armed + work.fired) },
  )
}
