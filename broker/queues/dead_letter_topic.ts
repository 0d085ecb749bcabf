import { MillraceError } from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { Partition } from '../partition/partition.js'
import { type Death, deadLetter } from './dead_letters.js'
import type { QueueHost } from './host.js'
import type { Lane } from './lane.js'
import { encodeQueueConfigured } from './ops.js'
import { byLane } from './queue_message.js'
import type { QueueRecord } from './queues_view.js'
import { readEach, type UnreadableBatch } from './read_records.js'
import type { Settlement } from './settlements.js'

/** Topic of the dead letters of a queue group. */
export function deadTopicName(group: string): string {
  return `${group}.dead-letters`
}

/** The dead-letter topic of a group; the broker creates it when the first message dies. */
export class DeadLetterTopic {
  readonly #host: QueueHost
  readonly #record: QueueRecord
  #made: Promise<void> | undefined

  constructor(host: QueueHost, record: QueueRecord) {
    this.#host = host
    this.#record = record
  }

  /**
   * Returns operations that commit dead letters together with the removal of their messages. A message that a purge or
   * retention removed during its lease gets none: there is nothing to keep.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED
   */
  async letters(settlements: readonly Settlement[]): Promise<Op[]> {
    const deaths = settlements.filter(({ ending }) => ending.kind === 'dead')
    if (deaths.length === 0) return []
    const dead = await this.#partition()
    const { payloadBytesMax, admission } = this.#host
    const gate = admission.gate()
    const ops: Op[] = []
    for (const [lane, some] of byLane(deaths, ({ message }) => message)) {
      const offsets = some.map(({ message }) => message.offset).sort((a, b) => a - b)
      const records = await readEach(this.#host.reader, lane.partition.log, offsets)
      const { topic, index } = lane.partition
      for (const { message, ending } of some) {
        if (ending.kind !== 'dead') continue
        const record = records.get(message.offset)
        if (record === undefined && message.offset < lane.partition.log.startOffset) {
          this.#host.lost(this.#record.group, topic.name, index, message.offset, message.offset + 1)
          continue
        }
        const { reason, error } = ending
        const origin = { topic: topic.name, partition: index, offset: message.offset }
        const attempts = message.attempts + (reason === 'expired' || reason === 'too-large' ? 0 : 1)
        const atMs = this.#host.nowMs()
        const death = { group: this.#record.group, reason, error, attempts, atMs, origin }
        const batch = deadLetter(record, death, payloadBytesMax)
        gate.batch(dead, batch, undefined, payloadBytesMax)
        ops.push({ log: dead.log, batch })
      }
    }
    // The topic may have been deleted during the read of the messages.
    if (this.#host.catalog.byLog(dead.log.id) === undefined) throw goneError()
    return ops
  }

  /**
   * Returns the operation that makes a dead letter of a batch that cannot be opened. It is one letter for all messages
   * of the batch, because its header may claim a million.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED
   */
  async unreadable(
    { partition: { topic, index } }: Lane,
    { first, end, timestamp, problem }: UnreadableBatch,
  ): Promise<Op> {
    const dead = await this.#partition()
    const { payloadBytesMax, admission } = this.#host
    const death: Death = {
      group: this.#record.group,
      reason: 'unreadable',
      error: problem,
      attempts: 0,
      atMs: this.#host.nowMs(),
      origin: { topic: topic.name, partition: index, offset: first },
      count: end - first,
      publishedAtMs: timestamp,
    }
    const batch = deadLetter(undefined, death, payloadBytesMax)
    admission.gate().batch(dead, batch, undefined, payloadBytesMax)
    return { log: dead.log, batch }
  }

  async #partition(): Promise<Partition> {
    await this.#withTopic()
    const dead = this.#host.catalog.byId(this.#record.deadTopicId)?.partitions[0]
    if (dead === undefined) throw goneError()
    return dead
  }

  #withTopic(): Promise<void> {
    this.#made ??= this.#make().finally(() => {
      this.#made = undefined
    })
    return this.#made
  }

  async #make(): Promise<void> {
    const { catalog } = this.#host
    const { queueId, group, deadTopicId } = this.#record
    if (catalog.byId(deadTopicId) !== undefined) return
    const name = deadTopicName(group)
    const keep = { retentionMs: -1, retentionBytes: -1 }
    const topic = catalog.byName(name) ?? (await this.#host.createTopic(name, keep))
    // Read the settings again: they may have changed during the creation of the topic.
    const { settings } = this.#record
    const payload = encodeQueueConfigured({ queueId, group, settings, deadTopicId: topic.topicId })
    await this.#host.commit([{ kind: opKinds.queueConfigured, payload }])
  }
}

function goneError(): MillraceError {
  return new MillraceError('UNKNOWN_TOPIC', 'the dead-letter topic was deleted')
}
