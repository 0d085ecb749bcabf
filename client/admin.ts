import {
  commands,
  durationText,
  errorOf,
  isMillraceError,
  limits,
  MillraceError,
  type ReplyOf,
  type TopicSettings,
  type TopicSettingsInput,
} from '../protocol/index.js'
import { type Cluster, isRefusedPlace, type TopicInfo } from './cluster.js'
import {
  type CallOptions,
  callOptionNames,
  checkCallOptions,
  checkChoice,
  checkOptions,
  type OptionNames,
} from './options.js'
import { type Duration, durationMs, durationOrForeverMs, type Size, sizeBytes } from './units.js'

/** Settings of a topic; an absent setting keeps the broker's default, or its value in `alter`. */
export interface TopicOptions {
  readonly partitions?: number | undefined
  /** Limits of time and size for each partition. */
  readonly retention?: { readonly time?: Duration | undefined; readonly bytes?: Size | undefined } | undefined
  /** Largest record batch. */
  readonly batchBytesMax?: Size | undefined
  /**
   * How long the topic remembers message ids, to drop messages with the same id: at most 7 days, 0: not at all. Default:
   * the setting `dedupeWindowMs` of the broker, 2 min unless changed.
   */
  readonly dedupeWindow?: Duration | undefined
}

const topicOptionNames: OptionNames<TopicOptions & CallOptions> = {
  ...callOptionNames,
  partitions: true,
  retention: true,
  batchBytesMax: true,
  dedupeWindow: true,
}

export interface TopicSummary {
  readonly name: string
  readonly topicId: number
  readonly partitions: number
  readonly createdAtMs: number
  readonly settings: TopicSettings
}

/**
 * A setting of a topic that differs from the one given to `topics.ensure`: ms, bytes or a number of partitions; -1: no
 * limit.
 */
export interface TopicDifference {
  readonly setting: 'partitions' | 'retention.time' | 'retention.bytes' | 'batchBytesMax' | 'dedupeWindow'
  readonly wanted: number
  /** undefined: the broker is older than this setting. */
  readonly actual: number | undefined
}

/** The result of `topics.ensure`. */
export interface EnsuredTopic extends TopicSummary {
  /** Whether this call created the topic. */
  readonly created: boolean
  /** The settings that differ from the wanted ones; empty for a new topic. */
  readonly differences: readonly TopicDifference[]
}

/** Number of attempts of `ensure` if another program deletes the topic each time. */
const ensureAttemptsMax = 5

export type TopicDescription = ReplyOf<typeof commands.topicDescribe>
/** What `topics.purge` has done to a partition. */
export type PurgedPartition = ReplyOf<typeof commands.topicPurge>['partitions'][number]
export type PartitionDescription = TopicDescription['partitions'][number]

