export type { Engine, EngineEntry, EngineFactory, EngineOp, RangeOptions } from './engine.js'
export { levelEngines } from './level_engine.js'
export type { LogRead, LogReadResult } from './log_reader.js'
export { memoryEngines } from './memory_engine.js'
export { opKinds } from './ops.js'
export type { PartitionLog } from './partition_log.js'
export type { ReclaimLimits } from './reclaim.js'
export { encodeTrims, type RetentionBounds, retentionOffset, type Trim } from './retention.js'
export type { State } from './state.js'
export {
  type Op,
  openStore,
  type Store,
  type StoreHealth,
  type StoreOptions,
  type StoreStats,
  type Views,
} from './store.js'
