import {
  encodeBody,
  limits,
  MillraceError,
  nameProblem,
  type TopicSettings,
  type TopicSettingsInput,
} from '../../protocol/index.js'
import { opKinds } from '../../storage/index.js'
import type { Catalog, TopicAltered, TopicCreated, TopicDeleted } from './catalog.js'
import { mergeTopicSettings } from './settings.js'
import type { LogRun, Topic } from './topic.js'

export interface TopicDefaults {
  readonly partitionsDefault: number
  readonly partitionsPerBrokerMax: number
  readonly batchBytesMax: number
  readonly retentionMs: number
  readonly retentionBytes: number
  readonly dedupeWindowMs: number
}

export interface TopicCommandsOptions {
  readonly catalog: Catalog
  readonly defaults: TopicDefaults
  /** Commits one operation; resolves when it is durable and applied. */
  readonly commit: (kind: number, payload: Uint8Array) => Promise<void>
}

export interface TopicInput {
  readonly topic: string
  readonly partitions?: number | undefined
  readonly settings?: TopicSettingsInput | undefined
}

/** Creates, changes and deletes topics, one change at a time, so that each sees the result of the previous one. */
export class TopicCommands {
  readonly #options: TopicCommandsOptions
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: TopicCommandsOptions) {
    this.#options = options
  }

  /** @throws MillraceError BAD_NAME, TOPIC_EXISTS, LIMIT_EXCEEDED, BAD_CONFIG, STORAGE_FULL, STORAGE_FAILED */
  create({ topic: name, partitions, settings }: TopicInput): Promise<Topic> {
    return this.#inTurn(async () => {
      const { catalog, defaults } = this.#options
      const problem = nameProblem(name, limits.topicNameBytesMax)
      if (problem !== undefined) {
        throw new MillraceError(
          'BAD_NAME',
          `the topic name ${JSON.stringify(name)} is not allowed: ${problem}`,
        )
      }
      if (catalog.byName(name) !== undefined) {
        throw new MillraceError('TOPIC_EXISTS', `a topic with the name "${name}" already exists`)
      }
      const inForce = this.#settings(defaults, settings)
      const logs = this.#logs(partitions ?? defaults.partitionsDefault, 0)
      const { topicId } = catalog.next
      const op: TopicCreated = { topicId, name, createdAtMs: Date.now(), settings: inForce, logs }
      await this.#options.commit(opKinds.topicCreated, encodeBody(op))
      return catalog.topic(name)
    })
  }

  /** @throws MillraceError UNKNOWN_TOPIC, LIMIT_EXCEEDED, BAD_CONFIG, STORAGE_FULL, STORAGE_FAILED */
  alter({ topic: name, partitions, settings }: TopicInput): Promise<Topic> {
    return this.#inTurn(async () => {
      const topic = this.#options.catalog.topic(name)
      const { length: existing } = topic.partitions
      if (partitions !== undefined && partitions < existing) {
        throw new MillraceError(
          'BAD_CONFIG',
          `topic "${name}" has ${existing} partitions, expected at least that number, got ${partitions}`,
        )
      }
      const inForce = this.#settings(topic.settings, settings)
      const added = (partitions ?? existing) - existing
      const op: TopicAltered = {
        topicId: topic.topicId,
        settings: inForce,
        ...(added > 0 ? { logs: this.#logs(added, existing) } : {}),
      }
      await this.#options.commit(opKinds.topicAltered, encodeBody(op))
      return topic
    })
  }

  /** @throws MillraceError UNKNOWN_TOPIC, STORAGE_FULL, STORAGE_FAILED */
  delete(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const op: TopicDeleted = { topicId: this.#options.catalog.topic(name).topicId }
      await this.#options.commit(opKinds.topicDeleted, encodeBody(op))
    })
  }

  #settings(current: TopicSettings, input: TopicSettingsInput | undefined): TopicSettings {
    return mergeTopicSettings(current, input, this.#options.defaults.batchBytesMax)
  }

  #logs(count: number, existing: number): LogRun {
    const { catalog, defaults } = this.#options
    if (count < 1) throw new MillraceError('BAD_CONFIG', `partitions is ${count}, expected at least 1`)
    if (existing + count > limits.partitionsPerTopicMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `the topic would have ${existing + count} partitions, expected at most ${limits.partitionsPerTopicMax}`,
      )
    }
    if (catalog.partitionCount + count > defaults.partitionsPerBrokerMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `the broker has ${catalog.partitionCount} partitions and can't add ${count}, the maximum is ${defaults.partitionsPerBrokerMax} (partitionsPerBrokerMax)`,
      )
    }
    return [catalog.next.logId, count]
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}
