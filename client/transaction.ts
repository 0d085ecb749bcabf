import { randomUUID } from 'node:crypto'
import {
  commands,
  isMillraceError,
  MillraceError,
  RecordBatchBuilder,
  type RecordInput,
  type RequestOf,
  recordBytesMax,
} from '../protocol/index.js'
import { type Cluster, isRefusedPlace, type TopicInfo } from './cluster.js'
import { type Message, type MessageBatch, TransactionAcks } from './consumer/index.js'
import { checkSize, deliverAtMsOf, type MessageInput, partitionFor, recordOf } from './record.js'
import { type Topic, type TopicOrName, topicOf } from './topic.js'
import { WorkMessage } from './worker/index.js'

/** An offset to commit for a stream group without members: the next one to read. */
export interface TransactionOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** A message of a transaction: the broker appends it with the commit. */
export type TransactionMessage<Input, Key> = Omit<MessageInput<Input, Key>, 'delay' | 'deliverAt' | 'id'>

interface Placed {
  readonly info: TopicInfo
  readonly partition: number
  readonly record: RecordInput
  /** The same message by the metadata of now. */
  again(): Promise<Placed>
}

type Sent = Pick<RequestOf<typeof commands.transaction>, 'id' | 'acks' | 'offsets'>

interface Batches {
  readonly batches: readonly (readonly [topicId: number, partition: number, bytes: number])[]
  readonly payload: readonly Uint8Array[]
}

/**
 * The operations of one transaction: all of them, or none. Nothing happens before the function of the transaction has
 * returned.
 */
export class Transaction {
  readonly #cluster: Cluster
  readonly #records: Promise<Placed>[] = []
  readonly #workAcks = new Set<WorkMessage<unknown, unknown>>()
  readonly #streamAcks = new TransactionAcks()
  readonly #offsets: { readonly group: string; readonly offsets: readonly TransactionOffset[] }[] = []

  #isOver = false

