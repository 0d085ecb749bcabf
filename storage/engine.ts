/**
 * What the log asks of a key-value engine: ordered byte keys, point reads, short bounded ranges, and one kind of
 * write, which is atomic and durable. LevelDB gives it today; it is no more than an LSM over an object store can give.
 */
export type EngineOp =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array }

export type EngineEntry = readonly [key: Uint8Array, value: Uint8Array]

export interface RangeOptions {
  /** First key, inclusive. */
  readonly gte: Uint8Array
  /** End of the range, exclusive. */
  readonly lt: Uint8Array
  /** Most entries to return. */
  readonly limit: number
  /** From the end of the range downwards. */
  readonly reverse?: boolean
}

export interface Engine {
  /** Holds the same entries: asked when what this one gives is damaged. */
  readonly copy?: Engine | undefined
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** Values in the order of `keys`. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /** Entries in key order. Holds no snapshot once it has resolved. */
  range(options: RangeOptions): Promise<EngineEntry[]>
  /**
   * Writes all operations or none; resolves once they would survive a power cut. The operations and their bytes must
   * not change before that.
   */
  commit(ops: readonly EngineOp[]): Promise<void>
  /**
   * Tells that what is committed next begins with this key, behind all that was committed before: an engine may make room
   * first. Where it does, the commit has to wait until that has resolved.
   */
  appending?(key: Uint8Array): Promise<void> | undefined
  /**
   * Asks the engine to give back the space of what was deleted or replaced between two keys. An engine that gathers
   * writes in memory writes them out first, also when the range is empty.
   */
  compact(gte: Uint8Array, lt: Uint8Array): Promise<void>
  close(): Promise<void>
}

/** Opens the two engines of a shard; called again after a rejected write. */
export interface EngineFactory {
  open(name: 'journal' | 'state'): Promise<Engine>
  /** Rejects while the disk takes no writes; asked before engines are closed that can't be opened then. */
  tryWriting?(): Promise<void>
}
