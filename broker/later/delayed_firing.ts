import { type Op, opKinds } from '../../storage/index.js'
import { Appends } from './appends.js'
import {
  type DelayedMessage,
  type DelayedRef,
  delayedEnd,
  delayedIdKey,
  encodeDelayedRefs,
  readDelayed,
  readPlace,
} from './delayed_codec.js'
import type { Later } from './later.js'

/** Limits of one commit; the event loop turns between two commits. */
const messagesMax = 4_000
const bytesMax = 4 * 1024 * 1024
/** How far ahead messages are read into memory, and how many at a time. */
const aheadMs = 5_000
const loadCount = 4_000
const loadBelow = 8_000

export interface SweptRange {
  readonly bytes: number
  /** Key of the next message to look at; undefined at the end. */
  readonly next: Uint8Array | undefined
}

/** Appends due messages, and removes cancelled ones. Each message ends once. */
export class DelayedFiring {
  readonly #later: Later
  /** Operations that are ending messages now, by sequence. */
  readonly #ending = new Map<number, Promise<unknown>>()
  /** Sets that collect the messages ended during a read of the database: the read may return them as still delayed. */
  readonly #reading = new Set<Set<number>>()

  constructor(later: Later) {
    this.#later = later
  }

  /** Time of the next action; undefined if none is known. */
  get nextMs(): number | undefined {
    return this.#later.delayed.near.nextDueMs
  }

  /**
   * Appends due messages, and removes them in the same commit. Returns whether there may be more.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED; the messages are still delayed
   */
  async fire(nowMs: number): Promise<boolean> {
    const { near } = this.#later.delayed
    if (near.lacks(nowMs + aheadMs) && near.count < loadBelow) await near.load(nowMs + aheadMs, loadCount)
    const due = this.#due(nowMs)
    if (due.length > 0) await this.#end(due, this.#append(due))
    return due.length > 0 || near.lacks(nowMs)
  }

  /**
   * Cancels a delayed message. Returns whether there was one; false if it was appended before.
   * @throws MillraceError UNKNOWN_TOPIC, STORAGE_FAILED
   */
  async cancel(topicName: string, id: string): Promise<boolean> {
    const { shard, pendingIds } = this.#later
    const { topicId } = shard.catalog.topic(topicName)
    await pendingIds.get(`${topicId}/${id}`)?.committed.catch(() => {})
    for (;;) {
      const wasThere = await this.#watchEnds((ended) => this.#tryCancel(topicId, id, ended))
      if (wasThere !== undefined) return wasThere
    }
  }

