export type { BrokerPort, PortRequestOptions, TopicInfo } from './broker_port.js'
export { type BatchOptions, type ConsumedTopic, Consumer } from './consumer.js'
export { DecodeError, headersAsText, type Message, type MessageOf, type RawMessage } from './message.js'
export type { BatchOf, MessageBatch } from './message_batch.js'
export type {
  ConsumeOptions,
  DecodeErrorPolicy,
  PartitionRef,
  SkippedMessages,
  StartPosition,
  TopicPartition,
} from './options.js'
export { type Decoder, recordsIn } from './record_run.js'
export type { RunOptions } from './runner.js'
export type { ConsumerStats, PartitionLag, PartitionStats } from './stats.js'
export { type MemberOffsets, TransactionAcks } from './transaction_acks.js'
