import type { BatchHeader } from '../protocol/index.js'
import type { Operation } from './block.js'
import type { EngineFactory } from './engine.js'
import type { PartitionLog } from './partition_log.js'
import type { ReclaimLimits } from './reclaim.js'
import type { State } from './state.js'

/** One operation of a commit: a record batch for a log, or one of ops.ts. */
export type Op = { readonly log: PartitionLog; readonly batch: Uint8Array } | Operation

/** What views may use of the store: inside `load`, and inside `apply` while an operation changes it. */
export interface ViewHost {
  readonly state: State
  log(id: number): PartitionLog | undefined
  createLog(id: number): PartitionLog
  dropLog(id: number): void
}

/** What the broker folds out of the journal. The same calls come live and in replay, in the order of the journal. */
export interface Views {
  /** Once, before replay: take up what the checkpoint holds. */
  load(host: ViewHost): Promise<void>
  apply(kind: number, payload: Uint8Array, position: number): void
  /** A batch is durable and can be read. */
  appended(log: PartitionLog, header: BatchHeader): void
  /** What people call a log: "partition 3 of topic ...". */
  nameOf?(logId: number): string | undefined
  /** A checkpoint begins: put into the state what has changed and is not there yet. */
  save(): void
  /** Writes failed: offsets that were assigned and are not durable are void. */
  rolledBack(): void
}

export interface StoreHealth {
  readonly status: 'ok' | 'degraded' | 'failed'
  readonly reasons: readonly string[]
}

export interface StoreOptions {
  /** The data folder; without it everything is in memory. */
  readonly dir?: string | undefined
  /** Other engines than LevelDB in `dir`, or than new ones in memory. */
  readonly engines?: EngineFactory | undefined
  /** Bytes of the newest blocks that stay in memory for readers. */
  readonly tailCacheBytes?: number | undefined
  /** At which the journal goes on in another database. Default 1 GiB. */
  readonly journalSegmentBytes?: number | undefined
  /** Most bytes of one commit, if it is more than one request. */
  readonly commitBytesMax?: number | undefined
  readonly checkpointIntervalMs?: number | undefined
  /** Bytes of changed state that make a checkpoint come early. */
  readonly checkpointBytesMax?: number | undefined
  /** Free space of the file system below which nothing that grows the disk is accepted. */
  readonly freeBytesMin?: number | undefined
  /** Size of a file that is deleted when the disk is full, so that what frees space can be committed; 0: none. */
  readonly reserveBytes?: number | undefined
  readonly diskWatchIntervalMs?: number | undefined
  /** How often is looked whether there is space to give back. */
  readonly reclaimIntervalMs?: number | undefined
  /** When space is given back. */
  readonly reclaim?: Partial<ReclaimLimits> | undefined
  /** Pause before the first attempt to reopen after a rejected write; doubles up to 5 s. */
  readonly reopenDelayMs?: number | undefined
}

export interface StoreStats {
  /** Bytes of record batches that retention has not dropped. */
  readonly liveBytes: number
  readonly commits: number
  readonly journalPosition: number
  readonly checkpointPosition: number
  readonly pendingBytes: number
  readonly tailCacheBytes: number
  /** Free space of the file system; infinite in memory. */
  readonly freeBytes: number
}

export const storeDefaults = {
  tailCacheBytes: 16 * 1024 * 1024,
  commitBytesMax: 2 * 1024 * 1024,
  checkpointIntervalMs: 1_000,
  checkpointBytesMax: 8 * 1024 * 1024,
  freeBytesMin: 256 * 1024 * 1024,
  reserveBytes: 32 * 1024 * 1024,
  diskWatchIntervalMs: 500,
  reclaimIntervalMs: 1_000,
  reopenDelayMs: 100,
}

/** What of the options has a default. */
export type StoreSettings = typeof storeDefaults

export function storeSettings(options: StoreOptions): StoreSettings {
  const settings: StoreSettings = { ...storeDefaults }
  for (const name of Object.keys(storeDefaults) as (keyof StoreSettings)[])
    settings[name] = options[name] ?? storeDefaults[name]
  return settings
}
