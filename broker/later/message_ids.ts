import { decodeBody, encodeBody } from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import { dedupeWindowMsOf } from '../topics/settings.js'
import type { Topic } from '../topics/topic.js'
import type { View } from '../view.js'
import { digestOf, type IdDigest, type IdFields, IdTable } from './id_table.js'

/** Position of the first message with an id; offset -1: the message is still delayed. */
export interface SeenMessage {
  readonly partition: number
  readonly offset: number
}

/** The ids that arrived in one second. Pages are append-only: the last entry of an id counts. */
interface Second {
  readonly topicId: number
  readonly second: number
  /** Slot of the newest id; the others follow it. -1: none. */
  first: number
  /** Slots that have changed since the last checkpoint. */
  unsaved: number[]
  pages: number
}

interface TopicIds {
  readonly seconds: Map<number, Second>
  delayed: number
}

/** Special offsets: the message is still delayed; the id is free again. */
const delayed = -1
const free = -2
const pageIdsMax = 1_000
/** Entry of a page: the digest, u32 partition, u64 offset + 2, big-endian. */
const entryBytes = 28

/** Payload of messageIds; part of the disk format. */
export interface MessageIdsOp {
  readonly arrivedAtMs: number
  readonly topicId: number
  /** [id, partition, offset] */
  readonly ids: readonly (readonly [id: string, partition: number, offset: number])[]
}

export function encodeMessageIds({ arrivedAtMs, topicId, ids }: MessageIdsOp): Uint8Array {
  return encodeBody([arrivedAtMs, topicId, ids])
}

/** Payload of messageIdsExpired: the reference time for the windows of the topics; part of the disk format. */
export function encodeMessageIdsExpired(nowMs: number): Uint8Array {
  return encodeBody([nowMs])
}

function decodeMessageIdsExpired(payload: Uint8Array): number {
  const [nowMs] = decodeBody(payload) as [number]
  return nowMs
}

function decodeMessageIds(payload: Uint8Array): MessageIdsOp {
  const [arrivedAtMs, topicId, ids] = decodeBody(payload) as [number, number, MessageIdsOp['ids']]
  return { arrivedAtMs, topicId, ids }
}

/**
 * Ids of messages by topic, for as long as the topic remembers them: the fold over messageIds, and over the ends of
 * delayed messages. The writer of the operations enforces the limit.
 */
export class MessageIds implements View {
  readonly kinds = [opKinds.messageIds, opKinds.messageIdsExpired]
  readonly #state: State
  readonly #topicOf: (topicId: number) => Topic | undefined
  readonly #countMax: number
  readonly #table = new IdTable()
  readonly #topics = new Map<number, TopicIds>()
  readonly #unsaved = new Set<Second>()

  /** @param countMax limit of remembered ids when delayed messages fire; other writers enforce the limit themselves */
  constructor(
    state: State,
    topicOf: (topicId: number) => Topic | undefined,
    countMax: number = Number.POSITIVE_INFINITY,
  ) {
    this.#state = state
    this.#countMax = countMax
    this.#topicOf = topicOf
  }

  /** Number of remembered ids of all topics. */
  get count(): number {
    return this.#table.size
  }

  /** Number of remembered ids whose messages are still delayed. */
  delayedCount(topicId: number): number {
    return this.#topics.get(topicId)?.delayed ?? 0
  }

