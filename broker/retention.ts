import { MillraceError } from '../protocol/index.js'
import { encodeTrims, opKinds, retentionOffset, type Trim } from '../storage/index.js'
import type { Logger } from './log.js'
import type { Partition } from './partition/partition.js'
import type { Shard } from './shard.js'
import type { WallClock } from './wall_clock.js'

/** Partitions that are looked at before other work gets its turn. */
const partitionsPerTurn = 500

/**
 * Drops old data as the topics' settings say: by the age of a block's newest record, as its publisher stamped it, and
 * by bytes. A record with a timestamp of long ago is dropped at the next run; one from the future can't be published
 * (`timestampAheadMsMax`). A wall clock that jumps ahead makes nothing older until the jump is believed; what passes
 * between two runs of the broker, as told by the newest record, is such a jump. All drops of a run are one operation.
 */
export class Retention {
  readonly #shard: Shard
  readonly #clock: WallClock
  readonly #logger: Logger
  readonly #timer: NodeJS.Timeout
  /** For each partition, when its oldest block has to go at the earliest: most runs need not look at it. */
  readonly #oldest = new WeakMap<
    Partition,
    { readonly startOffset: number; readonly lastTimestamp: number }
  >()
  readonly #newestSeen: Promise<void>
  #running: Promise<void> | undefined
  #stopped = false
  #problem: string | undefined

  constructor(shard: Shard, clock: WallClock, logger: Logger, intervalMs: number) {
    this.#shard = shard
    this.#clock = clock
    this.#logger = logger
    this.#newestSeen = this.#seeNewest()
    this.#timer = setInterval(() => void this.run(), intervalMs).unref()
  }

  /** Why the last run failed, if it did. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** One run over all partitions; a timer calls it. Never rejects: see `problem`. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async close(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#newestSeen
    await this.#running
  }

  async #run(): Promise<void> {
    try {
      await this.#newestSeen
      const nowMs = this.#clock.earliestMs
      const trims: Trim[] = []
      let looked = 0
      for (const partition of [...this.#shard.catalog.partitions]) {
        if (this.#stopped) return
        this.#shard.producers.expire(partition, nowMs)
        const { startOffset } = partition
        const offset = await this.#target(partition, nowMs)
        if (offset > startOffset) trims.push([partition.log.id, offset])
        if (++looked % partitionsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      if (trims.length > 0) {
        await this.#shard.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims(trims) }])
        this.#logger.debug({ partitions: trims.length }, 'retention dropped old data')
      }
      this.#problem = undefined
    } catch (error) {
      const text = error instanceof MillraceError ? error.message : String(error)
      this.#problem = `retention failed: ${text}`
      this.#logger.warn({ err: error }, 'retention failed')
    }
  }

  /** Tells the clock of the newest record, the last thing that is known of the time before this start. */
  async #seeNewest(): Promise<void> {
    let newest = 0
    for (const { log } of [...this.#shard.catalog.partitions]) {
      if (log.startOffset === log.endOffset) continue
      // A partition that can't be read is told of by the storage; the others tell the time as well.
      const entries = await Promise.resolve(log.index.from(log.endOffset - 1)).catch(() => [])
      newest = Math.max(newest, entries.at(-1)?.lastTimestamp ?? 0)
    }
    if (newest > 0) this.#clock.wasAt(newest)
  }

  async #target(partition: Partition, nowMs: number): Promise<number> {
    const { log, topic } = partition
    const { retentionMs, retentionBytes } = topic.settings
    if (log.startOffset === log.endOffset) return log.startOffset
    const byBytes = retentionBytes >= 0 && log.liveBytes > retentionBytes
    const olderThanMs = retentionMs < 0 ? undefined : nowMs - retentionMs
    const byAge = olderThanMs !== undefined && (await this.#oldestTimestamp(partition)) < olderThanMs
    if (!byBytes && !byAge) return log.startOffset
    return retentionOffset(log, {
      ...(byAge ? { olderThanMs } : {}),
      ...(byBytes ? { bytesMax: retentionBytes } : {}),
    })
  }

  async #oldestTimestamp(partition: Partition): Promise<number> {
    const { log } = partition
    const known = this.#oldest.get(partition)
    if (known?.startOffset === log.startOffset) return known.lastTimestamp
    const { startOffset } = log
    const [entry] = await log.index.from(startOffset)
    if (entry === undefined) return Number.POSITIVE_INFINITY
    this.#oldest.set(partition, { startOffset, lastTimestamp: entry.lastTimestamp })
    return entry.lastTimestamp
  }
}
