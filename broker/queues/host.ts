import type { QueueSettings, TopicSettingsInput } from '../../protocol/index.js'
import type { Op } from '../../storage/index.js'
import type { Admission } from '../admission.js'
import type { Catalog } from '../topics/catalog.js'
import type { Topic } from '../topics/topic.js'
import type { QueueRecord, QueuesView } from './queues_view.js'
import type { RecordReader, UnreadableBatch } from './read_records.js'

/** What queue groups need of the shard that they live in. */
export interface QueueHost {
  readonly catalog: Catalog
  readonly view: QueuesView
  readonly reader: RecordReader
  readonly admission: Admission
  /** Largest batch that fits into a frame of a reply, bytes. */
  readonly payloadBytesMax: number
  /** Unique for ever, also across restarts. */
  uniqueId(): number
  /** Wall clock (ms since 1970) that does not run ahead. */
  nowMs(): number
  /** Wall clock (ms since 1970) that does not stay behind, also after a restart. */
  latestMs(): number
  /** Commits all of it or nothing; `assigned` is told the base offset of each batch. */
  commit(ops: readonly Op[], assigned?: (index: number, baseOffset: number) => void): Promise<void>
  createTopic(name: string, settings: TopicSettingsInput): Promise<Topic>
  /** Offsets of messages that a group was to deliver and that can't be read any more. */
  lost(group: string, topic: string, partition: number, first: number, end: number): void
  /** A publisher packed a batch wrongly: the group makes a dead letter of it. */
  unreadable(group: string, topic: string, partition: number, batch: UnreadableBatch): void
  failed(group: string, error: unknown): void
}

/** A worker's connection. */
export interface WorkerSession {
  readonly clientName: string
  readonly address: string
  /** Whether a reply of any size is allowed now. */
  readonly hasRoom: boolean
  /** Target size of a reply, bytes; 0 if none is allowed now. */
  readonly roomBytes: number
  /** Resolves when there may be room for a reply of this size. */
  roomChange(bytes: number): Promise<void>
  /** Counts a reply that is being prepared against the limits of the connection. */
  reserve(bytes: number): void
  release(bytes: number): void
  onClose(callback: () => void): () => void
}

export type { QueueRecord, QueueSettings }
