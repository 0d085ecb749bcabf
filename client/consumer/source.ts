import type { PartitionStream } from './partition_stream.js'
import type { ConsumerStats } from './stats.js'

/** Where a consumer has its partitions from: a group, or its own choice. */
export interface PartitionSource<Value, Key> {
  readonly state: Extract<ConsumerStats['state'], 'solo' | 'joining' | 'joined' | 'suspended' | 'ended'>
  readonly memberId: string | undefined
  readonly commits: number
  /** Whether no partition is on its way in or out. */
  readonly settled: boolean
  /** Resolves when the first partitions are known and active. */
  start(): Promise<void>
  /** Something of a stream was acknowledged. */
  acked(stream: PartitionStream<Value, Key>): void
  /** A stream was given another position by the application. */
  moved(stream: PartitionStream<Value, Key>): void
  /**
   * The broker does not know the topic of a stream any more: drops the stream, and goes on with another topic of the name or
   * ends the consumer. Absent: the consumer ends.
   */
  topicGone?(stream: PartitionStream<Value, Key>): void
  /** Resolves once what is acknowledged now is durably committed. */
  commit(): Promise<void>
  /** Commits what is acknowledged and gives the partitions up. Throws when that can't be committed in time. */
  close(): Promise<void>
}

/** What a source does with the consumer's streams. */
export interface StreamHost<Value, Key> {
  /** Finds and sets the first offsets of new streams. */
  locate(
    starts: ReadonlyMap<PartitionStream<Value, Key>, number | 'earliest' | 'latest' | Date>,
  ): Promise<void>
  /** They may fetch and deliver from now on. */
  activate(streams: readonly PartitionStream<Value, Key>[]): void
  /** The table of streams has changed. */
  changed(): void
  /** Whether messages may be delivered at all. */
  suspend(suspended: boolean): void
  /** Something failed that is tried again. */
  retry(error: unknown): void
  fail(error: unknown): void
}
