import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Compression, connect } from '../../client/index.js'
import type { LatencyFigures } from '../lib/latency.js'
import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { Worker, waitForMessages } from '../lib/worker.js'
import type { SdkBrokerOptions } from './broker.js'
import type { SdkConnectionsOptions } from './connections.js'
import type { SdkConsumerOptions } from './consumer.js'
import type { MessageData } from './messages.js'
import type { ReceiptFigures, SdkPublisherOptions } from './publisher.js'
import type { SdkWorkerOptions } from './worker.js'

/** A broker in its own process, and methods that start its clients in theirs. */
export interface RunningBroker {
  readonly broker: Worker
  readonly port: number
  readonly folder: string
  /** Starts a worker that is stopped at the end, before those that were started earlier. */
  start(name: 'broker', options: SdkBrokerOptions): Promise<Worker>
  start(name: 'publisher', options: SdkPublisherOptions): Promise<Worker>
  start(name: 'consumer', options: SdkConsumerOptions): Promise<Worker>
  start(name: 'worker', options: SdkWorkerOptions): Promise<Worker>
  start(name: 'connections', options: SdkConnectionsOptions): Promise<Worker>
}

/** The topic of most scenarios. */
export const topic = 'bench'
/** Few enough that their batches fill, enough for a group to share. */
export const partitionsDefault = 8
/** From this number on batches fill only with much unacknowledged data: the client's default limit. */
const manyPartitions = 1_000
const wideWindowBytes = 64 * 1024 * 1024

/** Starts a broker on an empty folder below `dataRoot`; ends and removes everything afterwards. */
export async function withBroker<T>(
  dataRoot: string,
  use: (running: RunningBroker) => Promise<T>,
  settings: Pick<SdkBrokerOptions, 'connectionsMax' | 'messageIdsMax'> = {},
): Promise<T> {
  const folder = join(dataRoot, `broker-${process.pid}`)
  const workers: Worker[] = []
  const start = async (name: string, options: object): Promise<Worker> => {
    const worker = await Worker.start(name, new URL(`./${name}.js`, import.meta.url), options)
    workers.unshift(worker)
    return worker
  }
  try {
    const broker = await start('broker', { folder, port: 0, ...settings })
    return await use({ broker, port: broker.ready as number, folder, start })
  } finally {
    for (const worker of workers) await worker.stop().catch(() => worker.kill())
    await rm(folder, { recursive: true, force: true })
  }
}

/** Options of the publisher, if they differ from the default. */
export interface PublishShape {
  /** Default: one value of `messageBytes` again and again. */
  readonly data?: MessageData
  readonly partitions?: number
  readonly clients?: number
  readonly compression?: Compression
}

interface Work extends Interval {
  readonly messageBytes: number
  readonly dataRoot: string
}

/** Publishes at full speed without consumers; counts acknowledged messages. */
export function runPublish(work: Work & PublishShape): Promise<Throughput> {
  const { messageBytes, partitions, data = repeated(messageBytes), ...others } = work
  const { dataRoot, warmUpMs, measureMs, ...shape } = others
  return withBroker(dataRoot, async ({ broker, port, start }) => {
    await createTopic(port, partitions)
    const window = (partitions ?? 0) >= manyPartitions ? { windowBytes: wideWindowBytes } : {}
    const publisher = await start('publisher', { port, topic, data, mode: 'bulk', ...window, ...shape })
    return measureThroughput(publisher, [broker], { warmUpMs, measureMs })
  })
}

/** Fills a topic with `logBytes` of values; the result measures reads from the first message. */
export function withFilledTopic<T>(
  work: Work & { readonly logBytes: number },
  use: (measure: () => Promise<Throughput>) => Promise<T>,
): Promise<T> {
  return withBroker(work.dataRoot, async (running) => {
    const { broker, port, start } = running
    await createTopic(port)
    await fill(running, { data: repeated(work.messageBytes), logBytes: work.logBytes })
    return use(async () => {
      const consumer = await start('consumer', { port, topic, mode: 'again', latency: false, warmUpMs: 0 })
      const throughput = await measureThroughput(consumer, [broker], work)
      await consumer.stop()
      return throughput
    })
  })
}

/** Publishes at full speed and counts the messages of a consumer. */
export function runEndToEnd(
  work: Work & {
    /** Options of publisher and consumer. */
    readonly publish: 'bulk' | 'promises'
    readonly consume: 'batches' | 'messages' | 'tail'
  },
): Promise<Throughput> {
  return withBroker(work.dataRoot, async ({ broker, port, start }) => {
    await createTopic(port)
    const { messageBytes, publish: mode, consume } = work
    const consumer = await start('consumer', { port, topic, mode: consume, latency: false, warmUpMs: 0 })
    const publisher = await start('publisher', { port, topic, data: repeated(messageBytes), mode })
    return measureThroughput(consumer, [broker, publisher], work)
  })
}

/** Latencies at a rate, and the actual rate. */
export interface LatencyAtRate {
  readonly latency: LatencyFigures
  readonly receivedPerS: number
  /** A part of the latencies: the delay of the sends. */
  readonly lateP50Ms: number
}

/**
 * Latency at a fixed rate, from the intended publish to the receipt as a single delivery in a group. All published
 * messages are received before the result, so that it includes the slowest ones.
 */
export function runLatency(work: Work & { readonly messagesPerS: number }): Promise<LatencyAtRate> {
  return withBroker(work.dataRoot, async ({ port, start }) => {
    await createTopic(port)
    const { messageBytes, messagesPerS, warmUpMs, measureMs } = work
    const consumer = await start('consumer', { port, topic, mode: 'messages', latency: true, warmUpMs })
    const data = repeated(messageBytes)
    const publisher = await start('publisher', { port, topic, data, mode: 'rate', messagesPerS })
    await sleep(warmUpMs)
    const before = await consumer.sample()
    await sleep(measureMs)
    const after = await consumer.sample()
    const published = (await publisher.stop()) as ReceiptFigures
    await waitForMessages(consumer, published.messages)
    const latency = (await consumer.stop()) as LatencyFigures
    const seconds = (after.timeMs - before.timeMs) / 1000
    const receivedPerS = (after.messages - before.messages) / seconds
    return { latency, receivedPerS, lateP50Ms: published.lateP50Ms }
  })
}

/** Creates the topic of the other methods. */
export async function createTopic(port: number, partitions = partitionsDefault): Promise<void> {
  await using client = await connect({ servers: `127.0.0.1:${port}`, requestTimeoutMs: 120_000 })
  await client.topics.create(topic, { partitions })
}

/** Publishes this many bytes of values, and waits for all acknowledgements. */
export async function fill(
  { port, start }: Pick<RunningBroker, 'port' | 'start'>,
  { data, logBytes }: { readonly data: MessageData; readonly logBytes: number },
): Promise<void> {
  const messagesMax = Math.ceil(logBytes / data.messageBytes)
  const publisher = await start('publisher', { port, topic, data, mode: 'bulk', messagesMax })
  await waitForMessages(publisher, messagesMax)
  await publisher.stop()
}

/** One value again and again. */
export function repeated(messageBytes: number): MessageData {
  return { kind: 'repeated', messageBytes }
}

/** Incompressible values. */
export function randomValues(messageBytes: number): MessageData {
  return { kind: 'random', messageBytes }
}
