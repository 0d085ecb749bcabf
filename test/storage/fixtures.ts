import { type BatchHeader, RecordBatchBuilder, RecordCursor, splitBatches } from '../../protocol/index.js'
import {
  type Engine,
  type EngineFactory,
  memoryEngines,
  openStore,
  type PartitionLog,
  type Store,
  type StoreOptions,
  type Views,
} from '../../storage/index.js'
import type { TestContext } from '../helpers/suite.js'

/** One record batch with these values. */
export function batchOf(...values: string[]): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ value, timestamp: 1_000 + values.indexOf(value) })
  return builder.finish()
}

/** One batch of one record of about `bytes` bytes that does not compress, with a timestamp. */
export function batchOfBytes(value: Uint8Array, timestamp = 1_000): Uint8Array {
  const builder = new RecordBatchBuilder(value.length + 200)
  builder.append({ value, timestamp })
  return builder.finish()
}

/** Kinds of the operations that test views understand. */
export const createKind = 101
export const noteKind = 102

/** Views that create logs by operation 101 and remember what they were told. */
export class TestViews implements Views {
  readonly applied: string[] = []
  readonly appendedTo: string[] = []
  rollBacks = 0
  lostEnds = 0
  #store: Store | undefined

  async load(store: Store): Promise<void> {
    this.#store = store
  }

  apply(kind: number, payload: Uint8Array): void {
    const text = Buffer.from(payload).toString()
    if (kind === createKind) this.#store?.createLog(Number(text))
    this.applied.push(`${kind}:${text}`)
  }

  appended(log: PartitionLog, header: BatchHeader): void {
    this.appendedTo.push(`${log.id}@${header.baseOffset}+${header.recordCount}`)
  }

  endLost(): void {
    this.lostEnds++
  }

  save(): void {}

  rolledBack(): void {
    this.rollBacks++
  }
}

/** Opens a store that the test closes; timers are off, and any garbage is worth a round, unless the options say otherwise. */
export async function openTestStore(
  { defer }: TestContext,
  options: StoreOptions = {},
  views = new TestViews(),
): Promise<{ store: Store; views: TestViews }> {
  const eager = { garbageBytesMin: 0, garbageShareMin: 0, rewriteDelayMs: 0, restFactor: 0 }
  const quiet = {
    checkpointIntervalMs: 3_600_000,
    reclaimIntervalMs: 3_600_000,
    freeBytesMin: 1,
  }
  const store = await openStore({ ...quiet, ...options, reclaim: { ...eager, ...options.reclaim } }, views)
  defer(() => store.close())
  return { store, views }
}

/** Creates logs and returns them. */
export async function createLogs<const T extends readonly number[]>(
  store: Store,
  ...ids: T
): Promise<{ [K in keyof T]: PartitionLog }> {
  await store.commit(ids.map((id) => ({ kind: createKind, payload: Buffer.from(String(id)) })))
  return ids.map((id) => logOf(store, id)) as { [K in keyof T]: PartitionLog }
}

export function logOf(store: Store, id: number): PartitionLog {
  const log = store.log(id)
  if (log === undefined) throw new Error(`there is no log ${id}`)
  return log
}

/** All values of a log from an offset on, as `offset=value`. */
export async function valuesOf(store: Store, log: PartitionLog, from = log.startOffset): Promise<string[]> {
  const values: string[] = []
  for (let offset = from; offset < log.endOffset; ) {
    const [result] = await store.read([{ log, offset, bytesMax: 100_000 }])
    if (result?.error !== undefined) throw result.error
    for (const chunk of result?.chunks ?? []) {
      for (const batch of splitBatches(chunk)) {
        const cursor = new RecordCursor(batch)
        while (cursor.next()) {
          if (cursor.offset < offset) continue
          const value = Buffer.from(cursor.records.subarray(cursor.valueStart, cursor.valueEnd)).toString()
          values.push(`${cursor.offset}=${value}`)
        }
        offset = cursor.header.baseOffset + cursor.header.recordCount
      }
    }
  }
  return values
}

/** Engines in memory whose commits can be made to fail, and whose entries can be tampered with. */
export class FaultyEngines implements EngineFactory {
  readonly #inner = memoryEngines()
  /** Called before each commit of an engine; what it throws rejects the commit. */
  beforeCommit: (name: 'journal' | 'state') => void | Promise<void> = () => {}
  /** Called after a commit has been applied; what it throws rejects a commit that is there all the same. */
  afterCommit: (name: 'journal' | 'state') => void = () => {}
  /** Called when blocks are read. */
  beforeRead: (name: 'journal' | 'state', keys: readonly Uint8Array[]) => void = () => {}
  /** Called after a range has been read, before the answer. */
  afterRange: (name: 'journal' | 'state') => void | Promise<void> = () => {}
  /** Called when an engine is asked to compact a range. */
  onCompact: (name: 'journal' | 'state', gte: Uint8Array, lt: Uint8Array) => void = () => {}
  /** Called before the engines are reopened; an error means that the disk rejects writes. */
  beforeReopen: () => void = () => {}
  opens = 0

  async tryWriting(): Promise<void> {
    this.beforeReopen()
  }

  async open(name: 'journal' | 'state'): Promise<Engine> {
    const engine = await this.#inner.open(name)
    this.opens++
    return {
      get: (key) => engine.get(key),
      getMany: (keys) => {
        this.beforeRead(name, keys)
        return engine.getMany(keys)
      },
      range: async (options) => {
        const found = await engine.range(options)
        await this.afterRange(name)
        return found
      },
      compact: async (gte, lt) => {
        this.onCompact(name, gte, lt)
        await engine.compact(gte, lt)
      },
      close: () => engine.close(),
      commit: async (ops) => {
        await this.beforeCommit(name)
        await engine.commit(ops)
        this.afterCommit(name)
      },
    }
  }

  /** Everything that one engine holds. */
  async entries(name: 'journal' | 'state'): Promise<[Uint8Array, Uint8Array][]> {
    const engine = await this.#inner.open(name)
    const found = await engine.range({
      gte: new Uint8Array(0),
      lt: new Uint8Array(20).fill(255),
      limit: 1_000_000,
    })
    return found.map(([key, value]) => [key, value])
  }

  async put(name: 'journal' | 'state', key: Uint8Array, value: Uint8Array): Promise<void> {
    await (await this.#inner.open(name)).commit([{ type: 'put', key, value }])
  }

  async del(name: 'journal' | 'state', key: Uint8Array): Promise<void> {
    await (await this.#inner.open(name)).commit([{ type: 'del', key }])
  }
}
