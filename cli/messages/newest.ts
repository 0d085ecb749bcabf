import type { Client, Message } from '../../client/index.js'

/** Orders messages by timestamp, but messages of one partition by offset, whatever their timestamps are. */
interface Kept<Item> {
  readonly orderMs: number
  readonly item: Item
}

/** Keeps the newest of the added messages. */
export class Newest<Item> {
  readonly #count: number
  readonly #newestMs = new Map<string, number>()
  #kept: Kept<Item>[] = []

  /** @param count number of messages to keep */
  constructor(count: number) {
    this.#count = count
  }

  /** Adds a message; messages of one partition must come in order. */
  add({ topic, partition, timestamp }: Pick<Message, 'topic' | 'partition' | 'timestamp'>, item: Item): void {
    const key = `${topic}/${partition}`
    const orderMs = Math.max(timestamp, this.#newestMs.get(key) ?? 0)
    this.#newestMs.set(key, orderMs)
    this.#kept.push({ orderMs, item })
    if (this.#kept.length >= 2 * this.#count + 1_000) this.#trim()
  }

  /** The newest messages, oldest first. */
  take(): Item[] {
    this.#trim()
    return this.#kept.map(({ item }) => item)
  }

  #trim(): void {
    // The sort is stable: messages of one partition keep their order.
    this.#kept.sort((a, b) => a.orderMs - b.orderMs)
    this.#kept = this.#kept.slice(-this.#count)
  }
}

/** Offsets from which each partition has at most `count` messages, and the ends; by topic, then by partition. */
export async function lastOffsets(
  client: Client,
  topics: readonly string[],
  count: number,
  signal: AbortSignal,
): Promise<{
  readonly starts: ReadonlyMap<string, readonly number[]>
  readonly ends: ReadonlyMap<string, readonly number[]>
}> {
  const starts = new Map<string, readonly number[]>()
  const ends = new Map<string, readonly number[]>()
  for (const topic of topics) {
    const { partitions } = await client.topics.describe(topic, { signal })
    starts.set(
      topic,
      partitions.map(({ startOffset, endOffset }) => Math.max(startOffset, endOffset - count)),
    )
    ends.set(
      topic,
      partitions.map(({ endOffset }) => endOffset),
    )
  }
  return { starts, ends }
}
