import { type Broker, type BrokerOptions, startBroker } from '../../broker/index.js'
import {
  commands,
  type ProducerStamp,
  RecordBatchBuilder,
  RecordCursor,
  type ReplyOf,
  splitBatches,
} from '../../protocol/index.js'
import { type Engine, type EngineFactory, type EngineOp, memoryEngines } from '../../storage/index.js'
import { MemoryEngine } from '../../storage/memory_engine.js'
import { connectHello, type RawClient } from '../helpers/raw_client.js'
import type { TestContext } from '../helpers/suite.js'

export type PublishResult = ReplyOf<typeof commands.publish>['results'][number]
export type FetchReply = ReplyOf<typeof commands.fetch>

/** A broker in memory on a free port that ends with the test. */
export async function testBroker(
  { defer }: TestContext,
  options: Partial<BrokerOptions> = {},
): Promise<Broker> {
  const broker = await startBroker({
    port: 0,
    logLevel: 'silent',
    ...(options.dir === undefined && options.engines === undefined ? { engine: 'memory' as const } : {}),
    ...options,
  })
  defer(() => broker.close())
  return broker
}

/** A greeted connection that ends with the test. */
export async function testClient({ defer }: TestContext, broker: Broker): Promise<RawClient> {
  const client = await connectHello(broker.address)
  defer(() => client.destroy())
  return client
}

/** A batch of values without keys. */
export function batchOf(
  values: readonly string[],
  producer?: ProducerStamp,
  timestamp: number = Date.now(),
): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ value, timestamp })
  return builder.finish('none', producer)
}

export async function createTopic(
  client: RawClient,
  topic: string,
  options: { partitions?: number; settings?: Record<string, number> } = {},
): Promise<number> {
  const { body } = await client.request(commands.topicCreate, { topic, ...options })
  return body.topicId
}

/** Publishes one batch for each entry in one request. */
export async function publish(
  client: RawClient,
  ...batches: readonly (readonly [topicId: number, partition: number, batch: Uint8Array])[]
): Promise<readonly PublishResult[]> {
  const { body } = await client.request(
    commands.publish,
    { batches: batches.map(([topicId, partition, batch]) => [topicId, partition, batch.length] as const) },
    Buffer.concat(batches.map(([, , batch]) => batch)),
  )
  return body.results
}

export async function fetchPartition(
  client: RawClient,
  topicId: number,
  partition: number,
  offset: number,
  options: { waitMs?: number; bytesMin?: number; bytesMax?: number } = {},
): Promise<{ reply: FetchReply; records: readonly { offset: number; value: string }[] }> {
  const { waitMs = 0, bytesMin = 1, bytesMax = 1_000_000 } = options
  const { body, payload } = await client.request(commands.fetch, {
    waitMs,
    bytesMin,
    bytesMax,
    partitions: [[topicId, partition, offset, bytesMax]],
  })
  return { reply: body, records: recordsOf(payload).filter((record) => record.offset >= offset) }
}

export function recordsOf(run: Uint8Array): { offset: number; value: string }[] {
  const records: { offset: number; value: string }[] = []
  for (const batch of splitBatches(run)) {
    const cursor = new RecordCursor(batch)
    while (cursor.next()) {
      const value = Buffer.from(cursor.records.subarray(cursor.valueStart, cursor.valueEnd)).toString()
      records.push({ offset: cursor.offset, value })
    }
  }
  return records
}

/** Values of a partition from an offset on. */
export async function valuesOf(
  client: RawClient,
  topicId: number,
  partition = 0,
  from = 0,
): Promise<string[]> {
  const values: string[] = []
  for (let offset = from; ; ) {
    const { records } = await fetchPartition(client, topicId, partition, offset)
    if (records.length === 0) return values
    values.push(...records.map((record) => record.value))
    offset = (records.at(-1)?.offset ?? offset) + 1
  }
}

/** Engines in memory whose commits to the journal a test can hold back or fail. */
export class ControlledEngines implements EngineFactory {
  readonly #inner = memoryEngines()
  #gate: { promise: Promise<void>; open: () => void } | undefined
  /** Called before each commit to the journal; its error rejects the commit. */
  beforeCommit: () => void = () => {}
  /** Replaces a value that the journal reads. */
  onRead: (value: Uint8Array | undefined) => Uint8Array | undefined = (value) => value
  /** Number of commits to the journal that have begun. */
  commits = 0

  /** Called before an engine is opened; its error rejects the open. */
  beforeOpen: () => void = () => {}

  async open(name: 'journal' | 'state'): Promise<Engine> {
    this.beforeOpen()
    const engine = await this.#inner.open(name)
    if (name === 'state') return engine
    return {
      get: async (key) => this.onRead(await engine.get(key)),
      getMany: async (keys) => (await engine.getMany(keys)).map((value) => this.onRead(value)),
      range: (options) => engine.range(options),
      compact: (gte, lt) => engine.compact(gte, lt),
      close: () => engine.close(),
      commit: (ops) => this.#commit(engine, ops),
    }
  }

  /** Holds back commits until `release`. */
  hold(): void {
    let open = (): void => {}
    const promise = new Promise<void>((resolve) => {
      open = resolve
    })
    this.#gate = { promise, open }
  }

  release(): void {
    this.#gate?.open()
    this.#gate = undefined
  }

  async #commit(engine: Engine, ops: readonly EngineOp[]): Promise<void> {
    this.commits++
    await this.#gate?.promise
    this.beforeCommit()
    await engine.commit(ops)
  }
}

/** Engines in memory whose journal can fail all reads, or report the next commit as failed after it was written. */
export class UnreadableEngines implements EngineFactory {
  unreadable = false
  refuseNext = false
  readonly #engines = { journal: new MemoryEngine(), state: new MemoryEngine() }

  async open(name: 'journal' | 'state'): Promise<Engine> {
    const engine = this.#engines[name]
    if (name === 'state') return engine
    const readable = (): void => {
      if (this.unreadable) throw new Error('the disk does not answer')
    }
    return {
      get: async (key) => {
        readable()
        return await engine.get(key)
      },
      getMany: async (keys) => {
        readable()
        return await engine.getMany(keys)
      },
      range: async (options) => {
        readable()
        return await engine.range(options)
      },
      compact: () => engine.compact(),
      close: () => engine.close(),
      commit: async (ops) => {
        await engine.commit(ops)
        if (!this.refuseNext) return
        this.refuseNext = false
        throw new Error('the disk is gone')
      },
    }
  }
}
