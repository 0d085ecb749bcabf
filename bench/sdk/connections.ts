import { type Client, connect } from '../../client/index.js'
import { LatencyHistogram } from '../lib/latency.js'
import { monotonicMs, serveWorker, type WorkerTask } from '../lib/worker.js'
import { type MessageData, MessageSource } from './messages.js'

export interface SdkConnectionsOptions {
  readonly port: number
  readonly connections: number
  /** The messages of the publishing clients, once they begin. Default: no client publishes. */
  readonly publish?: { readonly clients: number; readonly topic: string; readonly data: MessageData }
}

/** Number of clients that connect, or open their publishing socket, at the same time. */
const openingMax = 50

/** Clients that are connected and idle, until they are told to publish one message at a time each. */
class SdkConnections {
  readonly histogram = new LatencyHistogram()
  readonly #options: SdkConnectionsOptions
  readonly #clients: Client[] = []
  #source: MessageSource | undefined
  #publishing: readonly Promise<void>[] = []
  #isStopped = false
  #messages = 0
  #bytes = 0

  constructor(options: SdkConnectionsOptions) {
    this.#options = options
  }

  count(): { messages: number; bytes: number } {
    return { messages: this.#messages, bytes: this.#bytes }
  }

  async connect(): Promise<void> {
    const { port, connections, publish } = this.#options
    if (publish !== undefined) this.#source = await MessageSource.open(publish.data)
    await inGroups(Array.from({ length: connections }), async () => {
      this.#clients.push(await connect(`127.0.0.1:${port}`))
    })
  }

  /** Resolves when every publishing client has published one message; all continue. */
  async begin(): Promise<void> {
    const publishers = this.#clients.slice(0, this.#options.publish?.clients ?? 0)
    await inGroups(publishers, (client) => this.#publish(client))
    this.histogram.reset()
    this.#publishing = publishers.map((client) => this.#run(client))
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await Promise.all(this.#publishing)
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  async #run(client: Client): Promise<void> {
    while (!this.#isStopped) await this.#publish(client)
  }

  async #publish(client: Client): Promise<void> {
    const message = (this.#source as MessageSource).next()
    const sentMs = monotonicMs()
    await client.publish(this.#options.publish?.topic ?? '', message)
    this.histogram.recordSince(sentMs)
    this.#messages++
    this.#bytes += message.value.length
  }
}

async function inGroups<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < items.length; i += openingMax)
    await Promise.all(items.slice(i, i + openingMax).map((item) => work(item)))
}

async function start(options: SdkConnectionsOptions): Promise<WorkerTask> {
  const connections = new SdkConnections(options)
  await connections.connect()
  return {
    count: () => connections.count(),
    begin: () => connections.begin(),
    stop: async () => {
      await connections.stop()
      return connections.histogram.figures()
    },
  }
}

await serveWorker(start)
