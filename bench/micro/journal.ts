import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RecordBatchBuilder } from '../../protocol/index.js'
import { openStore, type PartitionLog, type Store, type ViewHost, type Views } from '../../storage/index.js'
import { describeMachine, machineLine } from '../lib/machine.js'
import { randomBytes } from '../lib/sample_data.js'
import { sizeName } from '../lib/scenario.js'
import { isProgram, type MicroCase } from './cases.js'

/**
 * Measures the store in isolation, on LevelDB with fsync: commits of large and small batches, reads from the start,
 * restart.
 *
 *     node dist/bench/micro/journal.js [MEGABYTES] [DIR]
 *
 * Writes MEGABYTES of large batches (default 1,000) below DIR (default: the system's folder for temporary files,
 * which should not be a RAM disk).
 */

const partitions = 8
const createKind = 200
const readBytesMax = 1024 * 1024

class BenchViews implements Views {
  #host: ViewHost | undefined

  async load(host: ViewHost): Promise<void> {
    this.#host = host
  }

  apply(kind: number, payload: Uint8Array): void {
    if (kind === createKind) this.#host?.createLog(payload[0] ?? 0)
  }

  appended(): void {}

  save(): void {}

  rolledBack(): void {}
}

function open(dir: string): Promise<Store> {
  return openStore({ dir }, new BenchViews())
}

/** Opens a store with its partitions. */
async function createStore(dir: string): Promise<Store> {
  const store = await open(dir)
  for (let id = 1; id <= partitions; id++)
    await store.commit([{ kind: createKind, payload: Uint8Array.of(id) }])
  return store
}

function batchOf(bytes: number): Uint8Array {
  const builder = new RecordBatchBuilder(bytes + 100)
  builder.append({ value: randomBytes(Math.max(1, bytes - 75)), timestamp: Date.now() })
  return builder.finish()
}

function logsOf(store: Store): PartitionLog[] {
  return Array.from({ length: partitions }, (_, n) => store.log(n + 1)).filter((log) => log !== undefined)
}

/** Commits one batch `times` times, `inFlight` at a time, to the logs in turn. */
async function publish(store: Store, batch: Uint8Array, times: number, inFlight: number): Promise<void> {
  const logs = logsOf(store)
  const startedMs = performance.now()
  const commitsBefore = store.stats.commits
  let next = 0
  let longestMs = 0
  const publisher = async (): Promise<void> => {
    while (next < times) {
      const log = logs[next++ % logs.length] as PartitionLog
      const sentMs = performance.now()
      await store.commit([{ log, batch }])
      longestMs = Math.max(longestMs, performance.now() - sentMs)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, publisher))
  const seconds = (performance.now() - startedMs) / 1000
  const { commits } = store.stats
  print(`${batch.length} B batches, ${inFlight} in flight`, [
    `${(times / seconds).toFixed(0)} batches/s`,
    `${((times * batch.length) / 1e6 / seconds).toFixed(1)} MB/s`,
    `${((commits - commitsBefore) / seconds).toFixed(0)} commits/s`,
    `longest ${longestMs.toFixed(1)} ms`,
  ])
}

/** Reads every log from its start, one after the other, as a late consumer does. */
async function readAll(store: Store): Promise<void> {
  const startedMs = performance.now()
  let bytes = 0
  for (const log of logsOf(store)) {
    for (let offset = log.startOffset; offset < log.endOffset; ) {
      const [result] = await store.read([{ log, offset, bytesMax: readBytesMax }])
      if (result === undefined || result.error !== undefined) throw result?.error ?? new Error('no result')
      for (const chunk of result.chunks) offset += recordsIn(chunk)
      bytes += result.bytes
    }
  }
  const seconds = (performance.now() - startedMs) / 1000
  print('read from the start', [
    `${(bytes / 1e6 / seconds).toFixed(1)} MB/s`,
    `${(bytes / 1e6).toFixed(0)} MB`,
    `resident ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`,
  ])
}

function recordsIn(run: Uint8Array): number {
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  let records = 0
  for (let at = 0; at < run.length; at += view.getUint32(at, true)) records += view.getUint32(at + 20, true)
  return records
}

function print(name: string, figures: readonly string[]): void {
  console.log(`${name.padEnd(40)} ${figures.map((figure) => figure.padStart(18)).join('')}`)
}

async function main(megabytes: number, root: string): Promise<void> {
  console.log(machineLine(describeMachine()))
  const dir = await mkdtemp(join(root, 'millrace-journal-'))
  try {
    let store = await createStore(dir)
    await publish(store, batchOf(200), 3_000, 1)
    await publish(store, batchOf(200), 400_000, 1_000)
    const large = batchOf(64 * 1024)
    await publish(store, large, 1_000, 1)
    await publish(store, large, Math.ceil((megabytes * 1e6) / large.length), 64)
    await store.close()
    const startedMs = performance.now()
    store = await open(dir)
    print('restart', [`${(performance.now() - startedMs).toFixed(0)} ms`])
    await readAll(store)
    await store.close()
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Measures a store on the disk below `root` for a short time, and removes it. */
export async function withJournalCases(
  root: string,
  use: (cases: readonly MicroCase[]) => Promise<void>,
): Promise<void> {
  const dir = await mkdtemp(join(root, 'millrace-journal-'))
  try {
    const store = await createStore(dir)
    try {
      await use([commitCase(store, 200, 1), commitCase(store, 200, 1_000), commitCase(store, 64 * 1024, 64)])
    } finally {
      await store.close()
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

function commitCase(store: Store, bytes: number, inFlight: number): MicroCase {
  const batch = batchOf(bytes)
  const logs = logsOf(store)
  const ops = Array.from({ length: inFlight }, (_, i) => ({
    log: logs[i % logs.length] as PartitionLog,
    batch,
  }))
  return {
    name: `journal, batches of ${sizeName(bytes)}, ${inFlight} in flight`,
    unit: 'batches/s',
    perCall: inFlight,
    work: () => Promise.all(ops.map((op) => store.commit([op]))),
  }
}

if (isProgram(import.meta.url)) {
  const [megabytes = '1000', root = tmpdir()] = process.argv.slice(2)
  await main(Number(megabytes), root)
}
