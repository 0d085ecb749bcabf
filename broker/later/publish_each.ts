import {
  batchHeaderBytes,
  bytesText,
  type commands,
  durationText,
  limits,
  MillraceError,
  RecordCursor,
  type ReplyOf,
  type RequestOf,
  readBatchHeader,
  timeText,
} from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { Gate } from '../admission.js'
import { EntryErrors } from '../handlers/entry_errors.js'
import type { Partition } from '../partition/partition.js'
import { dedupeWindowMsOf } from '../topics/settings.js'
import { Appends } from './appends.js'
import { type DelayedMessage, delayedIdKey, encodeMessagesDelayed } from './delayed_codec.js'
import type { Later } from './later.js'
import { encodeMessageIds, type SeenMessage } from './message_ids.js'
import { forgottenError, mayBeForgotten } from './repeats.js'

type EachRequest = RequestOf<typeof commands.publishEach>
type EachResult = ReplyOf<typeof commands.publishEach>['results'][number]

/** Approximate limit of the bytes of delayed messages in one operation, so that blocks stay small. */
const operationBytesMax = 64 * 1024
const operationIdsMax = 1_000

/** A message whose id is being committed. */
export interface PendingId {
  readonly committed: Promise<void>
  /** Position of the message, once it is committed. */
  seen: SeenMessage
  /** The error, if this message alone was refused. */
  refusal?: MillraceError
}

interface Item {
  readonly index: number
  readonly partition: Partition
  readonly body: Uint8Array
  readonly timestamp: number
  /** 0: at once. */
  readonly dueMs: number
  /** Empty: none. */
  readonly id: string
  /** Topic and id; empty without an id, and for an id that neither the topic remembers nor a delayed message has. */
  key: string
  /** Set if there is a key, and the message is no repeat that may be forgotten. */
  pending: PendingId | undefined
  /** Whether the broker may have appended the message before and forgotten its id. */
  readonly mayBeForgotten: boolean
  offset: number
}

/** One `publish.each` request that becomes one commit. */
export class PublishEach {
  readonly #later: Later
  readonly #results: EachResult[]
  readonly #errors: EntryErrors
  readonly #items: Item[] = []
  /** Repeats of messages that this request or another one is still committing. */
  readonly #repeats: { readonly index: number; readonly of: PendingId }[] = []
  readonly #claimed: string[] = []
  readonly #nowMs: number
  readonly #sentAgoMs: number | undefined
  readonly #gate: Gate
  readonly #committed: Promise<void>
  #settle!: { resolve(): void; reject(error: unknown): void }

  /**
   * @param count messages of the request
   * @param sentAgoMs for a repeat, the time since the request was first sent, at most; undefined: it is no repeat
   */
  constructor(later: Later, count: number, sentAgoMs?: number) {
    this.#sentAgoMs = sentAgoMs
    this.#later = later
    this.#results = new Array(count)
    this.#errors = new EntryErrors(later.logger)
    this.#nowMs = later.clock.earliestMs
    this.#gate = later.admission.gate()
    this.#committed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    // Repeats of these messages get the error too; most requests have no repeats.
    this.#committed.catch(() => {})
  }

