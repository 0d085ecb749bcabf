import { type Broker, type BrokerOptions, startBroker } from '../../../broker/index.js'
import { parseAddress } from '../../../client/address.js'
import { Cluster } from '../../../client/cluster.js'
import {
  type Client,
  type ConsumeOptions,
  type Consumer,
  connect,
  defineTopic,
  type Message,
  string,
} from '../../../client/index.js'
import { commands, RecordBatchBuilder } from '../../../protocol/index.js'
import type { TestContext } from '../../helpers/suite.js'

/** A broker in memory, a connection to publish with, and consumers. */
export class Harness {
  broker: Broker
  readonly #context: TestContext
  /** For commands without their own method. */
  readonly cluster: Cluster
  client!: Client

  private constructor(context: TestContext, broker: Broker, cluster: Cluster) {
    this.#context = context
    this.broker = broker
    this.cluster = cluster
  }

  static async start(context: TestContext, options: BrokerOptions = {}): Promise<Harness> {
    const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent', ...options })
    context.defer(() => broker.close())
    const harness = new Harness(context, broker, await connectCluster(context, broker.address.port))
    harness.client = await harness.newClient()
    return harness
  }

  /** Another client with its own sockets, like one of another process. */
  async newClient(port = this.broker.address.port): Promise<Client> {
    const servers = `127.0.0.1:${port}`
    const client = await connect({
      servers,
      requestTimeoutMs: 5_000,
      reconnect: { initialMs: 20, maxMs: 200 },
    })
    this.#context.defer(() => client.close({ timeoutMs: 0 }))
    return client
  }

  /** Ends the broker and starts another on the same port and data. */
  async restartBroker(dir: string): Promise<void> {
    const { port } = this.broker.address
    await this.broker.close()
    this.broker = await startBroker({ engine: 'level', dir, port, logLevel: 'silent' })
    const broker = this.broker
    this.#context.defer(() => broker.close())
  }

  /** Creates a topic and returns its id. */
  async createTopic(topic: string, partitions = 1): Promise<number> {
    const { topicId } = await this.cluster.call(commands.topicCreate, { topic, partitions })
    return topicId
  }

  /** Appends values as one batch of a partition. */
  async publish(topicId: number, partition: number, values: readonly (string | null)[]): Promise<void> {
    const builder = new RecordBatchBuilder()
    for (const value of values) {
      builder.append({ key: `key-${value}`, value, headers: { trace: `trace-${value}` }, timestamp: 1000 })
    }
    await this.publishBatch(topicId, partition, builder.finish())
  }

  async publishBatch(topicId: number, partition: number, batch: Uint8Array): Promise<void> {
    const { body } = await this.cluster.toOwner(
      0,
      'publish',
      commands.publish,
      { batches: [[topicId, partition, batch.length]] },
      { payload: [batch] },
    )
    if (body.results[0]?.error !== 0) throw new Error(`publish was refused: ${body.results[0]?.message}`)
  }

  /** A consumer of text topics, closed after the test. */
  consume(
    topics: string | readonly string[],
    options: ConsumeOptions = {},
    client: Client = this.client,
  ): Consumer<string, string> {
    const names = typeof topics === 'string' ? [topics] : topics
    const defined = names.map((name) => defineTopic(name, { value: string }))
    const consumer = client.consume(defined, {
      from: 'earliest',
      signal: this.#context.signal,
      ...options,
    })
    this.#context.defer(() => consumer.close().catch(() => {}))
    return consumer
  }

  /** The committed offset of a group. */
  async committed(group: string, topic: string, partition = 0): Promise<number | undefined> {
    const { partitions } = await this.cluster.control(commands.groupDescribe, { group })
    return partitions.find((p) => p.topic === topic && p.partition === partition)?.committedOffset
  }
}

async function connectCluster(context: TestContext, port: number): Promise<Cluster> {
  const cluster = new Cluster([parseAddress(`127.0.0.1:${port}`)], {
    clientName: 'test',
    connectTimeoutMs: 2_000,
    requestTimeoutMs: 5_000,
    reconnect: { initialMs: 20, maxMs: 200 },
  })
  context.defer(() => cluster.close())
  await cluster.connect()
  return cluster
}

/** Takes `count` messages from an iterator without closing the consumer. */
export async function take<Item>(iterator: AsyncIterator<Item, undefined>, count: number): Promise<Item[]> {
  const items: Item[] = []
  while (items.length < count) {
    const { value, done } = await iterator.next()
    if (done) break
    items.push(value)
  }
  return items
}

export function valuesOf(messages: readonly Message<string, string>[]): string[] {
  return messages.map((message) => message.value)
}

/** `prefix-from` ... `prefix-(to - 1)` */
export function numbered(prefix: string, from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => `${prefix}-${from + index}`)
}
