import { limits, MillraceError, nameProblem, partitionOf } from '../protocol/index.js'
import { bytes, type Codec, coderOf, string, type ValueCoder, type ValueFormat } from './codecs.js'
import { checkOptions, type OptionNames } from './options.js'

/** Chooses a partition from a key's bytes; the default is Kafka's rule, see `partitionOf` in millrace/protocol. */
export type Partitioner = (key: Uint8Array, partitions: number) => number

/**
 * A topic with the types of its messages; publishers and consumers share it. Publishers give `Input`, and
 * consumers get `Output`; both include null for a topic with tombstones.
 */
export interface Topic<Input = Uint8Array, Output = Input, Key = string, Name extends string = string> {
  readonly name: Name
  readonly key: Codec<Key>
  readonly value: ValueCoder<Input, Output>
  /** Whether messages may have no value. */
  readonly tombstones: boolean
  readonly partitioner: Partitioner
}

export interface TopicDefinition<Input, Output, Key> {
  /** Default: bytes. */
  readonly value?: ValueFormat<Input, Output>
  /** Default: string. */
  readonly key?: Codec<Key>
  /**
   * Whether messages may have no value: a tombstone marks the deletion of its key. Then `value: null`
   * publishes a tombstone, and a consumed value may be null. Without this option `publish` refuses a message without a
   * value,
   * and such a message from another program fails with DECODE_FAILED. Default false.
   */
  readonly tombstones?: boolean
  readonly partitioner?: Partitioner
}

const definitionNames: OptionNames<TopicDefinition<unknown, unknown, unknown>> = {
  value: true,
  key: true,
  tombstones: true,
  partitioner: true,
}

/**
 * Defines a topic for publishers and consumers; does not create it in the broker.
 *
 * The name becomes part of the type, so that `message.topic` distinguishes the messages of several topics. For that,
 * let the
 * compiler infer the types: `defineTopic('orders', { value: json<Order>() })`, not `defineTopic<Order>('orders', ...)`.
 * @throws MillraceError BAD_NAME, BAD_OPTION
 * @example
 * const orders = defineTopic('orders', { value: json<Order>() })
 * const users = defineTopic('users', { value: json<User>(), tombstones: true }) // a user may be deleted
 */
export function defineTopic<
  Input = Uint8Array,
  Output = Input,
  Key = string,
  const Name extends string = string,
>(
  name: Name,
  definition: TopicDefinition<Input, Output, Key> & { readonly tombstones: true },
): Topic<Input | null, Output | null, Key, Name>
export function defineTopic<
  Input = Uint8Array,
  Output = Input,
  Key = string,
  const Name extends string = string,
>(
  name: Name,
  definition?: TopicDefinition<Input, Output, Key> & { readonly tombstones?: false },
): Topic<Input, Output, Key, Name>
export function defineTopic<Input, Output, Key, const Name extends string>(
  name: Name,
  definition: TopicDefinition<Input, Output, Key> = {},
): Topic<Input, Output, Key, Name> {
  const problem = nameProblem(name, limits.topicNameBytesMax)
  if (problem !== undefined)
    throw new MillraceError('BAD_NAME', `the topic name "${name}" is not allowed: ${problem}`)
  checkOptions<TopicDefinition<unknown, unknown, unknown>>('defineTopic', definition, definitionNames)
  const value = definition.value ?? (bytes as unknown as ValueFormat<Input, Output>)
  return {
    name,
    key: definition.key ?? (string as unknown as Codec<Key>),
    value: coderOf(value),
    tombstones: definition.tombstones ?? false,
    partitioner: definition.partitioner ?? partitionOf,
  }
}

/** A topic argument: a definition, or a name, whose values are then bytes. */
export type TopicOrName<Input = unknown, Output = unknown, Key = unknown> = Topic<Input, Output, Key> | string

/** The value that publishers give for a topic; for a bare name, bytes or null. */
export type InputOf<Of> = Of extends string
  ? Uint8Array | null
  : Of extends { readonly value: ValueCoder<infer Input, unknown> }
    ? Input
    : never

/** The value that consumers get from a topic; for a bare name, bytes or null. */
export type OutputOf<Of> = Of extends string
  ? Uint8Array | null
  : Of extends { readonly value: ValueCoder<never, infer Output> }
    ? Output
    : never

export type KeyOf<Of> = Of extends string
  ? string
  : Of extends { readonly key: Codec<infer Key> }
    ? Key
    : never

export type NameOf<Of> = Of extends string
  ? Of
  : Of extends { readonly name: infer Name extends string }
    ? Name
    : never

/** The topic arguments in one or in a list of them. */
export type TopicsIn<Of> = Of extends readonly (infer One)[] ? One : Of

/** The values of a topic that is given by its name only. */
const namedBytes: Codec<Uint8Array> = {
  name: 'bytes',
  encode(value) {
    if (value instanceof Uint8Array) return value
    const type = Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`
    throw new TypeError(
      `expected a Uint8Array, got ${type}: the topic is given by its name only, so its values are bytes; ` +
        "for other values give a topic of defineTopic('name', { value: json() })",
    )
  },
  decode: (value) => value,
}

/** Returns the definition of an argument. A topic given by its name may have tombstones. */
export function topicOf<Input, Output, Key>(
  topic: TopicOrName<Input, Output, Key>,
): Topic<Input, Output, Key> {
  if (typeof topic !== 'string') return topic
  return {
    ...defineTopic(topic, { value: namedBytes as unknown as ValueFormat<Input, Output> }),
    key: string as unknown as Codec<Key>,
    tombstones: true,
  }
}

/** Reads keys and values of a topic. */
export interface TopicReader<Value, Key> {
  readonly key: (bytes: Uint8Array) => Key
  /** @throws any error if the bytes are invalid, or missing in a topic without tombstones */
  readonly value: (bytes: Uint8Array | undefined) => Value | Promise<Value>
  /** Whether values are decoded before delivery: their schema may be asynchronous. */
  readonly ahead: boolean
}

/** @param tombstones whether to read a message without a value as null */
export function readerOf<Input, Output, Key>(
  { key, value }: Topic<Input, Output, Key>,
  tombstones: boolean,
): TopicReader<Output, Key> {
  // One error for all messages: its stack costs more than the rest of skipping a message.
  const noValue = new Error('the message has no value; define its topic with "tombstones: true" to get null')
  return {
    key: (bytes) => key.decode(bytes),
    value: (bytes) => {
      if (bytes !== undefined) return value.decode(bytes)
      if (tombstones) return null as Output
      throw noValue
    },
    ahead: value.mayBeAsync,
  }
}