/** The topics of the broker: `client.topics`. */
export class TopicsAdmin {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** @throws MillraceError TOPIC_EXISTS, BAD_NAME, BAD_CONFIG, LIMIT_EXCEEDED, BAD_OPTION */
  async create(topic: string, options: TopicOptions & CallOptions = {}): Promise<TopicSummary> {
    checkOptions('client.topics.create', options, topicOptionNames)
    const { partitions, settings } = topicRequest(options)
    return this.#changing(topic, () =>
      this.#cluster.call(commands.topicCreate, { topic, partitions, settings }, callOnly(options)),
    )
  }

  /**
   * Creates a topic, or compares the one that exists with `options`. Changes nothing of a topic that exists. Several
   * programs may call it at the same time; one of them creates the topic.
   * @returns the topic, whether this call created it, and the settings that differ from those in `options`
   * @throws MillraceError BAD_NAME, BAD_CONFIG, LIMIT_EXCEEDED, BAD_OPTION
   * @example
   * const { differences } = await client.topics.ensure('orders', { partitions: 8, retention: { time: '30d' } })
   * for (const { setting, wanted, actual } of differences) console.warn(`${setting} is ${actual}, expected ${wanted}`)
   */
  async ensure(topic: string, options: TopicOptions & CallOptions = {}): Promise<EnsuredTopic> {
    checkOptions('client.topics.ensure', options, topicOptionNames)
    const wanted = topicRequest(options)
    return this.#changing(topic, () => this.#createOrCompare(topic, wanted, callOnly(options)))
  }

  async #createOrCompare(
    topic: string,
    wanted: ReturnType<typeof topicRequest>,
    call: CallOptions,
  ): Promise<EnsuredTopic> {
    const repeatable = { ...call, repeatable: true }
    for (let attempt = 1; ; attempt++) {
      try {
        const created = await this.#cluster.call(commands.topicCreate, { topic, ...wanted }, repeatable)
        return { ...created, created: true, differences: [] }
      } catch (error) {
        if (!isMillraceError(error, 'TOPIC_EXISTS')) throw error
      }
      try {
        const { topic: found } = await this.describe(topic, call)
        return { ...found, created: false, differences: differencesOf(wanted, found) }
      } catch (error) {
        // Another program deleted the topic in between.
        if (!isMillraceError(error, 'UNKNOWN_TOPIC') || attempt === ensureAttemptsMax) throw error
      }
    }
  }

  /**
   * Changes settings, or raises the number of partitions (keys may then map to other partitions).
   * @throws MillraceError UNKNOWN_TOPIC, BAD_CONFIG, LIMIT_EXCEEDED, BAD_OPTION
   */
  async alter(topic: string, options: TopicOptions & CallOptions): Promise<TopicSummary> {
    checkOptions('client.topics.alter', options, topicOptionNames)
    const { partitions, settings } = topicRequest(options)
    const call = { ...callOnly(options), repeatable: true }
    return this.#changing(topic, () =>
      this.#cluster.call(commands.topicAlter, { topic, partitions, settings }, call),
    )
  }

  /** Deletes a topic with its messages and the committed offsets of groups. @throws MillraceError UNKNOWN_TOPIC */
  async delete(topic: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.topics.delete', options)
    await this.#changing(topic, () => this.#cluster.call(commands.topicDelete, { topic }, options))
  }

  /** Makes the client ask for the topic again, whatever the outcome of the change is. */
  async #changing<T>(topic: string, change: () => Promise<T>): Promise<T> {
    try {
      return await change()
    } finally {
      this.#cluster.forget(topic)
    }
  }

  /**
   * Drops the messages that a topic holds now, of all partitions or some. The topic, its settings and its groups stay, and
   * offsets continue. There is no way back.
   * @returns the first offset that is left in each partition, and how many messages were dropped
   * @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION, STORAGE_FAILED
   */
  async purge(
    topic: string,
    options: CallOptions & { readonly partitions?: readonly number[] | undefined } = {},
  ): Promise<readonly PurgedPartition[]> {
    checkOptions('client.topics.purge', options, { ...callOptionNames, partitions: true })
    const request = { topic, partitions: options.partitions }
    return (await this.#cluster.call(commands.topicPurge, request, callOnly(options))).partitions
  }

  async list(options: CallOptions = {}): Promise<readonly TopicSummary[]> {
    checkCallOptions('client.topics.list', options)
    return (await this.#cluster.call(commands.topicList, {}, { ...options, repeatable: true })).topics
  }

  /** @throws MillraceError UNKNOWN_TOPIC */
  async describe(topic: string, options: CallOptions = {}): Promise<TopicDescription> {
    checkCallOptions('client.topics.describe', options)
    return this.#cluster.call(commands.topicDescribe, { topic }, { ...options, repeatable: true })
  }

  /**
   * Finds offsets by partition: the earliest, the end ("latest"), or the first message at or after a time.
   * @throws MillraceError UNKNOWN_TOPIC
   */
  async offsets(
    topic: string,
    at: 'earliest' | 'latest' | Date,
    options: CallOptions = {},
  ): Promise<readonly number[]> {
    checkCallOptions('client.topics.offsets', options)
    if (!(at instanceof Date)) checkChoice('at', at, ['earliest', 'latest'], ' or a Date')
    const info = await this.#cluster.topic(topic, { fresh: true, ...signalOf(options) })
    const wanted = at === 'earliest' ? -2 : at === 'latest' ? -1 : at.getTime()
    const partitions = Array.from(
      { length: info.partitions },
      (_, index) => [info.topicId, index, wanted] as const,
    )
    const reply = await this.#cluster.call(
      commands.offsetsList,
      { partitions },
      { ...options, repeatable: true },
    )
    return reply.partitions.map((found) => {
      if (found.error !== 0 || found.offset === undefined) throw errorOf(found)
      return found.offset
    })
  }
}

function signalOf({ signal }: CallOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal }
}

function callOnly({ signal, timeoutMs }: CallOptions): CallOptions {
  return { signal, timeoutMs }
}

interface TopicRequest {
  readonly partitions: number | undefined
  readonly settings: TopicSettingsInput
}

/** @throws MillraceError BAD_OPTION */
function topicRequest({ partitions, retention, batchBytesMax, dedupeWindow }: TopicOptions): TopicRequest {
  checkOptions('the option "retention" of a topic', retention, { time: true, bytes: true }, 'retention.')
  const settings: TopicSettingsInput = {
    retentionMs:
      retention?.time === undefined ? undefined : durationOrForeverMs('retention.time', retention.time),
    retentionBytes:
      retention?.bytes === undefined ? undefined : sizeBytes('retention.bytes', retention.bytes),
    batchBytesMax: batchBytesMax === undefined ? undefined : sizeBytes('batchBytesMax', batchBytesMax),
    dedupeWindowMs: dedupeWindow === undefined ? undefined : dedupeWindowMs(dedupeWindow),
  }
  return { partitions, settings }
}

function dedupeWindowMs(dedupeWindow: Duration): number {
  const ms = durationMs('dedupeWindow', dedupeWindow)
  if (ms <= limits.dedupeWindowMsMax) return ms
  throw new MillraceError(
    'BAD_OPTION',
    `the option "dedupeWindow" is ${durationText(ms)}, expected at most ${durationText(limits.dedupeWindowMsMax)}`,
  )
}

