import { statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../client/index.js'
import { GrowthMeter, type GrowthPoint, growthSizes } from '../lib/growth.js'
import { MemoryWatch } from '../lib/memory_watch.js'
import type { BenchContext, FigureOptions, Measured, Scenario } from '../lib/scenario.js'
import { monotonicMs, type Worker, waitForMessages } from '../lib/worker.js'
import type { ReceiptFigures } from '../sdk/publisher.js'
import { restartBroker, restartCleanly } from '../sdk/restart.js'
import { type RunningBroker, repeated, withBroker } from '../sdk/sdk.js'
import { restartDetails } from './start_up.js'

/** Its messages are published and read at full speed; the other partitions hold a message each. */
const topic = { name: 'log', partitions: 8 }
/** Publishes during the fill, to measure the latency of commits. */
const probe = { name: 'probe', partitions: 2, messagesPerS: 100 }
const wide = { topics: 10, partitions: 999 }
const connections = 2_000
const messageBytes = 1_000
const sampleEveryMs = 100
/** Size beyond the measured one: the broker is killed during this part. */
const restShare = 0.05
const growthIntervalGb = 0.5
const stallMsMax = 60_000

/**
 * 10,000 partitions, 2,000 idle connections and a large log, all at once, in one broker. Measures the cost of a message
 * while the log grows, over half a gigabyte before each of 1, 2, 5, 10, 20 GB; then kills the broker under full load,
 * and reads and counts everything. One run, because it takes minutes.
 */
export const sizeScenario: Scenario = {
  name: 'size',
  summary:
    '10,000 partitions, 2,000 idle connections, and the cost of messages while a log grows to --gigabytes',
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
  readonly #messages: number
  readonly #messagesWithRest: number
  readonly #growth: GrowthPoint[] = []
  readonly #memory: MemoryWatch
  #broker: Worker

  constructor(context: BenchContext, running: RunningBroker, logBytes: number) {
    this.#context = context
    this.#running = running
    this.#messages = Math.ceil(logBytes / messageBytes)
    this.#messagesWithRest = Math.ceil(this.#messages * (1 + restShare))
    this.#broker = running.broker
    this.#memory = new MemoryWatch(() => this.#broker, 'broker')
  }

  async run(): Promise<void> {
    try {
      await this.#prepare()
      await this.#fill()
      await this.#read()
      await this.#restartCleanly()
    } finally {
      await this.#addMemory()
    }
  }

  async #prepare(): Promise<void> {
    const { port, start } = this.#running
    const client = await this.#connect()
    this.#context.progress('creating partitions')
    await createTopics(client)
    this.#context.progress('connecting')
    await start('connections', { port, connections })
    await this.#addResident('idle')
    await client.close()
  }

  /** Fills the log, then kills the broker under full load; the publisher must survive that. */
  async #fill(): Promise<void> {
    const { port, start } = this.#running
    this.#context.progress(`filling ${this.#context.gigabytes} GB`)
    const { name, messagesPerS } = probe
    const data = repeated(messageBytes)
    const prober = await start('publisher', {
      port,
      topic: name,
      data: repeated(100),
      mode: 'rate',
      messagesPerS,
    })
    const startedMs = monotonicMs()
    const messagesMax = this.#messagesWithRest
    const filler = await start('publisher', { port, topic: topic.name, data, mode: 'bulk', messagesMax })
    const filled = await this.#watchGrowth(filler)
    const seconds = (monotonicMs() - startedMs) / 1000
    const { p50Ms, p99Ms, longestGapMs } = (await prober.stop()) as ReceiptFigures
    this.#add({ name: 'size, filling', unit: 'MB/s', better: 'higher' }, { value: filled / seconds / 1e6 })
    this.#add(
      {
        name: 'size, longest time without a receipt while filling',
        unit: 'ms',
        better: 'lower',
        target: 250,
      },
      { value: longestGapMs, details: { 'p50 ms of a receipt': p50Ms, 'p99 ms of a receipt': p99Ms } },
    )
    this.#addGrowth()
    await this.#addResident('filled')
    await this.#restartKilled()
    await waitForMessages(filler, messagesMax)
    await filler.stop()
  }

  /** Publishes until the log has its size; returns its bytes. */
  async #watchGrowth(filler: Worker): Promise<number> {
    const meter = new GrowthMeter(growthSizes(this.#context.gigabytes), growthIntervalGb)
    let sample = await filler.sample()
    for (let changedMs = monotonicMs(); sample.messages < this.#messages; await sleep(sampleEveryMs)) {
      const before = sample.messages
      const [next, broker] = await Promise.all([filler.sample(), this.#broker.sample()])
      sample = next
      if (sample.messages > before) changedMs = monotonicMs()
      else if (monotonicMs() - changedMs > stallMsMax) throw new Error(`no progress for ${stallMsMax} ms`)
      const point = meter.observe(sample, broker)
      if (point === undefined) continue
      this.#growth.push(point)
      this.#context.progress(`filling ${this.#context.gigabytes} GB: ${point.gigabytes} GB`)
    }
    return sample.bytes
  }

  #addGrowth(): void {
    for (const { gigabytes, messagesPerS, mbPerS, brokerUsPerMessage, usPerMessage } of this.#growth) {
      const name = `size, publish at ${gigabytes} GB`
      const details = { 'MB/s': mbPerS, 'cpu us per message of the broker': brokerUsPerMessage }
      this.#add({ name, unit: 'messages/s', better: 'higher' }, { value: messagesPerS, details })
      const cost = { name: `${name}, processor time of a message`, unit: 'us', better: 'lower' } as const
      this.#add(cost, { value: usPerMessage })
    }
    const [first, last] = [this.#growth[0], this.#growth.at(-1)]
    if (first === undefined || last === undefined || first === last) return
    const from = `at ${last.gigabytes} GB against ${first.gigabytes} GB`
    this.#add(
      { name: `size, processor time of a message ${from}`, unit: 'ratio', better: 'lower', target: 1.1 },
      { value: last.usPerMessage / first.usPerMessage },
    )
    this.#add(
      { name: `size, messages/s ${from}`, unit: 'ratio', better: 'higher', target: 0.9 },
      { value: last.messagesPerS / first.messagesPerS },
    )
  }

  /** Kills the broker and measures the time from the start of a new process to its first answer. */
  async #restartKilled(): Promise<void> {
    this.#context.progress('killing the broker and starting it again')
    await this.#broker.kill()
    const { broker, restart } = await restartBroker(this.#running)
    this.#broker = broker
    this.#add(
      { name: 'size, restart after kill -9 until it answers', unit: 's', better: 'lower', target: 3 },
      { value: restart.answersMs / 1000, details: restartDetails(restart) },
    )
    // Idle clients do not reconnect before their next use.
    await this.#running.start('connections', { port: this.#running.port, connections })
    await this.#addResident('restarted')
  }

  async #read(): Promise<void> {
    const { port, start } = this.#running
    this.#context.progress('reading everything')
    const startedMs = monotonicMs()
    const options = { port, topic: topic.name, mode: 'once', latency: false, warmUpMs: 0 } as const
    const consumer = await start('consumer', options)
    await waitForMessages(consumer, this.#messagesWithRest)
    const seconds = (monotonicMs() - startedMs) / 1000
    const { messages, bytes } = await consumer.sample()
    await consumer.stop()
    if (messages !== this.#messagesWithRest)
      throw new Error(`read ${messages} messages, expected ${this.#messagesWithRest}`)
    this.#add(
      { name: 'size, consuming from offset 0', unit: 'MB/s', better: 'higher', target: 100 },
      { value: bytes / seconds / 1e6 },
    )
    await this.#addResident('read')
  }

  async #restartCleanly(): Promise<void> {
    this.#context.progress('stopping the broker and starting it again')
    const { broker, restart } = await restartCleanly(this.#running, this.#broker)
    this.#broker = broker
    this.#add(
      { name: 'size, restart after a clean stop until it answers', unit: 's', better: 'lower' },
      { value: restart.answersMs / 1000, details: restartDetails(restart) },
    )
  }

  async #addMemory(): Promise<void> {
    const series = [await this.#memory.stop()]
    const { resident, own } = this.#memory.most()
    const most = { name: 'size, most resident memory of the broker', unit: 'MB', better: 'lower' } as const
    this.#add({ ...most, target: 400 }, { value: resident, series })
    this.#add({ ...most, name: `${most.name}, without pages of files` }, { value: own })
  }

  async #addResident(when: string): Promise<void> {
    const { rssBytes, rssFileBytes } = await this.#broker.sample()
    const details = { 'MB of it pages of files': rssFileBytes / 1e6 }
    const name = `size, resident memory of the broker, ${when}`
    this.#add({ name, unit: 'MB', better: 'lower' }, { value: rssBytes / 1e6, details })
  }

  #connect(): Promise<Client> {
    return connect({ servers: `127.0.0.1:${this.#running.port}`, requestTimeoutMs: 120_000 })
  }

  #add(figure: FigureOptions, measured: Measured): void {
    this.#context.addMeasured(figure, [measured])
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

/** A log may take more than its messages, and the disk must not run full. */
async function checkFreeDisk(folder: string, logBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const neededBytes = logBytes * 1.5 + 1e9
  if (bavail * bsize >= neededBytes) return
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1)
  throw new Error(
    `${folder} has ${gigabytes(bavail * bsize)} GB free, expected at least ${gigabytes(neededBytes)} (see --gigabytes and --data)`,
  )
}