  /** @throws MillraceError BAD_REQUEST, BAD_BATCH */
  async run({ batches, messages }: EachRequest, payload: Uint8Array): Promise<readonly EachResult[]> {
    try {
      this.#read(batches, messages, payload)
      await this.#settleItems()
    } catch (error) {
      this.#settle.reject(error)
      throw error
    } finally {
      for (const key of this.#claimed) this.#later.pendingIds.delete(key)
    }
    for (const { index, of } of this.#repeats) {
      try {
        await of.committed
        if (of.refusal !== undefined) throw of.refusal
        this.#results[index] = duplicateOf(of.seen)
      } catch (error) {
        this.#results[index] = this.#refusal(error)
      }
    }
    return this.#results
  }

  async #settleItems(): Promise<void> {
    const lookups = this.#items.filter(({ partition, key }) => key !== '' && this.#mayBeDelayed(partition))
    try {
      // Runs synchronously if no lookup is needed, so that the requests of a connection stay in order.
      const items = lookups.length === 0 ? this.#items : await this.#withoutDelayed(lookups)
      await this.#commit(items.filter((item) => this.#isThere(item) && !this.#isForgotten(item)))
      this.#settle.resolve()
    } catch (error) {
      this.#settle.reject(error)
      for (const { index } of this.#items) this.#results[index] ??= this.#refusal(error)
    }
  }

  #read(batches: EachRequest['batches'], messages: EachRequest['messages'], payload: Uint8Array): void {
    let at = 0
    let index = 0
    checkUnpackedBytes(batches, payload)
    const cursors: [Partition | MillraceError, RecordCursor][] = []
    for (const [topicId, number, bytes] of batches) {
      const cursor = new RecordCursor(payload.subarray(at, at + bytes), this.#later.settings.batchBytesMax)
      at += bytes
      index += cursor.header.recordCount
      cursors.push([this.#partition(topicId, number), cursor])
    }
    if (at !== payload.length || index !== messages.length) {
      throw new MillraceError(
        'BAD_REQUEST',
        `the batches have ${at} bytes and ${index} records, but the payload has ${payload.length} bytes and the request ${messages.length} messages`,
      )
    }
    index = 0
    for (const [partition, cursor] of cursors) {
      while (cursor.next())
        this.#take(index, partition, cursor, messages[index++] as (typeof messages)[number])
    }
  }

  #partition(topicId: number, number: number): Partition | MillraceError {
    try {
      return this.#later.shard.partition(topicId, number)
    } catch (error) {
      if (error instanceof MillraceError) return error
      throw error
    }
  }

  #take(
    index: number,
    partition: Partition | MillraceError,
    { records, bodyStart, bodyEnd, timestamp }: RecordCursor,
    [deliverAtMs, id]: EachRequest['messages'][number],
  ): void {
    try {
      if (partition instanceof MillraceError) throw partition
      const sentAgoMs = this.#sentAgoMs
      const dueMs = deliverAtMs > this.#nowMs ? deliverAtMs : 0
      const item: Item = {
        index,
        partition,
        body: records.subarray(bodyStart, bodyEnd),
        timestamp,
        dueMs,
        id: id ?? '',
        key: '',
        pending: undefined,
        mayBeForgotten:
          sentAgoMs !== undefined && mayBeForgotten(partition.topic, sentAgoMs, dueMs, id ?? ''),
        offset: -1,
      }
      this.#check(item, id)
      if (this.#isRepeat(item, deliverAtMs > 0)) return
      this.#items.push(item)
    } catch (error) {
      this.#results[index] = this.#refusal(error)
    }
  }

  #check({ partition: { topic }, body, timestamp, dueMs }: Item, id: string | undefined): void {
    if (id === '')
      throw new MillraceError('BAD_REQUEST', 'the id of a message is empty, expected at least 1 byte')
    this.#gate.record(topic, body, dueMs === 0 ? timestamp : undefined)
    if (dueMs - this.#gate.latestMs > limits.delayMsMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `the message is due at ${timeText(dueMs)}, more than ${durationText(limits.delayMsMax)} ahead of the broker's clock`,
      )
    }
  }

  /**
   * Answers a message with a known id, reserves room for a new one, and claims its id.
   * @param wasDelayed whether the client asked for a delay, which may be over
   * @throws MillraceError OVERLOADED
   */
  #isRepeat(item: Item, wasDelayed: boolean): boolean {
    const { id, dueMs, partition, mayBeForgotten } = item
    const { topic } = partition
    const remembers = dedupeWindowMsOf(topic.settings) > 0
    if (id !== '' && (remembers || dueMs > 0 || (mayBeForgotten && wasDelayed)))
      item.key = `${topic.topicId}/${id}`
    if (item.key !== '' && this.#isKnown(item)) return true
    if (mayBeForgotten) return false
    this.#checkRoom(dueMs > 0, item.key !== '' && remembers)
    if (item.key === '') return false
    item.pending = { committed: this.#committed, seen: { partition: partition.index, offset: -1 } }
    this.#later.pendingIds.set(item.key, item.pending)
    this.#claimed.push(item.key)
    return false
  }

  /** Answers a message if its id is known. */
  #isKnown({ id, index, key, partition: { topic } }: Item): boolean {
    const { pendingIds, ids } = this.#later
    const of = pendingIds.get(key)
    if (of !== undefined) {
      this.#repeats.push({ index, of })
      return true
    }
    const seen = ids.seen(topic, id, this.#nowMs)
    if (seen !== undefined) this.#results[index] = duplicateOf(seen)
    return seen !== undefined
  }

  #checkRoom(isDelayed: boolean, isRemembered: boolean): void {
    const { pendingIds, ids, settings, delayed } = this.#later
    const { delayedMessagesMax, messageIdsMax } = settings
    if (isDelayed && delayed.total + this.#items.length >= delayedMessagesMax) {
      throw new MillraceError(
        'OVERLOADED',
        `the broker has ${delayedMessagesMax} delayed messages, which is the maximum (delayedMessagesMax)`,
      )
    }
    if (isRemembered && ids.count + pendingIds.size >= messageIdsMax) {
      throw new MillraceError(
        'OVERLOADED',
        `the broker remembers ${messageIdsMax} message ids, which is the maximum (messageIdsMax); it forgets an id after the dedupeWindowMs of its topic`,
      )
    }
  }

