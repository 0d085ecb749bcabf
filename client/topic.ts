import { limits, MillraceError, nameProblem, partitionOf } from '../protocol/index.js'
import { bytes, type Codec, coderOf, string, type ValueCoder, type ValueFormat } from './codecs.js'

/** Chooses a partition from a key's bytes; the default is Kafka's rule, see `partitionOf` in millrace/protocol. */
export type Partitioner = (key: Uint8Array, partitions: number) => number

/** A topic with what its messages are made of; both ends share it. */
export interface Topic<Input = Uint8Array, Output = Input, Key = string> {
  readonly name: string
  readonly key: Codec<Key>
  readonly value: ValueCoder<Input, Output>
  readonly partitioner: Partitioner
}

export interface TopicDefinition<Input, Output, Key> {
  /** Default: bytes. */
  readonly value?: ValueFormat<Input, Output>
  /** Default: string. */
  readonly key?: Codec<Key>
  readonly partitioner?: Partitioner
}

/**
 * Defines a topic for publishers and consumers; does not create it in the broker.
 * @throws MillraceError BAD_NAME
 * @example const orders = defineTopic('orders', { value: json<Order>() })
 */
export function defineTopic<Input = Uint8Array, Output = Input, Key = string>(
  name: string,
  definition: TopicDefinition<Input, Output, Key> = {},
): Topic<Input, Output, Key> {
  const problem = nameProblem(name, limits.topicNameBytesMax)
  if (problem !== undefined)
    throw new MillraceError('BAD_NAME', `the topic name "${name}" is not allowed: ${problem}`)
  const value = definition.value ?? (bytes as unknown as ValueFormat<Input, Output>)
  return {
    name,
    key: definition.key ?? (string as unknown as Codec<Key>),
    value: coderOf(value),
    partitioner: definition.partitioner ?? partitionOf,
  }
}

/** What a topic argument may be: a definition, or a name, whose values are then bytes. */
export type TopicOrName<Input, Output, Key> = Topic<Input, Output, Key> | string

/** The definition that an argument stands for. */
export function topicOf<Input, Output, Key>(
  topic: TopicOrName<Input, Output, Key>,
): Topic<Input, Output, Key> {
  return typeof topic === 'string' ? defineTopic<Input, Output, Key>(topic) : topic
}
