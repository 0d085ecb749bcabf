import {
  CommittedOffsets,
  type GroupHost,
  type GroupTopic,
  type MemberSession,
  type OffsetEntry,
  type TopicSource,
} from '../../../broker/groups/index.js'
import { isMillraceError, MillraceError } from '../../../protocol/index.js'

/** Topics that a test can create, change and delete. */
export class FakeTopics implements TopicSource {
  readonly #topics = new Map<number, GroupTopic>()
  #nextId = 1

  create(name: string, partitions: number): GroupTopic {
    const topic = { topicId: this.#nextId++, name, partitions }
    this.#topics.set(topic.topicId, topic)
    return topic
  }

  grow(topicId: number, partitions: number): GroupTopic {
    const topic = { ...(this.#topics.get(topicId) as GroupTopic), partitions }
    this.#topics.set(topicId, topic)
    return topic
  }

  delete(topicId: number): void {
    this.#topics.delete(topicId)
  }

  byId(topicId: number): GroupTopic | undefined {
    return this.#topics.get(topicId)
  }

  byName(name: string): GroupTopic | undefined {
    return [...this.#topics.values()].find((topic) => topic.name === name)
  }
}

/** A connection that the test can end. */
export class FakeSession implements MemberSession {
  static #nextId = 1
  readonly id = FakeSession.#nextId++
  readonly clientName = 'test'
  readonly address = '127.0.0.1:1'
  readonly #callbacks: (() => void)[] = []

  onClose(callback: () => void): void {
    this.#callbacks.push(callback)
  }

  close(): void {
    for (const callback of this.#callbacks.splice(0)) callback()
  }
}

/** For assert.throws: an error with this code. */
export function withCode(code: Parameters<typeof isMillraceError>[1]): (error: unknown) => boolean {
  return (error) => isMillraceError(error, code)
}

/** The code of the error that a promise rejects with, or undefined. */
export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise
    return undefined
  } catch (error) {
    if (isMillraceError(error)) return error.code
    throw error
  }
}

/** A shard without storage: commits become visible a moment later, or when the test allows it. */
export class FakeHost implements GroupHost {
  readonly topics = new FakeTopics()
  readonly offsets = new CommittedOffsets()
  endOffset = 100
  startOffset = 0
  writes = 0
  /** Each write waits for this, or fails with it. */
  beforeWrite: () => Promise<void> = () => Promise.resolve()
  #ids = 0

  uniqueId(): number {
    return ++this.#ids
  }

  unknownTopic(name: string): MillraceError {
    return new MillraceError('UNKNOWN_TOPIC', `there is no topic "${name}"`)
  }

  ends(topicId: number, partition: number): { startOffset: number; endOffset: number } | undefined {
    const topic = this.topics.byId(topicId)
    if (topic === undefined || partition >= topic.partitions) return undefined
    return { startOffset: this.startOffset, endOffset: this.endOffset }
  }

  async offsetForTime(_topicId: number, _partition: number, timeMs: number): Promise<number> {
    return Math.min(timeMs, this.endOffset)
  }

  async commitOffsets(group: string, committedAtMs: number, entries: readonly OffsetEntry[]): Promise<void> {
    this.writes += 1
    await this.beforeWrite()
    this.offsets.set(group, committedAtMs, entries)
  }

  readonly paused = new Set<string>()

  get pausedCount(): number {
    return this.paused.size
  }

  readonly queueGroups = new Set<string>()

  isQueueGroup(name: string): boolean {
    return this.queueGroups.has(name)
  }

  isPaused(group: string): boolean {
    return this.paused.has(group)
  }

  async setPaused(group: string, paused: boolean): Promise<void> {
    if (paused) this.paused.add(group)
    else this.paused.delete(group)
  }

  async deleteGroup(group: string): Promise<void> {
    this.writes += 1
    await this.beforeWrite()
    this.offsets.deleteGroup(group)
  }
}
