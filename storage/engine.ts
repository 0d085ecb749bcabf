/**
 * The key-value engine that the log needs: ordered byte keys, point reads, short bounded ranges, and one kind of
 * write, which is atomic and durable. LevelDB provides it today. An LSM tree over an object store could provide it too.
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
  /** Reads from the end of the range downwards. */
  readonly reverse?: boolean
}

/**
 * A read is of one moment between its call and its end: of each commit it sees all or nothing. Commits after
 * the call may be in it. An engine in parts promises this for each part. A caller that combines the result of a read
 * with its memory must take both as of one moment: see State.
 */
export interface Engine {
  /** A copy with the same entries; readers use it when an entry of this engine is damaged. */
  readonly copy?: Engine | undefined
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** Returns values in the order of `keys`. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /** Entries in key order. Holds no snapshot once it has resolved. */
  range(options: RangeOptions): Promise<EngineEntry[]>
  /**
   * Writes all operations or none; resolves when they would survive a power cut. The operations and their bytes must
   * not change before that.
   */
  commit(ops: readonly EngineOp[]): Promise<void>
  /**
   * Announces that the next commit begins with this key, after all committed keys: an engine may make room
   * first. If it does, the commit must wait until the promise resolves.
   */
  appending?(key: Uint8Array): Promise<void> | undefined
  /**
   * Asks the engine to free the space of deleted or replaced entries between two keys. An engine that buffers
   * writes in memory writes them out first, also if the range is empty.
   */
  compact(gte: Uint8Array, lt: Uint8Array): Promise<void>
  /** A view of the entries as of now, until it is closed. Writes continue; the engine keeps replaced entries for the view. */
  snapshot?(): EngineSnapshot
  close(): Promise<void>
}

/** The entries of an engine at one moment. */
export interface EngineSnapshot {
  /** Entries in key order. */
  range(options: RangeOptions): Promise<EngineEntry[]>
  close(): Promise<void>
}

/** Opens the two engines of a shard; the store calls it again after a rejected write. */
export interface EngineFactory {
  open(name: 'journal' | 'state'): Promise<Engine>
  /**
   * Rejects while the disk accepts no writes; the store calls it before it closes engines that it could not open again
   * then.
   */
  tryWriting?(): Promise<void>
}
