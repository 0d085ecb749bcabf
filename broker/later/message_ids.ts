import { decodeBody, encodeBody } from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import { dedupeWindowMsOf } from '../topics/settings.js'
import type { Topic } from '../topics/topic.js'
import type { View } from '../view.js'

/** Where the first message with an id went; offset -1: it is still delayed. */
export interface SeenMessage {
  readonly partition: number
  readonly offset: number
}

interface Entry extends SeenMessage {
  /** Of its arrival, since 1970. */
  readonly second: number
}

/** The ids that came in one second. Pages are only ever added: what a later one says of an id counts. */
interface Second {
  readonly topicId: number
  readonly second: number
  readonly ids: string[]
  /** Changed since the last checkpoint. */
  unsaved: string[]
  pages: number
}

interface TopicIds {
  readonly byId: Map<string, Entry>
  readonly seconds: Map<number, Second>
  delayed: number
}

/** An entry of a page, and of the operation: [id, partition, offset]; offset -2: the id is free again. */
type StoredId = readonly [id: string, partition: number, offset: number]
const free = -2
const pageIdsMax = 1_000

/** Payload of messageIds; stands on disk. */
export interface MessageIdsOp {
  readonly arrivedAtMs: number
  readonly topicId: number
  readonly ids: readonly StoredId[]
}

export function encodeMessageIds({ arrivedAtMs, topicId, ids }: MessageIdsOp): Uint8Array {
  return encodeBody([arrivedAtMs, topicId, ids])
}

/**
 * Ids of messages by topic, for as long as the topic remembers them: the fold over messageIds, and over what becomes of
 * delayed messages. Who adds to it keeps it within bounds.
 */
export class MessageIds implements View {
  readonly kinds = [opKinds.messageIds]
  readonly #state: State
  readonly #topicOf: (topicId: number) => Topic | undefined
  readonly #topics = new Map<number, TopicIds>()
  readonly #unsaved = new Set<Second>()
  #count = 0

  constructor(state: State, topicOf: (topicId: number) => Topic | undefined) {
    this.#state = state
    this.#topicOf = topicOf
  }

  /** Ids that are remembered, of all topics. */
  get count(): number {
    return this.#count
  }

  /** How many ids of messages are remembered that are still delayed. */
  delayedCount(topicId: number): number {
    return this.#topics.get(topicId)?.delayed ?? 0
  }

  /** The message that came with this id within the topic's window, or earlier if it is still delayed. */
  seen(topic: Topic, id: string, nowMs: number): SeenMessage | undefined {
    const entry = this.#topics.get(topic.topicId)?.byId.get(id)
    if (entry === undefined || entry.offset === -1) return entry
    return isOver(entry.second, topic, nowMs) ? undefined : entry
  }

