import type { BatchHeader } from '../protocol/index.js'
import type { Operation } from './block.js'
import type { EngineFactory } from './engine.js'
import type { PartitionLog } from './partition_log.js'
import type { ReclaimLimits } from './reclaim.js'
import type { State } from './state.js'

/** One operation of a commit: a record batch for a log, or one of ops.ts. */
export type Op = { readonly log: PartitionLog; readonly batch: Uint8Array } | Operation

/** The functions of the store for views: use them in `load`, and in `apply` of an operation that changes the view. */
export interface ViewHost {
  readonly state: State
  log(id: number): PartitionLog | undefined
  createLog(id: number): PartitionLog
  dropLog(id: number): void
}

/**
 * The state that the broker derives from the journal. The calls are the same in normal operation and in replay, in the
 * order of the journal.
 */
export interface Views {
  /** Called once, before replay: loads the state of the checkpoint. */
  load(host: ViewHost): Promise<void>
  apply(kind: number, payload: Uint8Array, position: number): void
  /** A batch is durable and readable. */
  appended(log: PartitionLog, header: BatchHeader): void
  /** The name of a log for humans: "partition 3 of topic ...". */
  nameOf?(logId: number): string | undefined
  /** A checkpoint begins: writes pending changes to the state. */
  save(): void
  /**
   * The end of the journal is lost, with operations that nobody knows. Called after replay: skips numbers that they may
   * have used.
   */
  endLost?(): void
  /** Writes failed: assigned offsets that are not durable are invalid. */
  rolledBack(): void
}

export interface StoreHealth {
  readonly status: 'ok' | 'degraded' | 'failed'
  readonly reasons: readonly string[]
}

export interface StoreOptions {
  /** The data folder; without it, all data is in memory. */
  readonly dir?: string | undefined
  /** Engines to use instead of LevelDB in `dir`, or of new ones in memory. */
  readonly engines?: EngineFactory | undefined
  /** Limit of the newest blocks in memory for readers, in bytes. */
  readonly tailCacheBytes?: number | undefined
  /** Size at which the journal starts a new database. Default 1 GiB. */
  readonly journalSegmentBytes?: number | undefined
  /** Limit of one commit, in bytes, if it has more than one request. */
  readonly commitBytesMax?: number | undefined
  readonly checkpointIntervalMs?: number | undefined
  /** Bytes of changed state at which a checkpoint starts early. */
  readonly checkpointBytesMax?: number | undefined
  /** Free space of the file system below which the store refuses operations that need more disk space. */
  readonly freeBytesMin?: number | undefined
  /**
   * Size of the file that the store deletes when the disk is full, so that it can commit operations that free space; 0:
   * no file.
   */
  readonly reserveBytes?: number | undefined
  readonly diskWatchIntervalMs?: number | undefined
  /** Interval of checks for space to free. */
  readonly reclaimIntervalMs?: number | undefined
  /** Thresholds for freeing space. */
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

/** The options with defaults. */
export type StoreSettings = typeof storeDefaults

export function storeSettings(options: StoreOptions): StoreSettings {
  const settings: StoreSettings = { ...storeDefaults }
  for (const name of Object.keys(storeDefaults) as (keyof StoreSettings)[])
    settings[name] = options[name] ?? storeDefaults[name]
  return settings
}
