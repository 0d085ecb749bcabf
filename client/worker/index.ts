export type { QueueOptions, QueueSettings, SettledOutcome, WorkOptions } from './options.js'
export { queueSettingsInput, workSettings } from './options.js'
export { Reject, RetryAfter, WorkMessage } from './work_message.js'
export { Worker, type WorkerHost, type WorkerStats, type WorkHandler, type WorkTopic } from './worker.js'
