/** An acknowledged or served record: a digest of key and value. */
export type Digest = string

/** A partition, and its acknowledged data before the damage. */
export interface ExpectedPartition {
  readonly topic: string
  readonly topicId: number
  readonly partition: number
  /** By offset, from 0. */
  readonly records: readonly Digest[]
  /** The committed offset of the group. */
  readonly committedOffset: number
  /** Retention may drop its records at any time. */
  readonly isTrimmed: boolean
  /** The newest batch of its idempotent producer, and its offset. */
  readonly last: { readonly batch: Uint8Array; readonly baseOffset: number }
}

/** The answers of a broker about a partition. */
export interface ObservedPartition {
  readonly startOffset: number
  readonly endOffset: number
  readonly served: ReadonlyMap<number, Digest>
  /** Offsets with the answer CORRUPT, among the acknowledged ones. */
  readonly corrupt: ReadonlySet<number>
  /** Other errors, by offset. */
  readonly errors: ReadonlyMap<number, string>
  readonly committedOffset: number | undefined
  /** The result of a repeat of its newest batch: an offset, or an error. */
  readonly repeated: number | string
  /** The result of a new record: an offset, or an error. */
  readonly published: number | string
}

/** The answers of a broker after the damage. */
export interface Observed {
  /** In the order of the expected ones; undefined for an unknown partition. */
  readonly partitions: readonly (ObservedPartition | undefined)[]
  readonly reasons: readonly string[]
  /** Its log says that a write at the end of a file was dropped, which a crash may have cut short. */
  readonly hasTailNotice: boolean
}
