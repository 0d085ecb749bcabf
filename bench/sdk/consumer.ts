import { type Client, type Consumer, connect, defineTopic } from '../../client/index.js'
import { LatencyHistogram } from '../lib/latency.js'
import { type Count, serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkConsumerOptions {
  readonly port: number
  readonly topic: string
  /**
   * "batches": in a group, `batches()`, acknowledged by batch; "messages": in a group, single deliveries, each
   * acknowledged;
   * "tail": without a group, `batches()` of new messages; "again": without a group, `batches()` from the first message
   * to the
   * last, again and again; "once": the same one time.
   */
  readonly mode: 'batches' | 'messages' | 'tail' | 'again' | 'once'
  /** Names of the groups; each has a client of its own and receives everything. Default: one. */
  readonly groups?: readonly string[]
  /** Measures latencies from the intended time at the beginning of every value; `stop` resolves to them. */
  readonly latency: boolean
  /** Latencies are not counted for this long after the first message. */
  readonly warmUpMs: number
}

class SdkConsumer {
  readonly histogram: LatencyHistogram
  readonly #client: Client
  readonly #group: string
  readonly #options: SdkConsumerOptions
  readonly #stopped = new AbortController()
  #messages = 0
  #bytes = 0

  constructor(client: Client, group: string, histogram: LatencyHistogram, options: SdkConsumerOptions) {
    this.#client = client
    this.#group = group
    this.histogram = histogram
    this.#options = options
  }

  get messages(): number {
    return this.#messages
  }

  get bytes(): number {
    return this.#bytes
  }

  stop(): void {
    this.#stopped.abort()
  }

  /** Resolves when it receives; the resolved promise ends with the work. */
  async start(): Promise<{ readonly finished: Promise<void> }> {
    const { mode } = this.#options
    if (mode === 'again' || mode === 'once') return { finished: this.#readAll(mode === 'again') }
    const alone = mode === 'tail'
    const consumer = this.#consume(alone ? { from: 'latest' } : { group: this.#group, from: 'latest' })
    await consumer.start()
    return { finished: mode === 'messages' ? this.#readMessages(consumer) : this.#readBatches(consumer) }
  }

  async #readAll(again: boolean): Promise<void> {
    do await this.#readBatches(this.#consume({ from: 'earliest', until: 'end' }))
    while (again && !this.#stopped.signal.aborted)
  }

  async #readBatches(consumer: Consumer<Uint8Array, string>): Promise<void> {
    for await (const batch of consumer.batches()) {
      for (const { value } of batch.messages) this.#receive(value)
      batch.ack()
    }
  }

  async #readMessages(consumer: Consumer<Uint8Array, string>): Promise<void> {
    for await (const message of consumer) {
      this.#receive(message.value)
      message.ack()
    }
  }

  #receive(value: Uint8Array): void {
    if (this.#options.latency && this.#messages === 0)
      setTimeout(() => this.histogram.reset(), this.#options.warmUpMs)
    this.#messages++
    this.#bytes += value.length
    if (this.#options.latency)
      this.histogram.recordSince(Buffer.from(value.buffer, value.byteOffset, 8).readDoubleLE())
  }

  #consume(options: Parameters<Client['consume']>[1]): Consumer<Uint8Array, string> {
    return this.#client.consume(defineTopic(this.#options.topic), {
      ...options,
      signal: this.#stopped.signal,
    })
  }
}

function countOf(consumers: readonly SdkConsumer[]): Count {
  return {
    messages: consumers.reduce((sum, { messages }) => sum + messages, 0),
    bytes: consumers.reduce((sum, { bytes }) => sum + bytes, 0),
    messagesByClient: consumers.map(({ messages }) => messages),
  }
}

async function start(options: SdkConsumerOptions): Promise<WorkerTask> {
  const { port, groups = ['bench'] } = options
  const clients = await Promise.all(groups.map(() => connect(`127.0.0.1:${port}`)))
  const histogram = new LatencyHistogram()
  const consumers = clients.map((client, i) => new SdkConsumer(client, groups[i] ?? '', histogram, options))
  const started = await Promise.all(consumers.map((consumer) => consumer.start()))
  return {
    count: () => countOf(consumers),
    stop: async () => {
      for (const consumer of consumers) consumer.stop()
      await Promise.all(started.map(({ finished }) => finished))
      await Promise.all(clients.map((client) => client.close()))
      return histogram.figures()
    },
  }
}

await serveWorker(start)
