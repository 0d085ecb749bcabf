import type { QueueSettings, TopicSettingsInput } from '../../protocol/index.js'
import type { Op } from '../../storage/index.js'
import type { Admission } from '../admission.js'
import type { Catalog } from '../topics/catalog.js'
import type { Topic } from '../topics/topic.js'
import type { QueueRecord, QueuesView } from './queues_view.js'
import type { RecordReader, UnreadableBatch } from './read_records.js'

/** The functions of the shard that queue groups use. */
export interface QueueHost {
  readonly catalog: Catalog
  readonly view: QueuesView
  readonly reader: RecordReader
  readonly admission: Admission
  /** Largest batch that fits into a frame of a reply, bytes. */
  readonly payloadBytesMax: number
  /** Unique, also across restarts. */
  uniqueId(): number
  /** Wall clock (ms since 1970) that never runs ahead. */
  nowMs(): number
  /** Wall clock (ms since 1970) that never falls behind, also after a restart. */
  latestMs(): number
  /** Commits all operations or none; `assigned` receives the base offset of each batch. */
  commit(ops: readonly Op[], assigned?: (index: number, baseOffset: number) => void): Promise<void>
  /** Whether a stream group has this name; it is another group. */
  isStreamGroup(name: string): boolean
  createTopic(name: string, settings: TopicSettingsInput): Promise<Topic>
  /** Reports offsets of a group's messages that cannot be read any more. */
  lost(group: string, topic: string, partition: number, first: number, end: number): void
  /** Reports a batch that its publisher packed wrongly: the group makes a dead letter of it. */
  unreadable(group: string, topic: string, partition: number, batch: UnreadableBatch): void
  failed(group: string, error: unknown): void
}

/** The connection of a worker. */
export interface WorkerSession {
  readonly clientName: string
  readonly address: string
  /** Whether a reply of any size is allowed now. */
  readonly hasRoom: boolean
  /** Target size of a reply, bytes; 0 if none is allowed now. */
  readonly roomBytes: number
  /** Resolves when there may be room for a reply of this size. */
  roomChange(bytes: number): Promise<void>
  /** Counts a reply in preparation against the limits of the connection. */
  reserve(bytes: number): void
  release(bytes: number): void
  onClose(callback: () => void): () => void
}

export type { QueueRecord, QueueSettings }
