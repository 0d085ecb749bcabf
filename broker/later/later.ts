import { isMillraceError } from '../../protocol/index.js'
import { opKinds } from '../../storage/index.js'
import type { Admission } from '../admission.js'
import type { BrokerSettings } from '../config.js'
import type { Logger } from '../log.js'
import type { Metrics } from '../metrics.js'
import type { Shard } from '../shard.js'
import { DelayedFiring } from './delayed_firing.js'
import type { DelayedView } from './delayed_view.js'
import { DeletedTopics } from './deleted_topics.js'
import { encodeMessageIdsExpired, type MessageIds } from './message_ids.js'
import type { PendingId } from './publish_each.js'
import { ScheduleFiring } from './schedule_firing.js'
import type { SchedulesView } from './schedules_view.js'

/** The guarded time, see WallClock. */
export interface LaterClock {
  readonly earliestMs: number
  readonly latestMs: number
}

export interface LaterParts {
  readonly shard: Shard
  /**
   * A clock that starts with the process: the time while the broker was down must not look like a jump of the clock,
   * which would delay messages that became due during the read.
   */
  readonly clock: LaterClock
  readonly admission: Admission
  readonly logger: Logger
  readonly metrics: Pick<Metrics, 'publishedRecords' | 'publishedBytes'>
  readonly settings: Pick<
    BrokerSettings,
    'batchBytesMax' | 'messageIdsMax' | 'delayedMessagesMax' | 'schedulesMax'
  >
}

/** Messages that are due within this time fire together. */
const tickMs = 5
/** Longest pause: so often the broker reads near messages, forgets ids and checks the wall clock. */
const restMsMax = 1_000
const retryMs = 200

/** Delayed messages, schedules and message ids of a shard: everything that happens at a due time. */
export class Later implements LaterParts {
  readonly shard: Shard
  readonly clock: LaterClock
  readonly admission: Admission
  readonly logger: Logger
  readonly metrics: LaterParts['metrics']
  readonly settings: LaterParts['settings']
  readonly delayed: DelayedView
  readonly schedules: SchedulesView
  readonly ids: MessageIds
  readonly delayedFiring: DelayedFiring
  readonly scheduleFiring: ScheduleFiring
  /** Ids of messages that are being committed, by topic id and id. */
  readonly pendingIds = new Map<string, PendingId>()
  #timer: NodeJS.Timeout | undefined
  /** Time of the timer, by the clock. */
  #wakeMs = Number.POSITIVE_INFINITY
  #round: Promise<void> | undefined
  #expiredMs = 0
  readonly #deletedTopics: DeletedTopics
  #phase: 'idle' | 'started' | 'closed' = 'idle'
  #problem: string | undefined

  constructor(parts: LaterParts) {
    this.shard = parts.shard
    this.clock = parts.clock
    this.admission = parts.admission
    this.logger = parts.logger
    this.metrics = parts.metrics
    this.settings = parts.settings
    this.delayed = parts.shard.delayed
    this.schedules = parts.shard.schedules
    this.ids = parts.shard.messageIds
    this.delayedFiring = new DelayedFiring(this)
    this.scheduleFiring = new ScheduleFiring(this)
    this.#deletedTopics = new DeletedTopics(this)
  }

  /** Error of the last round, if it failed. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Starts the timer. */
  start(): void {
    if (this.#phase !== 'idle') return
    this.#phase = 'started'
    this.delayed.onDelayed = (dueMs) => this.#wakeAt(dueMs)
    this.#wakeAt(0)
  }

  /** Call it after a change of a schedule. */
  scheduleChanged(): void {
    this.#wakeAt(this.scheduleFiring.nextMs ?? Number.POSITIVE_INFINITY)
  }

  /**
   * Does everything that is due now; the timer calls it.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED; the rest is still due
   */
  async run(): Promise<void> {
    await this.#expireIds()
    for (let more = true; more && this.#phase !== 'closed'; ) {
      const nowMs = this.clock.earliestMs
      // This comes first: a low disk rejects messages that fire, but must not prevent the release of space.
      const swept = await this.#deletedTopics.sweep()
      const fired = await this.delayedFiring.fire(nowMs)
      const scheduled = await this.scheduleFiring.fire(nowMs)
      more = fired || scheduled || swept
      // Sockets get their turn, even if much is due.
      if (more) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Starts no more work, and waits for work in progress. */
  async close(): Promise<void> {
    this.#phase = 'closed'
    this.delayed.onDelayed = () => {}
    clearTimeout(this.#timer)
    await this.#round
  }

  #wakeAt(timeMs: number): void {
    if (this.#phase !== 'started' || this.#round !== undefined || timeMs >= this.#wakeMs) return
    clearTimeout(this.#timer)
    this.#wakeMs = timeMs
    const restMs = Math.min(Math.max(timeMs - this.clock.earliestMs, tickMs), restMsMax)
    this.#timer = setTimeout(() => {
      this.#round = this.#runOnce().finally(() => {
        this.#round = undefined
        this.#wakeMs = Number.POSITIVE_INFINITY
        this.#wakeAt(this.#nextMs)
      })
    }, restMs).unref()
  }

  async #runOnce(): Promise<void> {
    try {
      await this.run()
      this.#problem = undefined
    } catch (error) {
      if (this.#phase === 'closed') return
      const text = isMillraceError(error) ? error.message : String(error)
      if (this.#problem === undefined)
        this.logger.warn(
          { err: error },
          'the broker could not deliver delayed messages or run schedules; it will try again',
        )
      this.#problem = `the broker can't deliver delayed messages or run schedules: ${text}`
    }
  }

  get #nextMs(): number {
    const nowMs = this.clock.earliestMs
    if (this.#problem !== undefined) return nowMs + retryMs
    const delayedMs = this.delayedFiring.nextMs ?? Number.POSITIVE_INFINITY
    const scheduleMs = this.scheduleFiring.nextMs ?? Number.POSITIVE_INFINITY
    return Math.min(delayedMs, scheduleMs, nowMs + restMsMax)
  }

  /** Written as an operation, so that the ids depend on the journal alone. */
  async #expireIds(): Promise<void> {
    const nowMs = this.clock.earliestMs
    if (Math.abs(nowMs - this.#expiredMs) < restMsMax) return
    this.#expiredMs = nowMs
    if (!this.ids.hasExpired(nowMs)) return
    const payload = encodeMessageIdsExpired(nowMs)
    await this.shard.commit([{ kind: opKinds.messageIdsExpired, payload }])
  }
}
