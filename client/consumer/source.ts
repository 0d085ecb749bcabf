import type { PartitionStream } from './partition_stream.js'
import type { ConsumerStats } from './stats.js'

/** Where a consumer gets its partitions: from a group, or from its own options. */
export interface PartitionSource<Value, Key> {
  readonly state: Extract<ConsumerStats['state'], 'solo' | 'joining' | 'joined' | 'suspended' | 'ended'>
  readonly memberId: string | undefined
  readonly commits: number
  /** Whether no partition is starting or being given up. */
  readonly settled: boolean
  /** Resolves when the first partitions are known and active. */
  start(): Promise<void>
  /** The application acknowledged messages of a stream. */
  acked(stream: PartitionStream<Value, Key>): void
  /** The application moved a stream to another position. */
  moved(stream: PartitionStream<Value, Key>): void
  /**
   * The broker no longer knows the topic of a stream: drops the stream, and continues with a new topic of the same name
   * or ends the consumer. Absent: the consumer ends.
   */
  topicGone?(stream: PartitionStream<Value, Key>): void
  /** Resolves once the offsets acknowledged now are durably committed. */
  commit(): Promise<void>
  /** Commits the acknowledged offsets and gives the partitions up. Throws if the commit does not succeed in time. */
  close(): Promise<void>
}

/** The functions that a source calls for the consumer's streams. */
export interface StreamHost<Value, Key> {
  /** Finds and sets the first offsets of new streams. */
  locate(
    starts: ReadonlyMap<PartitionStream<Value, Key>, number | 'earliest' | 'latest' | Date>,
  ): Promise<void>
  /** The streams may fetch and deliver from now on. */
  activate(streams: readonly PartitionStream<Value, Key>[]): void
  /** The table of streams has changed. */
  changed(): void
  /** Whether the consumer may deliver messages. */
  suspend(suspended: boolean): void
  /** An error that the source retries. */
  retry(error: unknown): void
  fail(error: unknown): void
}
