export type { Compression, ErrorCode, TopicSettings } from '../protocol/index.js'
export { errorTable, isMillraceError, MillraceError, partitionOf } from '../protocol/index.js'
export {
  type EnsuredTopic,
  type GroupDescription,
  type GroupSummary,
  GroupsAdmin,
  type OffsetToCommit,
  type PartitionDescription,
  type PurgedPartition,
  type TopicDescription,
  type TopicDifference,
  type TopicOptions,
  type TopicSummary,
  TopicsAdmin,
} from './admin.js'
export type { Backup, BackupChunk } from './backup.js'
export type { BulkPublishOptions, BulkReceipt } from './bulk_publish.js'
export { type BrokerStatus, Client, type ConnectOptions, connect } from './client.js'
export { bytes, type Codec, json, msgpack, string, type ValueFormat } from './codecs.js'
export {
  type BatchOf,
  type ConsumeOptions,
  Consumer,
  type ConsumerStats,
  DecodeError,
  type DecodeErrorPolicy,
  type Message,
  type MessageBatch,
  type MessageOf,
  type PartitionLag,
  type PartitionRef,
  type PartitionStats,
  type RawMessage,
  type RunOptions,
  type SkippedMessages,
  type StartPosition,
  type TopicPartition,
} from './consumer/index.js'
export type { HandleTrace, PublishTrace, ReceiveEvent, SettleEvent } from './diagnostics.js'
export type {
  ClientEvents,
  ClientListener,
  ConnectedEvent,
  DisconnectedEvent,
  ReconnectingEvent,
} from './events.js'
export {
  DelayedAdmin,
  type DelayedMessage,
  type Schedule,
  type ScheduleInput,
  SchedulesAdmin,
} from './later/index.js'
export type { CallOptions } from './options.js'
export type { Receipt } from './producer/batch.js'
export type { ProducerOptions } from './producer/settings.js'
export type { PeekedMessage, PeekOptions, PeekState } from './queue_peek.js'
export { type DeadLetter, type QueueDescription, type QueueSummary, QueuesAdmin } from './queues_admin.js'
export type { MessageInput } from './record.js'
export { defineService, type Service, type ServiceHandler } from './service/index.js'
export {
  defineTopic,
  type InputOf,
  type KeyOf,
  type NameOf,
  type OutputOf,
  type Partitioner,
  type Topic,
  type TopicDefinition,
  type TopicOrName,
} from './topic.js'
export { Transaction, type TransactionMessage, type TransactionOffset } from './transaction.js'
export { type Duration, durationMs, durationOrForeverMs, type Size, sizeBytes } from './units.js'
export { clientVersion } from './version.js'
export {
  type QueueOptions,
  type QueueSettings,
  Reject,
  RetryAfter,
  type SettledOutcome,
  WorkBatch,
  type WorkBatchHandler,
  type WorkBatchOptions,
  Worker,
  type WorkerStats,
  type WorkHandler,
  WorkMessage,
  type WorkMessageOf,
  type WorkOptions,
} from './worker/index.js'
