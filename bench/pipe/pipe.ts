import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Interval, measureThroughput, type Throughput } from '../lib/throughput.js'
import { Worker } from '../lib/worker.js'

export interface PipeOptions extends Interval {
  readonly messageBytes: number
  /** One promise per message, awaited in windows of 10,000. */
  readonly promises: boolean
  /** Measures what a consumer receives; otherwise what the producer has acknowledged, with no consumer. */
  readonly consume: boolean
  /** Where the pipe may make a folder. */
  readonly dataRoot: string
}

/**
 * The yardstick: the least that a durable broker on LevelDB must do, in three processes. TCP in, CRC, group commit with
 * fsync, acknowledge, push to one consumer. No topics, offsets, recovery or flow control worth the name: what Millrace
 * reaches beside it tells what those cost.
 */
export async function runPipe(options: PipeOptions): Promise<Throughput> {
  const folder = join(options.dataRoot, `pipe-${process.pid}`)
  const workers: Worker[] = []
  const start = async (name: string, workerOptions: object): Promise<Worker> => {
    const worker = await Worker.start(`pipe ${name}`, new URL(`./${name}.js`, import.meta.url), workerOptions)
    workers.unshift(worker)
    return worker
  }
  try {
    const broker = await start('broker', { folder })
    const port = broker.ready as number
    const consumer = options.consume ? await start('consumer', { port }) : undefined
    const { messageBytes, promises } = options
    const producer = await start('producer', { port, messageBytes, promises })
    const counting = consumer ?? producer
    const others = workers.filter((worker) => worker !== counting)
    return await measureThroughput(counting, others, options)
  } finally {
    for (const worker of workers) await worker.stop().catch(() => worker.kill())
    await rm(folder, { recursive: true, force: true })
  }
}
