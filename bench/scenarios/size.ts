import { statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../client/index.js'
import type { BenchContext, Scenario } from '../lib/scenario.js'
import { monotonicMs, type Sample, type Worker } from '../lib/worker.js'
import type { ReceiptFigures } from '../sdk/publisher.js'
import { type RunningBroker, repeated, withBroker } from '../sdk/sdk.js'

/** What is published and read at full speed: the other partitions are there and hold a message each. */
const topic = { name: 'log', partitions: 8 }
/** Stands beside it while it is filled, to see how long commits take. */
const probe = { name: 'probe', partitions: 2, messagesPerS: 100 }
const wide = { topics: 10, partitions: 999 }
const connections = 2_000
const messageBytes = 1_000
const sampleEveryMs = 100
/** The broker is killed when this much of the log is there. */
const killAtShare = 0.95
const stallMsMax = 60_000

/** 10,000 partitions, 2,000 idle connections and a log of 10 GB, all at once. */
export const sizeScenario: Scenario = {
  name: 'size',
  summary: '10,000 partitions, 2,000 idle connections and a log of --gigabytes',
  byDefault: false,
  async run(context: BenchContext): Promise<void> {
    const logBytes = context.gigabytes * 1e9
    await checkFreeDisk(context.dataRoot, logBytes)
    await withBroker(context.dataRoot, (running) => new SizeRun(context, running, logBytes).run())
  },
}

class SizeRun {
  readonly #context: BenchContext
  readonly #running: RunningBroker
  readonly #logBytes: number
  readonly #messages: number
  #broker: Worker
  #rssBytesMax = 0
  #rssOwnBytesMax = 0

  constructor(context: BenchContext, running: RunningBroker, logBytes: number) {
    this.#context = context
    this.#running = running
    this.#logBytes = logBytes
    this.#messages = Math.ceil(logBytes / messageBytes)
    this.#broker = running.broker
  }

  async run(): Promise<void> {
    const { port, start } = this.#running
    const client = await this.#connect()
    this.#context.progress('creating partitions')
    await createTopics(client)
    this.#context.progress('connecting')
    await start('connections', { port, connections })
    await this.#addResident('idle')
    await client.close()
    await this.#fill()
    await this.#read()
    const name = 'size, most resident memory of the broker'
    this.#add(name, 'MB', 'lower', this.#rssBytesMax / 1e6, { target: 400 })
    this.#add(`${name}, without pages of files`, 'MB', 'lower', this.#rssOwnBytesMax / 1e6)
  }

  /** Fills the log and kills the broker near the end of it, under full load; the publisher has to get over that. */
  async #fill(): Promise<void> {
    const { port, start } = this.#running
    this.#context.progress(`filling ${this.#context.gigabytes} GB`)
    const { name, messagesPerS } = probe
    const prober = await start('publisher', {
      port,
      topic: name,
      data: repeated(100),
      mode: 'rate',
      messagesPerS,
    })
    const startedMs = monotonicMs()
    const messagesMax = this.#messages
    const filler = await start('publisher', {
      port,
      topic: topic.name,
      data: repeated(messageBytes),
      mode: 'bulk',
      messagesMax,
    })
    const filled = await this.#watch(filler, Math.floor(messagesMax * killAtShare))
    const seconds = (monotonicMs() - startedMs) / 1000
    const { p50Ms, p99Ms, longestGapMs } = (await prober.stop()) as ReceiptFigures
    this.#add('size, filling', 'MB/s', 'higher', (filled * messageBytes) / seconds / 1e6)
    this.#add('size, longest time without a receipt while filling', 'ms', 'lower', longestGapMs, {
      details: { 'p50 ms of a receipt': p50Ms, 'p99 ms of a receipt': p99Ms },
    })
    await this.#addResident('filled')
    await this.#restart()
    await this.#watch(filler, messagesMax)
    await filler.stop()
  }

  /** Kills the broker and measures how long a new one, process start included, takes until it answers. */
  async #restart(): Promise<void> {
    this.#context.progress('killing the broker and starting it again')
    const { port, folder, start } = this.#running
    await this.#broker.kill()
    const startedMs = monotonicMs()
    this.#broker = await start('broker', { folder, port })
    const listensMs = monotonicMs() - startedMs
    const client = await this.#connect()
    await client.status()
    const answersMs = monotonicMs() - startedMs
    await client.close()
    this.#add('size, restart after kill -9 until it answers', 's', 'lower', answersMs / 1000, {
      target: 3,
      details: { 's until it listens': listensMs / 1000 },
    })
    // Idle clients don't connect again before they are used.
    await start('connections', { port, connections })
    await this.#addResident('restarted')
  }

  async #read(): Promise<void> {
    const { port, start } = this.#running
    this.#context.progress('reading everything')
    const startedMs = monotonicMs()
    const consumer = await start('consumer', {
      port,
      topic: topic.name,
      mode: 'once',
      latency: false,
      warmUpMs: 0,
    })
    const messages = await this.#watch(consumer, this.#messages)
    const seconds = (monotonicMs() - startedMs) / 1000
    await consumer.stop()
    if (messages !== this.#messages) throw new Error(`read ${messages} messages, expected ${this.#messages}`)
    this.#add('size, consuming from offset 0', 'MB/s', 'higher', this.#logBytes / seconds / 1e6, {
      target: 100,
    })
    await this.#addResident('read')
  }

  /** Samples the broker's memory until the worker has counted so many messages; returns how many those are. */
  async #watch(worker: Worker, messages: number): Promise<number> {
    let counted = 0
    for (let changedMs = monotonicMs(); counted < messages; await this.#pause(changedMs)) {
      const sample = await worker.sample()
      if (sample.messages > counted) changedMs = monotonicMs()
      counted = sample.messages
      await this.#sample()
    }
    return counted
  }

  /** @throws Error when nothing has changed for too long */
  async #pause(sinceMs: number): Promise<void> {
    if (monotonicMs() - sinceMs > stallMsMax) throw new Error(`no progress for ${stallMsMax} ms`)
    await sleep(sampleEveryMs)
  }

  async #sample(): Promise<Sample> {
    const sample = await this.#broker.sample()
    this.#rssBytesMax = Math.max(this.#rssBytesMax, sample.rssBytes)
    this.#rssOwnBytesMax = Math.max(this.#rssOwnBytesMax, sample.rssBytes - sample.rssFileBytes)
    return sample
  }

  async #addResident(when: string): Promise<void> {
    const { rssBytes, rssFileBytes } = await this.#sample()
    this.#add(`size, resident memory of the broker, ${when}`, 'MB', 'lower', rssBytes / 1e6, {
      details: { 'MB of it pages of files': rssFileBytes / 1e6 },
    })
  }

  #connect(): Promise<Client> {
    return connect({ servers: `127.0.0.1:${this.#running.port}`, requestTimeoutMs: 120_000 })
  }

  #add(
    name: string,
    unit: string,
    better: 'higher' | 'lower',
    value: number,
    more: { readonly target?: number; readonly details?: Readonly<Record<string, number>> } = {},
  ): void {
    this.#context.add({ name, unit, better, values: [value], details: {}, ...more })
  }
}

/** Every partition holds a message afterwards. */
async function createTopics(client: Client): Promise<void> {
  await client.topics.create(topic.name, { partitions: topic.partitions, retention: { time: 'forever' } })
  await client.topics.create(probe.name, { partitions: probe.partitions })
  for (let i = 0; i < wide.topics; i++) {
    const name = `wide-${i}`
    await client.topics.create(name, { partitions: wide.partitions })
    const value = Buffer.alloc(messageBytes, 'a')
    await client.publishMany(
      name,
      Array.from({ length: wide.partitions }, (_, partition) => ({ partition, value })),
    )
  }
}

/** A log may take somewhat more than its messages, and the disk must not run full. */
async function checkFreeDisk(folder: string, logBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const neededBytes = logBytes * 1.5 + 1e9
  if (bavail * bsize >= neededBytes) return
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1)
  throw new Error(
    `${folder} has ${gigabytes(bavail * bsize)} GB free, expected at least ${gigabytes(neededBytes)} (see --gigabytes and --data)`,
  )
}
