import { type Client, type Consumer, connect } from '../../client/index.js'
import { LatencyHistogram } from '../lib/latency.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkConsumerOptions {
  readonly port: number
  readonly topic: string
  /**
   * "batches": in a group, `batches()`, acknowledged by batch; "messages": in a group, one by one, each acknowledged;
   * "again": alone, `batches()` from the first message to the last, again and again; "once": the same one time.
   */
  readonly mode: 'batches' | 'messages' | 'again' | 'once'
  /** Measures latencies from the intended time at the beginning of every value; `stop` resolves to them. */
  readonly latency: boolean
  /** Latencies are not counted for this long after the first message. */
  readonly warmUpMs: number
}

class SdkConsumer {
  readonly histogram = new LatencyHistogram()
  readonly #client: Client
  readonly #options: SdkConsumerOptions
  readonly #stopped = new AbortController()
  #messages = 0
  #bytes = 0

  constructor(client: Client, options: SdkConsumerOptions) {
    this.#client = client
    this.#options = options
  }

  count(): { messages: number; bytes: number } {
    return { messages: this.#messages, bytes: this.#bytes }
  }

  stop(): void {
    this.#stopped.abort()
  }

  /** Resolves when it receives; what it resolves to ends with the work. */
  async start(): Promise<{ readonly finished: Promise<void> }> {
    const { mode } = this.#options
    if (mode === 'again' || mode === 'once') return { finished: this.#readAll(mode === 'again') }
    const consumer = this.#consume({ group: 'bench', from: 'latest' })
    await consumer.start()
    return { finished: mode === 'batches' ? this.#readBatches(consumer) : this.#readMessages(consumer) }
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
    return this.#client.consume<Uint8Array>(this.#options.topic, { ...options, signal: this.#stopped.signal })
  }
}

async function start(options: SdkConsumerOptions): Promise<WorkerTask> {
  const client = await connect(`127.0.0.1:${options.port}`)
  const consumer = new SdkConsumer(client, options)
  const { finished } = await consumer.start()
  return {
    count: () => consumer.count(),
    stop: async () => {
      consumer.stop()
      await finished
      await client.close()
      return consumer.histogram.figures()
    },
  }
}

await serveWorker(start)