  /** Returns undefined if another append or cancel has ended the message, or is about to. */
  async #tryCancel(topicId: number, id: string, ended: ReadonlySet<number>): Promise<boolean | undefined> {
    const place = await this.#later.shard.store.state.get(delayedIdKey(topicId, id))
    if (place === undefined) return false
    const { dueMs, sequence } = readPlace(place)
    if (ended.has(sequence)) return undefined
    const ending = this.#ending.get(sequence)
    if (ending === undefined) {
      const ref = { dueMs, sequence, topicId, partition: 0, id, offset: -1 }
      await this.#end([ref], this.#remove([ref]))
      return true
    }
    // If that fails the message is still delayed.
    await ending.catch(() => {})
    return undefined
  }

  /**
   * Removes delayed messages with ids of a deleted topic, some at a time. Returns whether there may be more.
   * @throws MillraceError STORAGE_FAILED
   */
  sweepIds(topicId: number): Promise<boolean> {
    return this.#watchEnds(async (ended) => {
      const gte = delayedIdKey(topicId, '')
      const range = { gte, lt: delayedIdKey(topicId + 1, ''), limit: messagesMax }
      const refs = (await this.#later.shard.store.state.range(range)).map(([key, value]): DelayedRef => {
        const id = Buffer.from(key.subarray(gte.length)).toString('utf8')
        return { ...readPlace(value), topicId, partition: 0, id, offset: -1 }
      })
      await this.#removeAll(refs, ended)
      return refs.length > 0
    })
  }

  /**
   * Removes the messages of deleted topics among the next `limit` delayed messages of all topics. Returns the bytes
   * that it read, and where to continue; `from` again if messages were in the middle of another operation.
   * @param from key of the first message to look at
   * @throws MillraceError STORAGE_FAILED
   */
  sweepRange(from: Uint8Array, limit: number, topicIds: ReadonlySet<number>): Promise<SweptRange> {
    return this.#watchEnds(async (ended) => {
      const entries = await this.#later.shard.store.state.range({ gte: from, lt: delayedEnd, limit })
      const refs: DelayedRef[] = []
      let bytes = 0
      for (const [key, value] of entries) {
        bytes += key.length + value.length
        const { body, ...message } = readDelayed(key, value)
        if (topicIds.has(message.topicId)) refs.push({ ...message, offset: -1 })
      }
      if (!(await this.#removeAll(refs, ended))) return { bytes, next: from }
      const last = entries.at(-1)
      const isLast = last === undefined || entries.length < limit
      return { bytes, next: isLast ? undefined : Buffer.concat([last[0], Uint8Array.of(0)]) }
    })
  }

  /** Returns false if other operations were ending some of the messages: they may have failed, so look again. */
  async #removeAll(refs: readonly DelayedRef[], ended: ReadonlySet<number>): Promise<boolean> {
    const known = refs.filter(({ sequence }) => !ended.has(sequence))
    const free = known.filter(({ sequence }) => !this.#ending.has(sequence))
    const others = new Set(known.map(({ sequence }) => this.#ending.get(sequence)))
    if (free.length > 0) await this.#end(free, this.#remove(free))
    await Promise.allSettled(others)
    return free.length === refs.length
  }

  /**
   * Runs `work` with a set of the messages that were ended, or could not be ended, since it began. The set is updated
   * until `work` is done, because microtasks between the read and its evaluation can end messages too.
   */
  async #watchEnds<Result>(work: (ended: ReadonlySet<number>) => Promise<Result>): Promise<Result> {
    const ended = new Set<number>()
    this.#reading.add(ended)
    try {
      return await work(ended)
    } finally {
      this.#reading.delete(ended)
    }
  }

  #due(nowMs: number): DelayedMessage[] {
    const due: DelayedMessage[] = []
    let bytes = 0
    for (const message of this.#later.delayed.near.first(messagesMax)) {
      if (message.dueMs > nowMs || bytes > bytesMax) break
      if (this.#ending.has(message.sequence)) continue
      bytes += message.body.length
      due.push(message)
    }
    return due
  }

  async #append(due: readonly DelayedMessage[]): Promise<void> {
    const { shard, metrics } = this.#later
    const appends = new Appends()
    const refs: DelayedRef[] = []
    for (const { body, ...message } of due) {
      const partition = shard.catalog.byId(message.topicId)?.partitions[message.partition]
      const offset = partition === undefined ? -1 : appends.add(partition, { body, timestamp: message.dueMs })
      refs.push({ ...message, offset })
    }
    await shard.commit([...appends.ops(), { kind: opKinds.delayedFired, payload: encodeDelayedRefs(refs) }])
    metrics.publishedRecords += appends.records
    metrics.publishedBytes += appends.bytes
  }

  #remove(refs: readonly DelayedRef[]): Promise<void> {
    const op: Op = { kind: opKinds.delayedCancelled, payload: encodeDelayedRefs(refs) }
    return this.#later.shard.commit([op])
  }

  /** Prevents other operations from ending these messages until `work`, which began in the same turn, is done. */
  async #end(messages: readonly { readonly sequence: number }[], work: Promise<void>): Promise<void> {
    for (const { sequence } of messages) this.#ending.set(sequence, work)
    try {
      await work
    } finally {
      for (const { sequence } of messages) {
        this.#ending.delete(sequence)
        for (const ended of this.#reading) ended.add(sequence)
      }
    }
  }
}
