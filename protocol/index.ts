export {
  type BatchHeader,
  type BatchHeaderFields,
  batchHeaderBytes,
  batchVersion,
  checkBatch,
  readBatchHeader,
  stampBaseOffset,
  writeBatchHeader,
} from './batch_header.js'
export type { Command, ReplyOf, RequestOf } from './commands/command.js'
export { protocolVersion, protocolVersionMin } from './commands/connection.js'
export { commandOf, commands } from './commands/index.js'
export type { QueueSettings, QueueSettingsInput } from './commands/queues.js'
export type { TopicSettings, TopicSettingsInput } from './commands/topics.js'
export { type Compression, compressionNumbers, compressions } from './compression.js'
export { type ErrorFields, errorFields, errorOf, readErrorBody } from './error_body.js'
export { type ErrorCode, errorCodeOf, errorTable, isMillraceError, MillraceError } from './errors.js'
export { encodeFrame, type Frame, FrameDecoder, frameFlags, frameHeaderBytes } from './frame.js'
export { limits, nameProblem } from './limits.js'
export { checkBody, decodeBody, encodeBody } from './msgpack.js'
export { murmur2, partitionOf } from './partitioner.js'
export {
  batchOfRecords,
  checkBatchForStorage,
  type ProducerStamp,
  RecordBatchBuilder,
  type RecordBody,
  RecordCursor,
  type RecordInput,
  readRecordHeaders,
  recordBytesBound,
  sealBodies,
  splitBatches,
} from './record_batch.js'
export { countOf, offsetsOf, type Runs, rangesOf, runsOf } from './runs.js'
export type { ShapeForm } from './shape.js'