  /** The message that arrived with this id within the topic's window, or earlier if it is still delayed. */
  seen(topic: Topic, id: string, nowMs: number): SeenMessage | undefined {
    if (this.#table.size === 0) return undefined
    const slot = this.#table.find(digestOf(topic.topicId, id))
    if (slot < 0) return undefined
    const offset = this.#table.offset(slot)
    if (offset !== delayed && isOver(this.#table.second(slot), topic, nowMs)) return undefined
    return { partition: this.#table.partition(slot), offset }
  }

  async load(): Promise<void> {
    // An id may have moved to an earlier second, so only the last entry of each second counts.
    const last = new Map<string, PageEntry>()
    let at: Second | undefined
    const take = (): void => {
      for (const { digest, partition, offset } of last.values())
        if (at !== undefined && offset !== free)
          this.#set(at.topicId, digest, { second: at.second, partition, offset })
      last.clear()
    }
    for await (const [key, value] of tableEntries(this.#state, viewTables.messageIds)) {
      const [topicId, second, page] = numbersOf(key)
      if (at?.topicId !== topicId || at.second !== second) take()
      at = this.#second(topicId, second)
      at.pages = page + 1
      for (const entry of entriesOf(value)) last.set(entry.digest.join(), entry)
    }
    take()
    for (const topic of this.#topics.values())
      for (const second of topic.seconds.values()) second.unsaved = []
    this.#unsaved.clear()
  }

  apply(kind: number, payload: Uint8Array): void {
    if (kind === opKinds.messageIdsExpired) {
      this.expire(decodeMessageIdsExpired(payload))
      return
    }
    const { arrivedAtMs, topicId, ids } = decodeMessageIds(payload)
    const topic = this.#topicOf(topicId)
    if (topic === undefined) return
    for (const [id, partition, offset] of ids) this.note(topic, id, { partition, offset }, arrivedAtMs)
  }

  /** A message with this id was accepted, if its topic remembers ids. Only the fold calls it. */
  note(topic: Topic, id: string, { partition, offset }: SeenMessage, arrivedAtMs: number): void {
    // Use the setting at this place of the journal, so that replay has the same result.
    if (dedupeWindowMsOf(topic.settings) === 0) return
    const second = Math.floor(arrivedAtMs / 1000)
    this.#set(topic.topicId, digestOf(topic.topicId, id), { second, partition, offset })
  }

  /**
   * A delayed message was appended; offset -1: it was discarded. Its id is remembered from its delivery on, because the
   * delay may be longer than the window of its topic. Only the fold calls it.
   */
  appended(topicId: number, id: string, { partition, offset }: SeenMessage, dueMs: number): void {
    const digest = digestOf(topicId, id)
    const slot = this.#table.find(digest)
    const dueSecond = Math.floor(dueMs / 1000)
    if (slot >= 0) {
      if (this.#table.offset(slot) !== delayed) return
      const second = Math.max(this.#table.second(slot), dueSecond)
      this.#set(topicId, digest, { second, partition, offset })
      return
    }
    const topic = this.#topicOf(topicId)
    if (topic === undefined || dedupeWindowMsOf(topic.settings) === 0) return
    if (this.#table.size < this.#countMax)
      this.#set(topicId, digest, { second: dueSecond, partition, offset })
  }

  /** The id is free again: its message was cancelled. Only the fold calls it. */
  forget(topicId: number, id: string): void {
    const slot = this.#table.find(digestOf(topicId, id))
    if (slot >= 0) this.#hide(topicId, slot)
  }

  /** Whether there are ids older than the windows of their topics. */
  hasExpired(nowMs: number): boolean {
    for (const [topicId, topic] of this.#topics) {
      const settings = this.#topicOf(topicId)
      for (const { second } of topic.seconds.values())
        if (settings === undefined || isOver(second, settings, nowMs)) return true
    }
    return false
  }

  /**
   * Removes ids older than the windows of their topics. Only the fold calls it, so that every reader of the journal
   * removes them at the same place.
   */
  expire(nowMs: number): void {
    for (const [topicId, topic] of this.#topics) {
      const settings = this.#topicOf(topicId)
      for (const second of topic.seconds.values()) {
        if (settings === undefined || isOver(second.second, settings, nowMs)) this.#drop(topic, second)
      }
      if (topic.seconds.size === 0) this.#topics.delete(topicId)
    }
  }

  /** The topic was deleted. */
  topicDeleted(topicId: number): void {
    const topic = this.#topics.get(topicId)
    if (topic === undefined) return
    for (const second of topic.seconds.values()) this.#drop(topic, second)
    this.#topics.delete(topicId)
  }

  /** Writes the changes since the last call to the state. */
  save(): void {
    for (const second of this.#unsaved) {
      for (let from = 0; from < second.unsaved.length; from += pageIdsMax) {
        const page = this.#pageOf(second.unsaved.slice(from, from + pageIdsMax))
        this.#state.put(pageKey(second.topicId, second.second, second.pages++), page)
      }
      second.unsaved = []
    }
    this.#unsaved.clear()
  }

  #pageOf(slots: readonly number[]): Uint8Array {
    const page = Buffer.allocUnsafe(slots.length * entryBytes)
    let at = 0
    for (const slot of slots) {
      for (const word of this.#table.digest(slot)) at = page.writeUInt32BE(word, at)
      at = page.writeUInt32BE(this.#table.partition(slot), at)
      const stored = this.#table.offset(slot) - free
      at = page.writeUInt32BE(Math.floor(stored / 0x1_0000_0000), at)
      at = page.writeUInt32BE(stored % 0x1_0000_0000, at)
    }
    return page
  }

  #set(topicId: number, digest: IdDigest, fields: IdFields): void {
    const second = this.#second(topicId, fields.second)
    const topic = this.#topics.get(topicId) as TopicIds
    let slot = this.#table.find(digest)
    if (slot >= 0 && this.#table.second(slot) !== fields.second) {
      this.#hide(topicId, slot)
      slot = -1
    }
    topic.delayed += Number(fields.offset === delayed)
    if (slot >= 0) {
      topic.delayed -= Number(this.#table.offset(slot) === delayed)
      this.#table.place(slot, fields.partition, fields.offset)
    } else {
      slot = this.#table.add(digest, fields, second.first)
      second.first = slot
    }
    this.#changed(second, slot)
  }

  /** Hides an id. Its slot stays in the list of its second, so that the next checkpoint records that. */
  #hide(topicId: number, slot: number): void {
    const topic = this.#topics.get(topicId)
    const second = topic?.seconds.get(this.#table.second(slot))
    if (topic === undefined || second === undefined) return
    topic.delayed -= Number(this.#table.offset(slot) === delayed)
    this.#table.hide(slot, free)
    this.#changed(second, slot)
  }

  #second(topicId: number, second: number): Second {
    let topic = this.#topics.get(topicId)
    if (topic === undefined) {
      topic = { seconds: new Map(), delayed: 0 }
      this.#topics.set(topicId, topic)
    }
    let found = topic.seconds.get(second)
    if (found === undefined) {
      found = { topicId, second, first: -1, unsaved: [], pages: 0 }
      topic.seconds.set(second, found)
    }
    return found
  }

  #changed(second: Second, slot: number): void {
    second.unsaved.push(slot)
    this.#unsaved.add(second)
  }

  #drop(topic: TopicIds, second: Second): void {
    for (let slot = second.first; slot >= 0; ) {
      const next = this.#table.next(slot)
      if (this.#table.offset(slot) !== free) {
        topic.delayed -= Number(this.#table.offset(slot) === delayed)
        this.#table.hide(slot, free)
      }
      this.#table.free(slot)
      slot = next
    }
    topic.seconds.delete(second.second)
    this.#unsaved.delete(second)
    for (let page = 0; page < second.pages; page++)
      this.#state.del(pageKey(second.topicId, second.second, page))
  }
}

/** Whether all ids of this second are older than the topic's window. */
function isOver(second: number, { settings }: Topic, nowMs: number): boolean {
  const windowMs = dedupeWindowMsOf(settings)
  return windowMs === 0 || (second + 1) * 1000 + windowMs <= nowMs
}

function pageKey(topicId: number, second: number, page: number): Uint8Array {
  const key = Buffer.allocUnsafe(13)
  key[0] = viewTables.messageIds
  key.writeUInt32BE(topicId, 1)
  key.writeUInt32BE(second, 5)
  key.writeUInt32BE(page, 9)
  return key
}

function numbersOf(key: Uint8Array): readonly [topicId: number, second: number, page: number] {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.length)
  return [bytes.readUInt32BE(1), bytes.readUInt32BE(5), bytes.readUInt32BE(9)]
}

interface PageEntry {
  readonly digest: IdDigest
  readonly partition: number
  readonly offset: number
}

function* entriesOf(page: Uint8Array): Iterable<PageEntry> {
  const bytes = Buffer.from(page.buffer, page.byteOffset, page.length)
  for (let at = 0; at < bytes.length; at += entryBytes) {
    const word = (index: number): number => bytes.readUInt32BE(at + 4 * index)
    yield {
      digest: [word(0), word(1), word(2), word(3)],
      partition: word(4),
      offset: word(5) * 0x1_0000_0000 + word(6) + free,
    }
  }
}
