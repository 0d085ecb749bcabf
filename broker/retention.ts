import { MillraceError, type TopicSettings } from '../protocol/index.js'
import { encodeTrims, opKinds, retentionOffset, type Trim } from '../storage/index.js'
import type { Logger } from './log.js'
import type { Partition } from './partition/partition.js'
import { encodeProducersForgotten, type SilentProducer } from './partition/producers_view.js'
import type { Shard } from './shard.js'
import type { WallClock } from './wall_clock.js'

/** What can go of a partition, by the settings of its topic at the time. */
interface Found {
  readonly partition: Partition
  readonly offset: number
  readonly settings: TopicSettings
}

/** Partitions between two turns of the event loop. */
const partitionsPerTurn = 500
/** Limit of the producers that one run forgets; the next run continues. */
const silentPerRunMax = 10_000

/**
 * Drops old data by the settings of topics: by the publisher's timestamp of the newest record in a block,
 * and by bytes. The next run drops a record with an old timestamp; a publish with a future timestamp fails
 * (`timestampAheadMsMax`). A wall clock that jumps ahead makes nothing older until the clock believes the jump. The
 * time
 * between two runs of the broker, measured by the newest record, is such a jump. All drops of a run are one operation.
 */
export class Retention {
  readonly #shard: Shard
  readonly #clock: WallClock
  readonly #logger: Logger
  readonly #timer: NodeJS.Timeout
  /** Earliest time at which the oldest block of a partition can expire: most runs skip the partition. */
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

  /** Error of the last run, if it failed. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Checks all partitions; a timer calls it. Never rejects: see `problem`. */
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
      const found: Found[] = []
      const silent: SilentProducer[] = []
      let looked = 0
      for (const partition of [...this.#shard.catalog.partitions]) {
        if (this.#stopped) return
        this.#shard.producers.findSilent(partition, nowMs, silent, silentPerRunMax)
        const { startOffset } = partition
        const { settings } = partition.topic
        const offset = await this.#target(partition, nowMs)
        if (offset > startOffset) found.push({ partition, offset, settings })
        if (++looked % partitionsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      // Settings that changed during the run may keep more: the next run applies them.
      const trims = found
        .filter(({ partition, settings }) => partition.topic.settings === settings)
        .map(({ partition, offset }): Trim => [partition.log.id, offset])
      if (trims.length > 0) {
        await this.#shard.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims(trims) }])
        this.#logger.debug({ partitions: trims.length }, 'retention deleted old records')
      }
      if (silent.length > 0) {
        const payload = encodeProducersForgotten(silent)
        await this.#shard.commit([{ kind: opKinds.producersForgotten, payload }])
      }
      this.#problem = undefined
    } catch (error) {
      const text = error instanceof MillraceError ? error.message : String(error)
      this.#problem = `retention failed: ${text}`
      this.#logger.warn({ err: error }, 'retention failed')
    }
  }

  /** Gives the clock the timestamp of the newest record, the last known time before this start. */
  async #seeNewest(): Promise<void> {
    let newest = 0
    for (const { log } of [...this.#shard.catalog.partitions]) {
      if (log.startOffset === log.endOffset) continue
      // Storage reports an unreadable partition; the others also give the time.
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
