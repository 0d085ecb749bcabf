import type { PartitionLog, State } from '../storage/index.js'

/** What a view may use of the store that it folds. */
export interface ViewHost {
  /** Where a view keeps its fold; writes reach the disk with the next checkpoint, together with its position. */
  readonly state: State
  log(id: number): PartitionLog | undefined
  createLog(id: number): PartitionLog
  dropLog(id: number): void
}

/** A fold over operations of the journal. */
export interface View {
  /** The kinds of operations that it folds. */
  readonly kinds: readonly number[]
  /** Restores the fold from the state; replay of what came after follows. */
  load(): Promise<void>
  /** Folds one operation; the same in live operation and in replay. */
  apply(kind: number, payload: Uint8Array): void
}
