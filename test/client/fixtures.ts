import { parseAddress } from '../../client/address.js'
import { Cluster } from '../../client/cluster.js'
import { type Client, type ConnectOptions, connect, type ProducerOptions } from '../../client/index.js'
import { Producer } from '../../client/producer/producer.js'
import { producerSettings } from '../../client/producer/settings.js'
import { Publisher } from '../../client/publisher.js'
import { FakeBroker } from '../helpers/fake_broker.js'
import type { TestContext } from '../helpers/suite.js'

/** A client with short pauses, closed without a wait after the test. */
export async function quickClient(
  { defer }: TestContext,
  servers: string | readonly string[],
  options: ConnectOptions = {},
): Promise<Client> {
  const client = await connect({
    servers,
    requestTimeoutMs: 5_000,
    reconnect: { initialMs: 5, maxMs: 40 },
    ...options,
  })
  defer(() => client.close({ timeoutMs: 0 }))
  return client
}

/** A fake broker with the topic "t", and a client of it. */
export async function fakePair(
  context: TestContext,
  { partitions = 1, ...options }: ConnectOptions & { readonly partitions?: number } = {},
): Promise<{ broker: FakeBroker; client: Client; values(partition?: number): (string | null)[] }> {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t', partitions)
  const client = await quickClient(context, broker.address, options)
  return {
    broker,
    client,
    values: (partition = 0) => broker.topics.get('t')?.partitions[partition]?.values ?? [],
  }
}

/** The producer and its parts, without a client, so that a test can inspect it. */
export async function fakeProducer(
  context: TestContext,
  { partitions = 1, requestTimeoutMs = 5_000, ...options }: ProducerOptions & FakeProducerOptions = {},
): Promise<{ broker: FakeBroker; producer: Producer; publisher: Publisher; cluster: Cluster }> {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t', partitions)
  const reconnect = { initialMs: 5, maxMs: 40 }
  const cluster = new Cluster([parseAddress(broker.address)], {
    clientName: 'test',
    connectTimeoutMs: 1_000,
    requestTimeoutMs,
    reconnect,
  })
  await cluster.connect()
  const producer = new Producer(cluster, producerSettings(options), reconnect)
  context.defer(() => {
    producer.close()
    cluster.close()
  })
  return { broker, producer, publisher: new Publisher(cluster, producer), cluster }
}

interface FakeProducerOptions {
  readonly partitions?: number
  readonly requestTimeoutMs?: number
}

/** The result of a promise: its value, or the code (or name) of its error. */
export function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => codeOf(error))
}

export function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? error.name : String(error)
}

/** `v0` ... */
export function numbered(count: number, prefix = 'v'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`)
}