/** The option that sets each setting of a topic. */
const optionOf: { readonly [Setting in keyof Required<TopicSettings>]: TopicDifference['setting'] } = {
  retentionMs: 'retention.time',
  retentionBytes: 'retention.bytes',
  batchBytesMax: 'batchBytesMax',
  dedupeWindowMs: 'dedupeWindow',
}

function differencesOf(wanted: TopicRequest, found: TopicSummary): TopicDifference[] {
  const differences: TopicDifference[] = []
  const compare = (
    setting: TopicDifference['setting'],
    expected: number | undefined,
    actual: number | undefined,
  ): void => {
    if (expected !== undefined && expected !== actual) differences.push({ setting, wanted: expected, actual })
  }
  compare('partitions', wanted.partitions, found.partitions)
  for (const name of Object.keys(optionOf) as (keyof typeof optionOf)[])
    compare(optionOf[name], wanted.settings[name], found.settings[name])
  return differences
}

export type GroupSummary = ReplyOf<typeof commands.groupList>['groups'][number]
export type GroupDescription = ReplyOf<typeof commands.groupDescribe>

/** An offset to commit: the next one to read. */
export interface OffsetToCommit {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Stored with the offset, at most 1,024 bytes. */
  readonly metadata?: string | undefined
}

/** The consumer groups of the broker: `client.groups`. */
export class GroupsAdmin {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  async list(options: CallOptions = {}): Promise<readonly GroupSummary[]> {
    checkCallOptions('client.groups.list', options)
    return (await this.#cluster.call(commands.groupList, {}, { ...options, repeatable: true })).groups
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  async describe(group: string, options: CallOptions = {}): Promise<GroupDescription> {
    checkCallOptions('client.groups.describe', options)
    return this.#cluster.call(commands.groupDescribe, { group }, { ...options, repeatable: true })
  }

  /**
   * Moves committed offsets; members that own the partitions start again from there.
   * @param options `create`: make a group that does not exist, so that its first member starts there; default false
   * @returns the offset of each partition
   * @throws MillraceError UNKNOWN_GROUP (without `create`), UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE
   */
  async seek(
    group: string,
    topic: string,
    to: 'earliest' | 'latest' | Date | number,
    options: CallOptions & {
      readonly partitions?: readonly number[] | undefined
      readonly create?: boolean | undefined
    } = {},
  ): Promise<readonly { readonly partition: number; readonly offset: number }[]> {
    checkOptions('client.groups.seek', options, { ...callOptionNames, partitions: true, create: true })
    const target =
      typeof to === 'string'
        ? ({ kind: to } as const)
        : to instanceof Date
          ? ({ kind: 'time', value: to.getTime() } as const)
          : ({ kind: 'offset', value: to } as const)
    const { partitions, create } = options
    const request = { group, topic, partitions, create, ...target }
    return (await this.#cluster.call(commands.groupSeek, request, { ...callOnly(options), repeatable: true }))
      .partitions
  }

  /**
   * Commits offsets for a group without members.
   * @throws MillraceError GROUP_ACTIVE, UNKNOWN_TOPIC, OFFSET_OUT_OF_RANGE
   */
  async commit(group: string, offsets: readonly OffsetToCommit[], options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.groups.commit', options)
    const named: TopicInfo[] = []
    const entries = await Promise.all(
      offsets.map(async ({ topic, partition, offset, metadata }) => {
        const info = await this.#cluster.topicWith(topic, partition, options.signal)
        named.push(info)
        return [info.topicId, partition, 0, offset, metadata] as const
      }),
    )
    const reply = await this.#cluster.call(
      commands.groupCommit,
      { group, offsets: entries },
      { ...options, repeatable: true },
    )
    for (const result of reply.results) {
      if (result.error === 0) continue
      const error = errorOf(result)
      // The topic was deleted. These offsets may not fit a new one of its name, but the next call finds it.
      if (isRefusedPlace(error)) for (const info of named) this.#cluster.refused(info)
      throw error
    }
  }

  /**
   * Pauses a group until `resume`: its members finish delivered messages, commit, give up their partitions, and stay
   * members. Durable. A group can be paused before it exists, unless a queue group has this name.
   * @throws MillraceError BAD_NAME, UNKNOWN_GROUP
   */
  async pause(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.groups.pause', options)
    await this.#cluster.call(commands.groupPause, { group, paused: true }, { ...options, repeatable: true })
  }

  /** Resumes a paused group where it stopped. @throws MillraceError BAD_NAME, UNKNOWN_GROUP */
  async resume(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.groups.resume', options)
    await this.#cluster.call(commands.groupPause, { group, paused: false }, { ...options, repeatable: true })
  }

  /** Deletes a group without members, with its offsets. @throws MillraceError UNKNOWN_GROUP, GROUP_ACTIVE */
  async delete(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.groups.delete', options)
    await this.#cluster.call(commands.groupDelete, { group }, options)
  }
}
