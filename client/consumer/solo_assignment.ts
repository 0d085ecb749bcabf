import { MillraceError } from '../../protocol/index.js'
import type { BrokerPort, TopicInfo } from './broker_port.js'
import type { StartPosition } from './options.js'
import type { PartitionStream } from './partition_stream.js'
import type { StreamTable } from './stream_table.js'

export interface SoloAssignmentOptions<Value, Key> {
  readonly port: BrokerPort
  readonly table: StreamTable<Value, Key>
  readonly topics: readonly string[]
  /** Undefined: all, also those added later. */
  readonly partitions: readonly number[] | undefined
  readonly from: StartPosition
  /** Whether to look for added partitions. */
  readonly follow: boolean
  readonly partitionsRefreshMs: number
  readonly newStream: (topic: TopicInfo, partition: number) => PartitionStream<Value, Key>
  readonly locate: (streams: ReadonlyMap<PartitionStream<Value, Key>, StartPosition>) => Promise<void>
  readonly activate: (streams: readonly PartitionStream<Value, Key>[]) => void
  readonly onFailed: (error: unknown) => void
  readonly signal: AbortSignal
}

/** The partitions of a consumer without a group: all of its topics, or those that it names. */
export class SoloAssignment<Value, Key> {
  readonly #options: SoloAssignmentOptions<Value, Key>
  #timer: NodeJS.Timeout | undefined

  constructor(options: SoloAssignmentOptions<Value, Key>) {
    this.#options = options
  }

  /** @throws MillraceError UNKNOWN_TOPIC, UNKNOWN_PARTITION */
  async start(): Promise<void> {
    const { from, partitions, follow, partitionsRefreshMs, signal } = this.#options
    await this.#add(from)
    if (!follow || partitions !== undefined || signal.aborted) return
    this.#timer = setInterval(() => void this.#refresh(), partitionsRefreshMs)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  async #add(from: StartPosition): Promise<void> {
    const { port, table, topics, signal } = this.#options
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
    await this.#options.locate(starts)
    this.#options.activate([...starts.keys()])
  }

  #chosen(topic: TopicInfo): readonly number[] {
    const { partitions } = this.#options
    if (partitions === undefined) return Array.from({ length: topic.partitions }, (_, partition) => partition)
    for (const partition of partitions) {
      if (partition < topic.partitions) continue
      throw new MillraceError(
        'UNKNOWN_PARTITION',
        `topic "${topic.name}" has partitions 0 to ${topic.partitions - 1}, there is no ${partition}`,
      )
    }
    return [...new Set(partitions)]
  }

  /** What was added is read from its start, or messages published before it was noticed would be missed. */
  async #refresh(): Promise<void> {
    try {
      await this.#add('earliest')
    } catch (error) {
      const gone = error instanceof MillraceError && error.code === 'UNKNOWN_TOPIC'
      if (gone) this.#options.onFailed(error)
    }
  }
}
