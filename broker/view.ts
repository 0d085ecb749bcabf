/** A fold over operations of the journal. */
export interface View {
  /** The kinds of its operations. */
  readonly kinds: readonly number[]
  /** Restores the fold from the state; replay of later operations follows. */
  load(): Promise<void>
  /** Applies one operation; the same in live operation and in replay. */
  apply(kind: number, payload: Uint8Array): void
}
