export { encodeEntries } from './backup_entries.js'
export {
  type BackupManifest,
  makeEmptyFolder,
  readManifest,
  verifyBackup,
  writeBackup,
} from './backup_folder.js'
export { type BackupCursor, BackupSource, backupStart } from './backup_source.js'
export { BufferPool, type SharedBuffer } from './buffer_pool.js'
export type { Engine, EngineEntry, EngineFactory, EngineOp, RangeOptions } from './engine.js'
export { levelEngines } from './level_folder.js'
export type { LogRead, LogReadResult } from './log_reader.js'
export { memoryEngines } from './memory_engine.js'
export { type OpKind, opKinds } from './ops.js'
export type { PartitionLog } from './partition_log.js'
export type { ReclaimLimits } from './reclaim.js'
export { checkFolder, type FolderProblem, type RepairOptions, repairFolder } from './repair.js'
export { restoreBackup } from './restore.js'
export { encodeTrims, type RetentionBounds, retentionOffset, type Trim } from './retention.js'
export { SortedBytesMap } from './sorted_bytes_map.js'
export type { State } from './state.js'
export { openStore, type Store } from './store.js'
export type { Op, StoreHealth, StoreOptions, StoreStats, ViewHost, Views } from './store_options.js'
