import type { Client, Consumer, Message, TopicPartition } from '../../client/index.js'

type Raw = Message<Uint8Array | null, Uint8Array>

/** Where reading stops: before an offset of each partition, or before a time. */
export type StopPosition = number | Date

/** How long after a time messages with an earlier timestamp may still arrive. */
const graceMs = 1_000
/** The longest delay of a timer. */
const timerMsMax = 2 ** 31 - 1

/** The end offset of each partition for a consumer. Closes the consumer when all partitions have reached their end. */
export class Stops {
  readonly #client: Client
  readonly #consumer: Consumer<Uint8Array | null, Uint8Array>
  readonly #topics: readonly string[]
  readonly #until: StopPosition
  readonly #follow: boolean
  readonly #stops = new Map<string, number>()
  readonly #open = new Map<string, TopicPartition>()
  #timer: NodeJS.Timeout | undefined

  /**
   * @param consumer a consumer that has started
   * @param follow whether to wait for a time or an offset that no message has reached yet
   */
  constructor(
    client: Client,
    consumer: Consumer<Uint8Array | null, Uint8Array>,
    topics: readonly string[],
    until: StopPosition,
    follow: boolean,
  ) {
    this.#client = client
    this.#consumer = consumer
    this.#topics = topics
    this.#until = until
    this.#follow = follow
    for (const one of consumer.assignment) this.#open.set(keyOf(one), one)
  }

  /** Asks the broker for the offsets. @throws MillraceError */
  async start(): Promise<void> {
    const { topics } = this.#client
    const isComing = this.#timeLeftMs > 0
    for (const topic of this.#topics) {
      const ends = await topics.offsets(topic, 'latest')
      const found = this.#until instanceof Date ? await topics.offsets(topic, this.#until) : undefined
      for (const [partition, end] of ends.entries()) {
        const one = this.#open.get(keyOf({ topic, partition }))
        if (one === undefined) continue
        const wanted = found?.[partition] ?? (this.#until as number)
        const isWaitedFor = found === undefined ? this.#follow : isComing && wanted >= end
        const stop = !isWaitedFor ? Math.min(wanted, end) : found === undefined ? wanted : undefined
        if (stop === undefined) continue
        this.#stops.set(keyOf(one), stop)
        if (this.#consumer.position(one) >= stop) this.#reached(one)
      }
    }
    if (isComing) this.#waitForTime()
  }

  /** The messages of one partition that are before its end. */
  take(messages: readonly Raw[]): readonly Raw[] {
    const [first] = messages
    const last = messages.at(-1)
    if (first === undefined || last === undefined) return messages
    const stop = this.#stopOf(first)
    const timeMs = this.#until instanceof Date ? this.#until.getTime() : Number.POSITIVE_INFINITY
    const end = messages.findIndex(({ offset, timestamp }) => offset >= stop || timestamp >= timeMs)
    if (end >= 0 || last.offset + 1 >= stop) this.#reached(first)
    return end < 0 ? messages : messages.slice(0, end)
  }

  /** Retention has dropped messages in the range. */
  skipped(one: TopicPartition, toOffset: number): void {
    if (toOffset >= this.#stopOf(one)) this.#reached(one)
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  /** A partition that was added later counts only while the command still waits for messages. */
  #stopOf(one: TopicPartition): number {
    return this.#stops.get(keyOf(one)) ?? (this.#timeLeftMs > 0 ? Number.POSITIVE_INFINITY : 0)
  }

  get #timeLeftMs(): number {
    if (!this.#follow || !(this.#until instanceof Date)) return 0
    return Math.max(0, this.#until.getTime() + graceMs - Date.now())
  }

  #waitForTime(): void {
    const leftMs = this.#timeLeftMs
    const look = (): void => {
      if (this.#timeLeftMs > 0) this.#waitForTime()
      else this.start().catch(() => void this.#consumer.close())
    }
    this.#timer = setTimeout(look, Math.min(leftMs, timerMsMax))
  }

  /** Stops reading a partition. */
  #reached(one: TopicPartition): void {
    if (!this.#open.delete(keyOf(one))) return
    this.#consumer.pause([{ topic: one.topic, partition: one.partition }])
    if (this.#open.size === 0) void this.#consumer.close()
  }
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}
