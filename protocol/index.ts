export { bytesText, durationText, limitText, timeText } from './amount_text.js'
export {
  type BatchHeader,
  type BatchHeaderFields,
  batchChecksumFrom,
  batchHeaderBytes,
  batchVersion,
  checkBatch,
  readBatchChecksum,
  readBatchHeader,
  stampBaseOffset,
  writeBatchHeader,
} from './batch_header.js'
export type { Command, ReplyOf, RequestOf } from './commands/command.js'
export { protocolVersion, protocolVersionMin } from './commands/connection.js'
export { commandOf, commands } from './commands/index.js'
export type { QueueSettings, QueueSettingsInput } from './commands/queues.js'
export type { TopicSettings, TopicSettingsInput } from './commands/topics.js'
export { type Compression, compressionNumbers, compressions, loadCodec } from './compression.js'
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
  type RecordBody,
  type RecordInput,
  sealBodies,
  splitBatches,
} from './record_batch.js'
export { RecordBatchBuilder, recordBytesMax } from './record_batch_builder.js'
export { RecordCursor, readRecordHeaders } from './record_cursor.js'
export { countOf, offsetsOf, type Runs, rangesOf, runsOf } from './runs.js'
export type { ShapeForm } from './shape.js'
export { nearestName, suggestion } from './suggest.js'
