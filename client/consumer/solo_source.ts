import { isMillraceError, MillraceError } from '../../protocol/index.js'
import type { BrokerPort, TopicInfo } from './broker_port.js'
import type { StartPosition } from './options.js'
import type { PartitionStream } from './partition_stream.js'
import type { PartitionSource, StreamHost } from './source.js'
import type { StreamTable } from './stream_table.js'

export interface SoloSourceOptions<Value, Key> {
  readonly port: BrokerPort
  readonly table: StreamTable<Value, Key>
  readonly topics: readonly string[]
  /** Undefined: all, including partitions that are added later. */
  readonly partitions: readonly number[] | undefined
  readonly from: StartPosition
  /** Interval of checks for added partitions. */
  readonly follow: boolean
  readonly partitionsRefreshMs: number
  readonly newStream: (topic: TopicInfo, partition: number) => PartitionStream<Value, Key>
  readonly host: StreamHost<Value, Key>
  readonly signal: AbortSignal
}

/** The partitions of a consumer without a group: all partitions of its topics, or the ones that it names. */
export class SoloSource<Value, Key> implements PartitionSource<Value, Key> {
  readonly state = 'solo'
  readonly memberId = undefined
  readonly commits = 0
  readonly #options: SoloSourceOptions<Value, Key>
  #timer: NodeJS.Timeout | undefined
  #started = false

  constructor(options: SoloSourceOptions<Value, Key>) {
    this.#options = options
  }

  /** @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION */
  async start(): Promise<void> {
    const { from, partitions, follow, partitionsRefreshMs, signal } = this.#options
    await this.#add(from)
    this.#started = true
    this.#options.host.changed()
    if (!follow || partitions !== undefined || signal.aborted) return
    this.#timer = setInterval(() => void this.#refresh(), partitionsRefreshMs)
    this.#timer.unref()
  }

  get settled(): boolean {
    return this.#started
  }

  acked(): void {}

  moved(): void {}

  /** Without a group there is nothing to commit. */
  async commit(): Promise<void> {}

  async close(): Promise<void> {
    clearInterval(this.#timer)
  }

  async #add(from: StartPosition): Promise<void> {
    const { port, table, topics, host, signal } = this.#options
    const starts = new Map<PartitionStream<Value, Key>, StartPosition>()
    for (const name of topics) {
      const topic = await port.topic(name, { fresh: true, signal })
      for (const partition of this.#chosen(topic)) {
        if (table.get(topic.topicId, partition) !== undefined) continue
        const stream = this.#options.newStream(topic, partition)
        table.add(stream)
        starts.set(stream, from)
      }
    }
    if (starts.size === 0) return
    await host.locate(starts)
    host.activate([...starts.keys()])
  }

  #chosen(topic: TopicInfo): readonly number[] {
    const { partitions } = this.#options
    if (partitions === undefined) return Array.from({ length: topic.partitions }, (_, partition) => partition)
    for (const partition of partitions) {
      if (partition < topic.partitions) continue
      throw new MillraceError(
        'UNKNOWN_PARTITION',
        `topic "${topic.name}" has no partition ${partition}, expected 0 to ${topic.partitions - 1}`,
      )
    }
    return [...new Set(partitions)]
  }

  /** Read added partitions from their start: messages may have been published before the check found them. */
  async #refresh(): Promise<void> {
    try {
      await this.#add('earliest')
    } catch (error) {
      const { host, signal } = this.#options
      if (isMillraceError(error, 'UNKNOWN_TOPIC')) host.fail(error)
      else if (!signal.aborted) host.retry(error)
    }
  }
}
