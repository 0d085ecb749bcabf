import { monotonicMs } from '../../../bench/lib/worker.js'
import { type Client, type Consumer, connect, defineTopic } from '../../../client/index.js'
import { serveCalls } from './calls.js'
import { type ReaderPlan, StallingReader } from './reader.js'

/** The calls to the process of the stalled consumers. */
export type StalledCalls = {
  /** The same consumers read everything at once without a stop, and end. */
  read(plan: StallPlan): Promise<StalledResult>
  /** Returns when all have asked for everything and read nothing. */
  stall(plan: StallPlan): Promise<void>
  /** Lets all of them read to the end; returns the result. */
  resume(): Promise<StalledResult>
}

export interface StallPlan extends ReaderPlan {
  readonly topic: string
  /** Connections that stop reading their sockets. */
  readonly rawReaders: number
  /** Consumers of the SDK without a reader, so that their buffers fill up. */
  readonly sdkReaders: number
}

export interface StalledResult {
  /** Connections that the broker ended during the stall. */
  readonly thrownOut: number
  readonly problems: readonly string[]
  readonly messages: number
}

interface SdkReader {
  readonly client: Client
  readonly consumer: Consumer<Uint8Array, string>
}

const sdkBufferBytesMax = 1024 * 1024
const resumeMs = 90_000
let stalled: Readers | undefined

const calls: StalledCalls = {
  async read(plan) {
    return new Readers(plan, false).readAll()
  },

  async stall(plan) {
    stalled = new Readers(plan, true)
    await stalled.started
  },

  resume() {
    if (stalled === undefined) throw new Error('nothing is stalled')
    return stalled.readAll()
  },
}

class Readers {
  /** Resolves when all are connected. */
  readonly started: Promise<unknown>
  readonly #plan: StallPlan
  readonly #raw: readonly StallingReader[]
  readonly #running: readonly Promise<void>[]
  #sdk: readonly SdkReader[] = []

  constructor(plan: StallPlan, stalled: boolean) {
    this.#plan = plan
    this.#raw = Array.from({ length: plan.rawReaders }, () => new StallingReader(plan))
    if (stalled) for (const reader of this.#raw) reader.stall()
    this.#running = this.#raw.map((reader) => reader.run())
    for (const one of this.#running) one.catch(() => {})
    this.started = this.#startSdk()
  }

  /** Lets all read the requested data to the end. */
  async readAll(): Promise<StalledResult> {
    await this.started
    for (const reader of this.#raw) reader.resume()
    const { ends } = this.#plan
    const problems: string[] = []
    const untilMs = monotonicMs() + resumeMs
    const watch = (name: string, work: Promise<void>): Promise<unknown> =>
      inTime(work, untilMs).catch((error: unknown) => problems.push(`${name}: ${String(error)}`))
    await Promise.all([
      ...this.#running.map((one, index) => watch(`stalled consumer ${index}`, one)),
      ...this.#sdk.map(({ consumer }, index) =>
        watch(`paused consumer ${index}`, readToEnd(consumer, ends, problems)),
      ),
    ])
    for (const reader of this.#raw) problems.push(...reader.problems)
    await Promise.all(this.#sdk.map(({ client }) => client.close({ timeoutMs: 0 })))
    return {
      thrownOut: this.#raw.reduce((sum, reader) => sum + reader.thrownOut, 0),
      problems,
      messages: ends.reduce((sum, end) => sum + end, 0) * (this.#raw.length + this.#sdk.length),
    }
  }

  async #startSdk(): Promise<void> {
    const { address, topic, sdkReaders } = this.#plan
    this.#sdk = await Promise.all(
      Array.from({ length: sdkReaders }, async () => {
        const client = await connect({
          servers: `${address.host}:${address.port}`,
          clientName: 'paused consumer',
        })
        const consumer = client.consume(defineTopic(topic), {
          from: 'earliest',
          until: 'end',
          bufferBytesMax: sdkBufferBytesMax,
        })
        await consumer.start()
        return { client, consumer }
      }),
    )
  }
}

async function readToEnd(
  consumer: Consumer<Uint8Array, string>,
  ends: readonly number[],
  problems: string[],
): Promise<void> {
  const next = ends.map(() => 0)
  for await (const { messages } of consumer.batches()) {
    for (const { partition, offset } of messages) {
      if (offset !== next[partition])
        problems.push(`paused consumer: expected offset ${next[partition]} of ${partition}, got ${offset}`)
      next[partition] = offset + 1
    }
  }
  if (next.some((position, partition) => position !== ends[partition]))
    problems.push(`paused consumer: read up to ${next.join(', ')}, the partitions end at ${ends.join(', ')}`)
}

async function inTime(work: Promise<void>, untilMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('did not read to the end in time')), untilMs - monotonicMs())
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

serveCalls(calls)
