export { errorText } from './handling.js'
export type {
  QueueOptions,
  QueueSettings,
  SettledOutcome,
  WorkBatchOptions,
  WorkOptions,
  WorkSettings,
} from './options.js'
export { checkWorkOptions, queueSettingsInput, workBatchSettings, workSettings } from './options.js'
export { WorkBatch } from './work_batch.js'
export { Reject, RetryAfter, WorkMessage, type WorkMessageOf, type WorkOutputOf } from './work_message.js'
export {
  type WorkBatchHandler,
  Worker,
  type WorkerHost,
  type WorkerStats,
  type WorkHandler,
  type WorkTopic,
} from './worker.js'
