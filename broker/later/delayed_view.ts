import { decodeBody, encodeBody } from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { viewTables } from '../state_keys.js'
import type { Topic } from '../topics/topic.js'
import type { View } from '../view.js'
import {
  type DelayedRef,
  decodeDelayedRefs,
  decodeMessagesDelayed,
  delayedIdKey,
  delayedKey,
} from './delayed_codec.js'
import type { MessageIds } from './message_ids.js'
import { NearMessages } from './near_messages.js'

const countsKey = Uint8Array.of(viewTables.delayed)
const nearCountMax = 32_000
const nearBytesMax = 64 * 1024 * 1024

/** The delayed messages: the fold over messagesDelayed, delayedFired and delayedCancelled. */
export class DelayedView implements View {
  readonly kinds = [opKinds.messagesDelayed, opKinds.delayedFired, opKinds.delayedCancelled]
  readonly near: NearMessages
  readonly #state: State
  readonly #ids: MessageIds
  readonly #topicOf: (topicId: number) => Topic | undefined
  readonly #counts = new Map<number, number>()
  #countsChanged = false
  #total = 0
  /** Called with the due time of a newly delayed message. */
  onDelayed: (dueMs: number) => void = () => {}

  constructor(state: State, ids: MessageIds, topicOf: (topicId: number) => Topic | undefined) {
    this.#state = state
    this.#ids = ids
    this.#topicOf = topicOf
    this.near = new NearMessages((range) => state.range(range), nearCountMax, nearBytesMax)
  }

  /** Number of stored messages, including those of deleted topics that are not removed yet. */
  get total(): number {
    return this.#total
  }

  /** Number of delayed messages of all topics that exist. */
  get totalOfTopics(): number {
    let total = 0
    for (const [topicId, count] of this.#counts) if (this.#topicOf(topicId) !== undefined) total += count
    return total
  }

  /** Topics with stored messages, including deleted ones. */
  get topicIds(): Iterable<number> {
    return this.#counts.keys()
  }

  /** Number of delayed messages of one topic. */
  count(topicId: number): number {
    return this.#counts.get(topicId) ?? 0
  }

  async load(): Promise<void> {
    const stored = await this.#state.get(countsKey)
    if (stored === undefined) return
    const { counts } = decodeBody(stored) as { counts: readonly (readonly [number, number])[] }
    for (const [topicId, count] of counts) this.#add(topicId, count)
  }

  apply(kind: number, payload: Uint8Array): void {
    if (kind === opKinds.messagesDelayed) this.#delayed(payload)
    else for (const ref of decodeDelayedRefs(payload)) this.#ended(ref, kind === opKinds.delayedFired)
  }

  save(): void {
    if (!this.#countsChanged) return
    this.#countsChanged = false
    this.#state.put(countsKey, encodeBody({ counts: [...this.#counts] }))
  }

  #delayed(payload: Uint8Array): void {
    const { arrivedAtMs, entries } = decodeMessagesDelayed(payload)
    for (const { message, key, place, value } of entries) {
      const { topicId, partition, id, dueMs } = message
      const topic = this.#topicOf(topicId)
      // The topic was deleted before the operation was applied.
      if (topic === undefined) continue
      this.#state.put(key, value)
      if (id !== '') {
        this.#state.put(delayedIdKey(topicId, id), place)
        this.#ids.note(topic, id, { partition, offset: -1 }, arrivedAtMs)
      }
      this.#add(topicId, 1)
      this.near.added(key, message)
      this.onDelayed(dueMs)
    }
  }

  #ended({ dueMs, sequence, topicId, partition, offset, id }: DelayedRef, fired: boolean): void {
    const key = delayedKey(dueMs, sequence)
    this.#state.del(key)
    if (id !== '') {
      this.#state.del(delayedIdKey(topicId, id))
      if (fired) this.#ids.appended(topicId, id, { partition, offset }, dueMs)
      else this.#ids.forget(topicId, id)
    }
    this.#add(topicId, -1)
    this.near.removed(key)
  }

  #add(topicId: number, change: number): void {
    const before = this.count(topicId)
    // Never below 0, even if damage has destroyed the operation that counted the message.
    const after = Math.max(0, before + change)
    if (after === 0) this.#counts.delete(topicId)
    else this.#counts.set(topicId, after)
    this.#total += after - before
    this.#countsChanged = true
  }
}
