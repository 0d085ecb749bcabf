/** A record as it was acknowledged, or as it is served: a digest of key and value. */
export type Digest = string

/** A partition, and what was acknowledged of it before the damage. */
export interface ExpectedPartition {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  /** By offset, from 0. */
  readonly records: readonly Digest[]
  /** What the group had committed. */
  readonly committedOffset: number
  /** Retention may drop records of it at any time. */
  readonly isTrimmed: boolean
  /** The newest batch of its idempotent producer, and the offset that it got. */
  readonly last: { readonly batch: Uint8Array; readonly baseOffset: number }
}

/** What a broker answers of a partition. */
export interface ObservedPartition {
  readonly startOffset: number
  readonly endOffset: number
  readonly served: ReadonlyMap<number, Digest>
  /** Offsets that answered CORRUPT, among those that were acknowledged. */
  readonly corrupt: ReadonlySet<number>
  /** Other errors, by offset. */
  readonly errors: ReadonlyMap<number, string>
  readonly committedOffset: number | undefined
  /** Where the repeat of its newest batch went: an offset, or an error. */
  readonly repeated: number | string
  /** Where a new record went: an offset, or an error. */
  readonly published: number | string
}

/** What a broker answers after the damage. */
export interface Observed {
  /** In the order of the expected ones; undefined for a partition that is not known any more. */
  readonly partitions: readonly (ObservedPartition | undefined)[]
  readonly reasons: readonly string[]
  /** It said in its log that a write at the end of a file was dropped, which a crash may have cut short. */
  readonly hasTailNotice: boolean
}
