import type { TopicSettings } from '../../protocol/index.js'
import type { Partition } from '../partition/partition.js'

/** A topic with its current settings. Only the catalog changes it. */
export interface Topic {
  /** Unique forever: a topic that is created again under the same name has another id. */
  readonly topicId: number
  readonly name: string
  readonly createdAtMs: number
  settings: TopicSettings
  /** The logs of each run of partitions: [first log id, count]; one run for the creation, one for each addition. */
  readonly logRuns: (readonly [firstLogId: number, count: number])[]
  readonly partitions: Partition[]
}

/** A run of `count` logs with consecutive ids. */
export type LogRun = Topic['logRuns'][number]