  /** Whether there are delayed messages of the topic whose ids are not in memory. */
  #mayBeDelayed({ topic: { topicId } }: Partition): boolean {
    return this.#later.delayed.count(topicId) > this.#later.ids.delayedCount(topicId)
  }

  /** The items without those whose ids belong to delayed messages. */
  async #withoutDelayed(lookups: readonly Item[]): Promise<readonly Item[]> {
    const keys = lookups.map(({ partition, id }) => delayedIdKey(partition.topic.topicId, id))
    const places = await this.#later.shard.store.state.getMany(keys)
    const found = new Set(lookups.filter((_, at) => places[at] !== undefined))
    for (const { index, partition } of found)
      this.#results[index] = duplicateOf({ partition: partition.index, offset: -1 })
    return this.#items.filter((item) => !found.has(item))
  }

  /** False if the topic of the message was deleted after the request. */
  #isThere({ index, pending, partition: { topic } }: Item): boolean {
    const { catalog } = this.#later.shard
    if (catalog.byId(topic.topicId) !== undefined) return true
    const refusal = catalog.unknownTopic(topic.name)
    this.#results[index] = this.#refusal(refusal)
    if (pending !== undefined) pending.refusal = refusal
    return false
  }

  /** Refuses a message that may be there already. */
  #isForgotten({ index, id, mayBeForgotten, partition: { topic } }: Item): boolean {
    if (mayBeForgotten) this.#results[index] = this.#refusal(forgottenError(topic, this.#sentAgoMs ?? 0, id))
    return mayBeForgotten
  }

  async #commit(items: readonly Item[]): Promise<void> {
    if (items.length === 0) return
    const { shard, metrics } = this.#later
    const appends = new Appends()
    const now = items.filter(({ dueMs }) => dueMs === 0)
    const later = items.filter(({ dueMs }) => dueMs > 0)
    for (const item of now) item.offset = appends.add(item.partition, item)
    await shard.commit([...appends.ops(), ...this.#idOps(now), ...this.#delayedOps(later)])
    metrics.publishedRecords += appends.records
    metrics.publishedBytes += appends.bytes
    for (const { index, offset, pending, partition } of items) {
      this.#results[index] = [0, offset < 0 ? 'delayed' : 'appended', offset, undefined, undefined]
      if (pending !== undefined) pending.seen = { partition: partition.index, offset }
    }
  }

  #idOps(items: readonly Item[]): Op[] {
    const byTopic = new Map<number, [string, number, number][]>()
    for (const { id, pending, partition, offset } of items) {
      if (pending === undefined) continue
      const { topicId } = partition.topic
      const ids = byTopic.get(topicId)
      if (ids === undefined) byTopic.set(topicId, [[id, partition.index, offset]])
      else ids.push([id, partition.index, offset])
    }
    const ops: Op[] = []
    for (const [topicId, all] of byTopic) {
      for (let from = 0; from < all.length; from += operationIdsMax) {
        const ids = all.slice(from, from + operationIdsMax)
        const payload = encodeMessageIds({ arrivedAtMs: this.#nowMs, topicId, ids })
        ops.push({ kind: opKinds.messageIds, payload })
      }
    }
    return ops
  }

  #delayedOps(items: readonly Item[]): Op[] {
    const ops: Op[] = []
    let messages: DelayedMessage[] = []
    let bytes = 0
    const close = (): void => {
      if (messages.length === 0) return
      ops.push({ kind: opKinds.messagesDelayed, payload: encodeMessagesDelayed(this.#nowMs, messages) })
      messages = []
      bytes = 0
    }
    for (const { dueMs, id, partition, body } of items) {
      const sequence = this.#later.shard.uniqueId()
      messages.push({
        dueMs,
        sequence,
        topicId: partition.topic.topicId,
        partition: partition.index,
        id,
        body,
      })
      bytes += body.length
      if (bytes >= operationBytesMax) close()
    }
    close()
    return ops
  }

  #refusal(error: unknown): EachResult {
    const { error: number, message } = this.#errors.fields(error)
    return [number, undefined, -1, undefined, message]
  }
}

/**
 * The request opens all of its batches at once, and 16 MiB of batches can decompress to 80 GiB.
 * @throws MillraceError BATCH_TOO_LARGE
 */
function checkUnpackedBytes(batches: EachRequest['batches'], payload: Uint8Array): void {
  const bytesMax = Math.max(limits.batchRecordsBytesMax, payload.length)
  let unpackedBytes = 0
  let at = 0
  for (const [, , bytes] of batches) {
    if (bytes >= batchHeaderBytes && at + bytes <= payload.length)
      unpackedBytes += readBatchHeader(payload, at).recordsBytes
    at += bytes
  }
  if (unpackedBytes <= bytesMax) return
  throw new MillraceError(
    'BATCH_TOO_LARGE',
    `the batches of the request have ${bytesText(unpackedBytes)} after decompression, expected at most ${bytesText(bytesMax)}`,
  )
}

function duplicateOf({ partition, offset }: SeenMessage): EachResult {
  return [0, 'duplicate', offset, partition, undefined]
}
