import { randomUUID } from 'node:crypto'
import { commands, RecordBatchBuilder, type RecordInput } from '../protocol/index.js'
import type { Cluster } from './cluster.js'
import { type Message, type MessageBatch, TransactionAcks } from './consumer/index.js'
import { recordBytesMax } from './producer/record_size.js'
import { checkSize, type MessageInput, partitionFor, recordOf } from './record.js'
import { type TopicOrName, topicOf } from './topic.js'
import { WorkMessage } from './worker/index.js'

/** An offset to commit for a stream group that has no members: the next one to read. */
export interface TransactionOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** What is done together: all of it, or nothing. Nothing happens before the function that got it has returned. */
export class Transaction {
  readonly #cluster: Cluster
  readonly #records: Promise<{ topicId: number; partition: number; record: RecordInput }>[] = []
  readonly #workAcks = new Set<WorkMessage<unknown, unknown>>()
  readonly #streamAcks = new TransactionAcks()
  readonly #offsets: { readonly group: string; readonly offsets: readonly TransactionOffset[] }[] = []

  /** Use `client.transaction`. */
  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Adds a message to publish. What is wrong with it is told when the transaction ends. */
  publish<Input = Uint8Array, Output = Input, Key = string>(
    topic: TopicOrName<Input, Output, Key>,
    message: MessageInput<Input, Key>,
  ): void {
    const place = this.#place(topic, message)
    place.catch(() => {})
    this.#records.push(place)
  }

  /**
   * Acknowledges a message that a worker of this client handles: when its handler ends afterwards, nothing more happens. Or
   * messages that a consumer of this client read as a member of a stream group: those before them in their partition have
   * to be acknowledged, or be part of the transaction too, because what a stream group commits is a position.
   * @throws MillraceError BAD_OPTION for a message that was not read in a group
   */
  ack<Value, Key>(message: WorkMessage<Value, Key> | Message<Value, Key> | MessageBatch<Value, Key>): void {
    if (message instanceof WorkMessage) this.#workAcks.add(message as WorkMessage<unknown, unknown>)
    else this.#streamAcks.add(message as Message | MessageBatch)
  }

  /** Commits offsets of a stream group that has no members, of a reader that keeps its own place. */
  commitOffsets(group: string, offsets: readonly TransactionOffset[]): void {
    this.#offsets.push({ group, offsets })
  }

  /** @internal */
  async commit(): Promise<void> {
    const { batches, payload } = await this.#batches()
    const offsets = await Promise.all(
      this.#offsets.map(async ({ group, offsets }) => ({
        group,
        offsets: await Promise.all(
          offsets.map(async ({ topic, partition, offset }) => {
            const { topicId } = await this.#cluster.topic(topic)
            return [topicId, partition, 0, offset] as const
          }),
        ),
      })),
    )
    const acks = this.#ackGroups()
    await this.#streamAcks.commit(async (memberOffsets) => {
      const request = { id: randomUUID(), batches, acks, offsets: [...offsets, ...memberOffsets] }
      if (batches.length + acks.length + request.offsets.length === 0) return
      await this.#cluster.call(commands.transaction, request, { repeatable: true, payload })
    })
    for (const message of this.#workAcks) message.owner.settledElsewhere(message)
  }

  async #place<Input, Output, Key>(
    named: TopicOrName<Input, Output, Key>,
    message: MessageInput<Input, Key>,
  ): Promise<{ topicId: number; partition: number; record: RecordInput }> {
    const topic = topicOf(named)
    const record = await recordOf(topic, message, Date.now())
    const info = await this.#cluster.topic(topic.name)
    checkSize(topic.name, record, recordBytesMax(record), this.#cluster.limits.batchBytesMax)
    const partition =
      partitionFor(topic, info, message, record) ?? Math.floor(Math.random() * info.partitions)
    return { topicId: info.topicId, partition, record }
  }

  /** One batch for each run of messages of a partition, as large as the broker takes. */
  async #batches(): Promise<{
    readonly batches: (readonly [number, number, number])[]
    readonly payload: Uint8Array[]
  }> {
    const bytesMax = this.#cluster.limits.batchBytesMax
    const batches: (readonly [number, number, number])[] = []
    const payload: Uint8Array[] = []
    const open = new Map<string, { topicId: number; partition: number; builder: RecordBatchBuilder }>()
    const finish = ({
      topicId,
      partition,
      builder,
    }: {
      topicId: number
      partition: number
      builder: RecordBatchBuilder
    }): void => {
      const bytes = builder.finish()
      batches.push([topicId, partition, bytes.length])
      payload.push(bytes)
    }
    for (const { topicId, partition, record } of await Promise.all(this.#records)) {
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
