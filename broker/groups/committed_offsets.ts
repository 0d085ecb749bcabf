import { decodeBody, encodeBody } from '../../protocol/index.js'

/** The committed position of a group in a partition. */
export interface CommittedOffset {
  /** The next offset to read. */
  readonly offset: number
  readonly metadata: string | undefined
  /** Wall clock of the broker. */
  readonly committedAtMs: number
}

interface TopicOffsets {
  /** By partition; -1 if nothing is committed. */
  readonly offsets: number[]
  readonly committedAtMs: number[]
  readonly metadata: Map<number, string>
}

interface GroupOffsets {
  readonly topics: Map<number, TopicOffsets>
  lastCommitMs: number
}

/** Key of one page of a group's offsets in the state database. */
export interface OffsetsPage {
  readonly group: string
  readonly topicId: number
  readonly page: number
}

export type OffsetEntry = readonly [
  topicId: number,
  partition: number,
  offset: number,
  metadata: string | undefined,
]

/** Partitions of a page. Part of the disk format: a change needs another key. */
export const partitionsPerPage = 32

const entryBytes = 16

/**
 * The committed offsets of groups, in memory: the fold over `offsets.committed` and `group.deleted`. The state stores
 * pages of partitions, because many small values are slow in the state database; each change returns
 * the changed pages.
 */
export class CommittedOffsets {
  readonly #groups = new Map<string, GroupOffsets>()
  #bytes = 0

  /** Approximate memory of the offsets and their metadata. */
  get bytes(): number {
    return this.#bytes
  }

  get groups(): Iterable<string> {
    return this.#groups.keys()
  }

  has(group: string): boolean {
    return this.#groups.has(group)
  }

  /** Time of the group's last commit (wall clock), or undefined if it never committed. */
  lastCommitMs(group: string): number | undefined {
    return this.#groups.get(group)?.lastCommitMs
  }

  topicIds(group: string): number[] {
    return [...(this.#groups.get(group)?.topics.keys() ?? [])]
  }

  get(group: string, topicId: number, partition: number): CommittedOffset | undefined {
    const topic = this.#groups.get(group)?.topics.get(topicId)
    const offset = topic?.offsets[partition] ?? -1
    if (topic === undefined || offset < 0) return undefined
    return {
      offset,
      metadata: topic.metadata.get(partition),
      committedAtMs: topic.committedAtMs[partition] ?? 0,
    }
  }

  /** Applies entries and returns the pages that hold them, each once. */
  set(group: string, committedAtMs: number, entries: readonly OffsetEntry[]): OffsetsPage[] {
    let known = this.#groups.get(group)
    if (known === undefined) {
      known = { topics: new Map(), lastCommitMs: committedAtMs }
      this.#groups.set(group, known)
    }
    known.lastCommitMs = Math.max(known.lastCommitMs, committedAtMs)
    const pages = new Map<string, OffsetsPage>()
    for (const [topicId, partition, offset, metadata] of entries) {
      let topic = known.topics.get(topicId)
      if (topic === undefined) {
        topic = { offsets: [], committedAtMs: [], metadata: new Map() }
        known.topics.set(topicId, topic)
      }
      this.#put(topic, partition, offset, committedAtMs, metadata)
      const page = Math.floor(partition / partitionsPerPage)
      pages.set(`${topicId}/${page}`, { group, topicId, page })
    }
    return [...pages.values()]
  }

  /** The stored value of a page. */
  encodePage({ group, topicId, page }: OffsetsPage): Uint8Array {
    const rows: unknown[] = []
    for (let partition = page * partitionsPerPage; partition < (page + 1) * partitionsPerPage; partition++) {
      const entry = this.get(group, topicId, partition)
      if (entry !== undefined) rows.push([partition, entry.offset, entry.committedAtMs, entry.metadata])
    }
    return encodeBody(rows)
  }

  /** Loads a stored page. */
  loadPage({ group, topicId }: OffsetsPage, value: Uint8Array): void {
    const rows = decodeBody(value) as [number, number, number, string | null][]
    for (const [partition, offset, committedAtMs, metadata] of rows) {
      this.set(group, committedAtMs, [[topicId, partition, offset, metadata ?? undefined]])
    }
  }

  /** Removes a group and returns its pages. */
  deleteGroup(group: string): OffsetsPage[] {
    const pages = this.topicIds(group).flatMap((topicId) => this.#deleteTopic(group, topicId))
    this.#groups.delete(group)
    return pages
  }

  /** Removes a topic from all groups and returns its pages; groups without offsets disappear. */
  deleteTopic(topicId: number): OffsetsPage[] {
    const pages: OffsetsPage[] = []
    for (const [group, { topics }] of this.#groups) {
      pages.push(...this.#deleteTopic(group, topicId))
      if (topics.size === 0) this.#groups.delete(group)
    }
    return pages
  }

  #put(
    topic: TopicOffsets,
    partition: number,
    offset: number,
    committedAtMs: number,
    metadata: string | undefined,
  ): void {
    while (topic.offsets.length <= partition) {
      topic.offsets.push(-1)
      topic.committedAtMs.push(0)
      this.#bytes += entryBytes
    }
    topic.offsets[partition] = offset
    topic.committedAtMs[partition] = committedAtMs
    this.#bytes += (metadata?.length ?? 0) - (topic.metadata.get(partition)?.length ?? 0)
    if (metadata === undefined) topic.metadata.delete(partition)
    else topic.metadata.set(partition, metadata)
  }

  #deleteTopic(group: string, topicId: number): OffsetsPage[] {
    const topics = this.#groups.get(group)?.topics
    const topic = topics?.get(topicId)
    if (topics === undefined || topic === undefined) return []
    topics.delete(topicId)
    this.#bytes -= topic.offsets.length * entryBytes
    for (const metadata of topic.metadata.values()) this.#bytes -= metadata.length
    const pages: OffsetsPage[] = []
    for (let page = 0; page * partitionsPerPage < topic.offsets.length; page++) {
      pages.push({ group, topicId, page })
    }
    return pages
  }
}
