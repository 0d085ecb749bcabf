import { MillraceError } from '../../protocol/index.js'
import type { PartitionRef, TopicPartition } from './options.js'
import type { PartitionStream } from './partition_stream.js'

/** The partitions of a consumer, by topic id and number. */
export class StreamTable<Value, Key> {
  readonly #streams = new Map<string, PartitionStream<Value, Key>>()
  readonly #topics: readonly string[]

  /** @param topics the topics of the consumer */
  constructor(topics: readonly string[]) {
    this.#topics = topics
  }

  get size(): number {
    return this.#streams.size
  }

  values(): Iterable<PartitionStream<Value, Key>> {
    return this.#streams.values()
  }

  get(topicId: number, partition: number): PartitionStream<Value, Key> | undefined {
    return this.#streams.get(`${topicId}/${partition}`)
  }

  add(stream: PartitionStream<Value, Key>): void {
    this.#streams.set(`${stream.topicId}/${stream.partition}`, stream)
  }

  /** Removes this stream only, not another stream of the same partition. */
  delete(stream: PartitionStream<Value, Key>): void {
    if (this.get(stream.topicId, stream.partition) === stream) {
      this.#streams.delete(`${stream.topicId}/${stream.partition}`)
    }
  }

  /** The stream of `ref`. @throws MillraceError BAD_OPTION, UNKNOWN_PARTITION if the consumer does not have it */
  find(ref: PartitionRef): PartitionStream<Value, Key> {
    const { topic, partition } = this.#resolve(ref)
    for (const stream of this.#streams.values()) {
      if (stream.partition === partition && stream.topic === topic) return stream
    }
    throw new MillraceError(
      'UNKNOWN_PARTITION',
      `partition ${partition} of topic "${topic}" is not assigned to this consumer`,
    )
  }

  #resolve(ref: PartitionRef): TopicPartition {
    if (typeof ref !== 'number') return ref
    const [topic] = this.#topics
    if (topic !== undefined && this.#topics.length === 1) return { topic, partition: ref }
    throw new MillraceError(
      'BAD_OPTION',
      `partition ${ref} is ambiguous for ${this.#topics.length} topics, expected { topic, partition }`,
    )
  }
}

/** Topic and partition of streams, for hooks and callers. */
export function namesOf<Value, Key>(streams: Iterable<PartitionStream<Value, Key>>): TopicPartition[] {
  return Array.from(streams, ({ topic, partition }) => ({ topic, partition }))
}
