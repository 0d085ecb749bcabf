import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LatencyFigures } from '../lib/latency.js'
import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { Worker } from '../lib/worker.js'
import type { PipeConsumerOptions } from './consumer.js'
import type { PipeProducerOptions } from './producer.js'

export interface PipeOptions extends Interval {
  readonly messageBytes: number
  /** One promise per message, awaited in windows of 10,000. */
  readonly promises: boolean
  /** Measures the messages that a consumer receives; otherwise the acknowledged ones, without a consumer. */
  readonly consume: boolean
  /** Parent of the pipe's folder. */
  readonly dataRoot: string
}

/**
 * The yardstick: the minimum of a durable broker on LevelDB, in three processes. TCP in, CRC, group commit with
 * fsync, acknowledge, push to one consumer. No topics, offsets, recovery or real flow control: the ratio of Millrace
 * to it shows the cost of these.
 */
export function runPipe(options: PipeOptions): Promise<Throughput> {
  const { messageBytes, promises, consume, warmUpMs } = options
  return withPipe(options.dataRoot, async ({ broker, port, start }) => {
    const consumer = consume ? await start('consumer', { port, latency: false, warmUpMs }) : undefined
    const producer = await start('producer', { port, messageBytes, promises })
    const counting = consumer ?? producer
    return measureThroughput(counting, counting === producer ? [broker] : [broker, producer], options)
  })
}

/** Latency through the pipe at a fixed rate, from the intended time of sending to receipt. */
export function runPipeLatency(
  options: Interval & {
    readonly messageBytes: number
    readonly messagesPerS: number
    readonly dataRoot: string
  },
): Promise<LatencyFigures> {
  const { messageBytes, messagesPerS, warmUpMs, measureMs } = options
  return withPipe(options.dataRoot, async ({ port, start }) => {
    const consumer = await start('consumer', { port, latency: true, warmUpMs })
    await start('producer', { port, messageBytes, messagesPerS, promises: false })
    await sleep(warmUpMs + measureMs)
    return (await consumer.stop()) as LatencyFigures
  })
}

interface RunningPipe {
  readonly broker: Worker
  readonly port: number
  start(name: 'consumer', options: PipeConsumerOptions): Promise<Worker>
  start(name: 'producer', options: PipeProducerOptions): Promise<Worker>
}

async function withPipe<T>(dataRoot: string, use: (pipe: RunningPipe) => Promise<T>): Promise<T> {
  const folder = join(dataRoot, `pipe-${process.pid}`)
  const workers: Worker[] = []
  const start = async (name: string, options: object): Promise<Worker> => {
    const worker = await Worker.start(`pipe ${name}`, new URL(`./${name}.js`, import.meta.url), options)
    workers.unshift(worker)
    return worker
  }
  try {
    const broker = await start('broker', { folder })
    return await use({ broker, port: broker.ready as number, start })
  } finally {
    for (const worker of workers) await worker.stop().catch(() => worker.kill())
    await rm(folder, { recursive: true, force: true })
  }
}
