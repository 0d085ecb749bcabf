import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../client/index.js'
import type { LatencyFigures } from '../lib/latency.js'
import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { Worker } from '../lib/worker.js'
import type { SdkBrokerOptions } from './broker.js'
import type { SdkConnectionsOptions } from './connections.js'
import type { SdkConsumerOptions } from './consumer.js'
import type { SdkPublisherOptions } from './publisher.js'

/** A broker in a process of its own, and how to start clients of it in theirs. */
export interface RunningBroker {
  readonly broker: Worker
  readonly port: number
  readonly folder: string
  /** Starts a worker that is stopped at the end, before those that were started earlier. */
  start(name: 'broker', options: SdkBrokerOptions): Promise<Worker>
  start(name: 'publisher', options: SdkPublisherOptions): Promise<Worker>
  start(name: 'consumer', options: SdkConsumerOptions): Promise<Worker>
  start(name: 'connections', options: SdkConnectionsOptions): Promise<Worker>
}

const topic = 'bench'
/** Few enough that a batch of each is full, enough for a group to share. */
const partitions = 8

/** Starts a broker on an empty folder below `dataRoot`; ends and removes everything afterwards. */
export async function withBroker<T>(
  dataRoot: string,
  use: (running: RunningBroker) => Promise<T>,
): Promise<T> {
  const folder = join(dataRoot, `broker-${process.pid}`)
  const workers: Worker[] = []
  const start = async (name: string, options: object): Promise<Worker> => {
    const worker = await Worker.start(name, new URL(`./${name}.js`, import.meta.url), options)
    workers.unshift(worker)
    return worker
  }
  try {
    const broker = await start('broker', { folder, port: 0 })
    return await use({ broker, port: broker.ready as number, folder, start })
  } finally {
    for (const worker of workers) await worker.stop().catch(() => worker.kill())
    await rm(folder, { recursive: true, force: true })
  }
}

/** Publishes at full speed with nobody consuming; counts what is acknowledged. */
export function runPublish(
  options: Interval & { readonly messageBytes: number; readonly dataRoot: string },
): Promise<Throughput> {
  return withBroker(options.dataRoot, async ({ broker, port, start }) => {
    await createTopic(port)
    const { messageBytes } = options
    const publisher = await start('publisher', { port, topic, messageBytes, mode: 'bulk' })
    return measureThroughput(publisher, [broker], options)
  })
}

/** Fills a topic with `logBytes` of values, then measures how fast they are read from the first on. */
export function runConsume(
  options: Interval & { readonly messageBytes: number; readonly logBytes: number; readonly dataRoot: string },
): Promise<Throughput> {
  return withBroker(options.dataRoot, async ({ broker, port, start }) => {
    await createTopic(port)
    const { messageBytes, logBytes } = options
    const messagesMax = Math.ceil(logBytes / messageBytes)
    const publisher = await start('publisher', { port, topic, messageBytes, mode: 'bulk', messagesMax })
    while ((await publisher.sample()).messages < messagesMax) await sleep(50)
    await publisher.stop()
    const consumer = await start('consumer', { port, topic, mode: 'again', latency: false, warmUpMs: 0 })
    return measureThroughput(consumer, [broker], options)
  })
}

/** Publishes at full speed and counts what a consumer receives that acknowledges it in a group. */
export function runEndToEnd(
  options: Interval & {
    readonly messageBytes: number
    /** How it is published, and how it is received. */
    readonly publish: 'bulk' | 'promises'
    readonly consume: 'batches' | 'messages'
    readonly dataRoot: string
  },
): Promise<Throughput> {
  return withBroker(options.dataRoot, async ({ broker, port, start }) => {
    await createTopic(port)
    const { messageBytes, publish, consume } = options
    const consumer = await start('consumer', { port, topic, mode: consume, latency: false, warmUpMs: 0 })
    const publisher = await start('publisher', { port, topic, messageBytes, mode: publish })
    return measureThroughput(consumer, [broker, publisher], options)
  })
}

/** Latency at a fixed rate, from the intended time of publishing to receipt in a group, one by one. */
export function runLatency(
  options: Interval & {
    readonly messageBytes: number
    readonly messagesPerS: number
    readonly dataRoot: string
  },
): Promise<LatencyFigures> {
  return withBroker(options.dataRoot, async ({ port, start }) => {
    await createTopic(port)
    const { messageBytes, messagesPerS, warmUpMs, measureMs } = options
    const consumer = await start('consumer', { port, topic, mode: 'messages', latency: true, warmUpMs })
    const publisher = await start('publisher', { port, topic, messageBytes, mode: 'rate', messagesPerS })
    await sleep(warmUpMs + measureMs)
    await publisher.stop()
    return (await consumer.stop()) as LatencyFigures
  })
}

async function createTopic(port: number): Promise<void> {
  await using client = await connect(`127.0.0.1:${port}`)
  await client.topics.create(topic, { partitions })
}
