/** A fold over operations of the journal. */
export interface View {
  /** The kinds of operations that it folds. */
  readonly kinds: readonly number[]
  /** Restores the fold from the state; replay of what came after follows. */
  load(): Promise<void>
  /** Folds one operation; the same in live operation and in replay. */
  apply(kind: number, payload: Uint8Array): void
}