  async load(): Promise<void> {
    for await (const [key, value] of tableEntries(this.#state, viewTables.messageIds)) {
      const [topicId, second, page] = numbersOf(key)
      const { ids } = decodeBody(value) as { ids: readonly StoredId[] }
      for (const [id, partition, offset] of ids) {
        if (offset !== free) this.#set(topicId, id, { second, partition, offset })
        else if (this.#topics.get(topicId)?.byId.get(id)?.second === second) this.#remove(topicId, id)
      }
      const at = this.#second(topicId, second)
      at.unsaved = []
      at.pages = page + 1
    }
    this.#unsaved.clear()
  }

  apply(_kind: number, payload: Uint8Array): void {
    const [arrivedAtMs, topicId, ids] = decodeBody(payload) as [number, number, readonly StoredId[]]
    const topic = this.#topicOf(topicId)
    if (topic === undefined) return
    for (const [id, partition, offset] of ids) this.note(topic, id, { partition, offset }, arrivedAtMs)
  }

  /** A message with this id was taken, if its topic remembers ids. From the fold alone. */
  note(topic: Topic, id: string, { partition, offset }: SeenMessage, arrivedAtMs: number): void {
    // By the setting as it is at this place of the journal, so the same in replay.
    if (dedupeWindowMsOf(topic.settings) === 0) return
    this.#set(topic.topicId, id, { second: Math.floor(arrivedAtMs / 1000), partition, offset })
  }

  /** A delayed message was appended; offset -1: it went nowhere. From the fold alone. */
  appended(topicId: number, id: string, { partition, offset }: SeenMessage): void {
    const entry = this.#topics.get(topicId)?.byId.get(id)
    if (entry?.offset === -1) this.#set(topicId, id, { second: entry.second, partition, offset })
  }

  /** The id is free again: its message was cancelled. From the fold alone. */
  forget(topicId: number, id: string): void {
    const entry = this.#topics.get(topicId)?.byId.get(id)
    if (entry === undefined) return
    this.#changed(this.#second(topicId, entry.second), id)
    this.#remove(topicId, id)
  }

  /** Forgets what no topic wants to know any more. */
  expire(nowMs: number): void {
    for (const [topicId, topic] of this.#topics) {
      const settings = this.#topicOf(topicId)
      for (const second of topic.seconds.values()) {
        if (settings === undefined || isOver(second.second, settings, nowMs)) this.#drop(topic, second)
      }
      if (topic.seconds.size === 0) this.#topics.delete(topicId)
    }
  }

  /** The topic is gone. */
  topicDeleted(topicId: number): void {
    const topic = this.#topics.get(topicId)
    if (topic === undefined) return
    for (const second of topic.seconds.values()) this.#drop(topic, second)
    this.#topics.delete(topicId)
  }

  /** Puts into the state what has changed since the last time. */
  save(): void {
    for (const second of this.#unsaved) {
      const byId = this.#topics.get(second.topicId)?.byId
      for (let from = 0; from < second.unsaved.length; from += pageIdsMax) {
        const ids = second.unsaved.slice(from, from + pageIdsMax).map((id): StoredId => {
          const entry = byId?.get(id)
          return entry?.second === second.second ? [id, entry.partition, entry.offset] : [id, 0, free]
        })
        this.#state.put(pageKey(second.topicId, second.second, second.pages++), encodeBody({ ids }))
      }
      second.unsaved = []
    }
    this.#unsaved.clear()
  }

  #set(topicId: number, id: string, entry: Entry): void {
    const second = this.#second(topicId, entry.second)
    const topic = this.#topics.get(topicId) as TopicIds
    const before = topic.byId.get(id)
    if (before?.second !== entry.second) second.ids.push(id)
    if (before === undefined) this.#count++
    topic.delayed += Number(entry.offset === -1) - Number(before?.offset === -1)
    topic.byId.set(id, entry)
    this.#changed(second, id)
  }

  #remove(topicId: number, id: string): void {
    const topic = this.#topics.get(topicId)
    const entry = topic?.byId.get(id)
    if (topic === undefined || entry === undefined) return
    topic.byId.delete(id)
    topic.delayed -= Number(entry.offset === -1)
    this.#count--
  }

  #second(topicId: number, second: number): Second {
    let topic = this.#topics.get(topicId)
    if (topic === undefined) {
      topic = { byId: new Map(), seconds: new Map(), delayed: 0 }
      this.#topics.set(topicId, topic)
    }
    let found = topic.seconds.get(second)
    if (found === undefined) {
      found = { topicId, second, ids: [], unsaved: [], pages: 0 }
      topic.seconds.set(second, found)
    }
    return found
  }

  #changed(second: Second, id: string): void {
    second.unsaved.push(id)
    this.#unsaved.add(second)
  }

  #drop(topic: TopicIds, second: Second): void {
    for (const id of second.ids) {
      if (topic.byId.get(id)?.second === second.second) this.#remove(second.topicId, id)
    }
    topic.seconds.delete(second.second)
    this.#unsaved.delete(second)
    for (let page = 0; page < second.pages; page++)
      this.#state.del(pageKey(second.topicId, second.second, page))
  }
}

/** Whether all that came in this second is older than the topic's window. */
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