  /** Use `client.transaction`. */
  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /**
   * Adds a message to publish. Errors of the message appear when the transaction ends.
   * @throws MillraceError CLOSED after the function of the transaction has returned, like `ack` and `commitOffsets`
   */
  publish(topic: string, message: TransactionMessage<Uint8Array | null, string>): void
  publish<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: TransactionMessage<NoInfer<Input>, NoInfer<Key>>,
  ): void
  publish(topic: TopicOrName, message: TransactionMessage<unknown, unknown>): void {
    this.#checkOpen()
    const place = this.#place(topic, message)
    place.catch(() => {})
    this.#records.push(place)
  }

  /**
   * Acknowledges a message that a worker of this client handles: the end of its handler then has no further effect. Or
   * messages that a consumer of this client read as a member of a stream group: earlier messages of their partition
   * must
   * be acknowledged, or be part of the transaction too, because a stream group commits a position.
   * @throws MillraceError BAD_OPTION for a message that was not read in a group
   */
  ack<Value, Key>(message: WorkMessage<Value, Key> | Message<Value, Key> | MessageBatch<Value, Key>): void {
    this.#checkOpen()
    if (message instanceof WorkMessage) this.#workAcks.add(message as WorkMessage<unknown, unknown>)
    else this.#streamAcks.add(message as Message | MessageBatch)
  }

  /** Commits offsets of a stream group without members, for a reader that stores its own position. */
  commitOffsets(group: string, offsets: readonly TransactionOffset[]): void {
    this.#checkOpen()
    this.#offsets.push({ group, offsets })
  }

  /** @internal */
  async commit(): Promise<void> {
    this.#isOver = true
    const records = await Promise.all(this.#records)
    const named: TopicInfo[] = []
    const offsets = await Promise.all(
      this.#offsets.map(async ({ group, offsets }) => ({
        group,
        offsets: await Promise.all(
          offsets.map(async ({ topic, partition, offset }) => {
            const info = await this.#cluster.topicWith(topic, partition)
            named.push(info)
            return [info.topicId, partition, 0, offset] as const
          }),
        ),
      })),
    )
    const acks = this.#ackGroups()
    await this.#streamAcks.commit((memberOffsets) => {
      const request = { id: randomUUID(), acks, offsets: [...offsets, ...memberOffsets] }
      return this.#sendTo(request, records, named)
    })
    for (const message of this.#workAcks) message.owner.settledElsewhere(message)
  }

  /**
   * The metadata may be older than the topics: the broker refuses the whole transaction then, and the client sends it
   * once more. But not with offsets that the program has read: they mean nothing in a topic that was created again.
   * @param named the topics of such offsets
   */
  async #sendTo(request: Sent, records: readonly Placed[], named: readonly TopicInfo[]): Promise<void> {
    const bytesMax = this.#cluster.limits.batchBytesMax
    try {
      await this.#send(request, records, bytesMax)
    } catch (error) {
      if (!isRefusedPlace(error)) throw error
      for (const { info } of records) this.#cluster.refused(info)
      for (const info of named) this.#cluster.refused(info)
      if (named.length > 0) throw error
      const moved = await Promise.all(records.map((placed) => placed.again()))
      if (moved.every(({ info }, index) => info.topicId === records[index]?.info.topicId)) throw error
      await this.#send(request, moved, bytesMax)
    }
  }

  /** A topic may have a smaller batch limit than the broker; a refusal for that reason has no effect. */
  async #send(request: Sent, records: readonly Placed[], bytesMax: number): Promise<void> {
    const { batches, payload } = batchesOf(records, bytesMax)
    if (batches.length + request.acks.length + request.offsets.length === 0) return
    try {
      await this.#cluster.call(commands.transaction, { ...request, batches }, { repeatable: true, payload })
    } catch (error) {
      if (!isMillraceError(error, 'BATCH_TOO_LARGE') || batches.length === records.length) throw error
      await this.#send(request, records, bytesMax / 4)
    }
  }

  async #place<Input, Output, Key>(
    named: TopicOrName<Input, Output, Key>,
    message: MessageInput<Input, Key>,
  ): Promise<Placed> {
    if (deliverAtMsOf(message) !== undefined)
      throw new MillraceError(
        'BAD_OPTION',
        'a message of a transaction can\'t have "id", "delay" or "deliverAt"',
      )
    const topic = topicOf(named)
    const record = await recordOf(topic, message, Date.now())
    return this.#placeRecord(topic, message, record)
  }

  async #placeRecord<Input, Output, Key>(
    topic: Topic<Input, Output, Key>,
    message: MessageInput<Input, Key>,
    record: RecordInput,
  ): Promise<Placed> {
    const info = await this.#cluster.topicWith(topic.name, message.partition)
    checkSize(topic.name, record, recordBytesMax(record), this.#cluster.limits.batchBytesMax)
    const partition =
      partitionFor(topic, info, message, record) ?? Math.floor(Math.random() * info.partitions)
    return { info, partition, record, again: () => this.#placeRecord(topic, message, record) }
  }

  #checkOpen(): void {
    if (this.#isOver)
      throw new MillraceError('CLOSED', 'the transaction has ended: its function returned before this call')
  }

  #ackGroups(): { group: string; entries: AckEntry[] }[] {
    const groups = new Map<string, AckEntry[]>()
    for (const { place, owner } of this.#workAcks) {
      const { group } = owner
      const { topicId, partition, grantId, offset } = place
      const entries = groups.get(group) ?? []
      entries.push({ topicId, partition, grantId, offsets: [offset, 1] })
      groups.set(group, entries)
    }
    return [...groups].map(([group, entries]) => ({ group, entries }))
  }
}

interface AckEntry {
  readonly topicId: number
  readonly partition: number
  readonly grantId: number
  readonly offsets: readonly number[]
}

interface OpenBatch {
  readonly topicId: number
  readonly partition: number
  readonly builder: RecordBatchBuilder
}

/** One batch for each run of messages of a partition; at most this size, except for a single message. */
function batchesOf(records: readonly Placed[], bytesMax: number): Batches {
  const batches: (readonly [number, number, number])[] = []
  const payload: Uint8Array[] = []
  const open = new Map<string, OpenBatch>()
  const finish = ({ topicId, partition, builder }: OpenBatch): void => {
    const bytes = builder.finish()
    batches.push([topicId, partition, bytes.length])
    payload.push(bytes)
  }
  for (const {
    info: { topicId },
    partition,
    record,
  } of records) {
    const key = `${topicId}/${partition}`
    let batch = open.get(key)
    if (batch !== undefined && batch.builder.bytes + recordBytesMax(record) > bytesMax) {
      finish(batch)
      batch = undefined
    }
    if (batch === undefined) {
      batch = { topicId, partition, builder: new RecordBatchBuilder() }
      open.set(key, batch)
    }
    batch.builder.append(record)
  }
  for (const batch of open.values()) finish(batch)
  return { batches, payload }
}
