import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, defineTopic, isMillraceError, string } from '../../../client/index.js'
import type { Random } from '../../helpers/random.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding, RoundContext } from '../campaign.js'
import {
  type DelayedHistory,
  type DelayedPublish,
  type DelayedRead,
  type EverySecond,
  judgeDelayed,
  type Life,
  type ScheduleRead,
} from '../judges/delayed.js'
import type { CrashWork } from '../trial/crash_trial.js'
import { crashClient } from './crash_client.js'

const partitions = 4
const burstMax = 2_000
/** So large that a burst is worth a checkpoint. */
const paddingBytes = 2_048
const delayMsMax = 4_000
const pauseMsMax = 400
/** Messages that were published and have not come, at most. */
const behindMax = 10_000
const progressMsMax = 60_000
/** How long nothing comes at the end until what is missing counts as lost. */
const silentMs = 15_000

const later = defineTopic('later', { value: string })
const clock = defineTopic('clock', { value: string })
const schedules = [
  { name: 'tick-all', missed: 'all' },
  { name: 'tick-once', missed: 'once' },
  { name: 'tick-skip', missed: 'skip' },
] as const

/** Bursts of delayed messages, of which some are cancelled, and schedules that are due at every second. */
export class DelayedBursts implements CrashWork {
  readonly #context: RoundContext
  readonly #random: Random
  readonly #client: Client
  readonly #stop = new AbortController()
  readonly #published: DelayedPublish[] = []
  readonly #read: DelayedRead[] = []
  readonly #ticks: ScheduleRead[] = []
  readonly #schedules: EverySecond[] = []
  readonly #lives: Life[] = []
  readonly #padding: string
  #aliveSinceMs = Date.now()
  #publishing: Promise<void> = Promise.resolve()
  #reading: Promise<unknown> = Promise.resolve()
  #lastReadMs = 0

  private constructor(context: RoundContext, client: Client) {
    this.#context = context
    this.#random = context.rng
    this.#client = client
    this.#padding = Buffer.from(context.rng.bytes(paddingBytes / 2)).toString('hex')
  }

  static async start(context: RoundContext, server: string): Promise<DelayedBursts> {
    const work = new DelayedBursts(context, await crashClient(context, server))
    await work.#begin()
    return work
  }

  async progress(count: number): Promise<void> {
    const goal = this.#read.length + count
    const { signal } = this.#context
    const reached = (): boolean => this.#read.length >= goal
    await waitFor(`${count} delayed messages`, reached, { deadlineMs: progressMsMax, signal })
  }

  brokerIs(state: 'down' | 'up'): void {
    const nowMs = Date.now()
    if (state === 'up') this.#aliveSinceMs = nowMs
    else this.#lives.push({ fromMs: this.#aliveSinceMs, toMs: nowMs })
  }

  async conclude(): Promise<{ readonly operations: number; readonly findings: readonly Finding[] }> {
    this.#stop.abort()
    await this.#publishing
    // No restart: it would bring what the broker has forgotten.
    const ticksUntilMs = Math.floor(Date.now() / 1_000) * 1_000
    await this.#everythingRead(ticksUntilMs)
    this.brokerIs('down')
    const history: DelayedHistory = {
      published: this.#published,
      read: this.#read,
      schedules: this.#schedules,
      ticks: this.#ticks,
      lives: this.#lives,
      ticksUntilMs,
    }
    await this.#client.close({ timeoutMs: 0 })
    await this.#reading
    return { operations: this.#published.length + this.#ticks.length, findings: judgeDelayed(history) }
  }

  async #begin(): Promise<void> {
    await this.#client.topics.create(later.name, { partitions })
    await this.#client.topics.create(clock.name)
    for (const { name, missed } of schedules) {
      await this.#client.schedules.set(name, {
        topic: clock,
        message: { value: name },
        cron: '* * * * * *',
        missed,
      })
      this.#schedules.push({ name, missed, setMs: Date.now() })
    }
    this.#reading = Promise.all([this.#readLater(), this.#readClock()])
    this.#reading.catch(() => {})
    this.#publishing = this.#publish()
    this.#publishing.catch(() => {})
  }

  async #readLater(): Promise<void> {
    for await (const { value, partition, offset } of this.#client.consume(later, { from: 'earliest' })) {
      const readMs = Date.now()
      this.#lastReadMs = readMs
      this.#read.push({ value: value.slice(0, value.indexOf(' ')), partition, offset, readMs })
    }
  }

  async #readClock(): Promise<void> {
    for await (const { value, partition, offset, timestamp } of this.#client.consume(clock, {
      from: 'earliest',
    }))
      this.#ticks.push({ value, partition, offset, dueMs: timestamp, readMs: Date.now() })
  }

  async #publish(): Promise<void> {
    const { signal } = this.#stop
    for (let burst = 0; !signal.aborted; burst++) {
      await this.#burst(`b${burst}`, this.#random.int(1, burstMax))
      await sleep(this.#random.int(0, pauseMsMax))
      await waitFor(
        'delayed messages to come',
        () => this.#published.length - this.#read.length < behindMax || signal.aborted,
        { deadlineMs: progressMsMax, signal: this.#context.signal },
      )
    }
  }

  async #burst(name: string, count: number): Promise<void> {
    const cancels = Math.floor(count / 50)
    const nowMs = Date.now()
    const messages = Array.from({ length: count }, (_, index) => {
      const value = `${name}.${index}`
      // Those that are cancelled are due late, so that most are still there.
      const delay = this.#random.int(index < cancels ? delayMsMax / 2 : 0, delayMsMax)
      const when = index % 2 === 0 ? { deliverAt: nowMs + delay } : { delay }
      return {
        dueMs: nowMs + delay,
        message: { key: value, value: `${value} ${this.#padding}`, ...when, id: value },
      }
    })
    const outcome = await this.#client
      .publishMany(
        later,
        messages.map(({ message }) => message),
      )
      .then(
        () => 'ok' as const,
        (error: unknown) => {
          if (!isMillraceError(error)) throw error
          return 'unknown' as const
        },
      )
    const knownMs = Date.now()
    for (const [index, { dueMs, message }] of messages.entries()) {
      const known = outcome === 'ok' && index < cancels ? await this.#cancel(message.id) : outcome
      this.#published.push({ value: message.id, dueMs, outcome: known, knownMs })
    }
  }

  async #cancel(id: string): Promise<DelayedPublish['outcome']> {
    try {
      return (await this.#client.delayed.cancel(later.name, id)) ? 'cancelled' : 'ok'
    } catch (error) {
      if (!isMillraceError(error)) throw error
      return 'unknown'
    }
  }

  /** Waits until all that was acknowledged has come, or nothing has come for a while. */
  async #everythingRead(ticksUntilMs: number): Promise<void> {
    const { signal } = this.#context
    const begunMs = Date.now()
    let checked = 0
    const seen = new Set<string>()
    let missing = this.#published.filter(({ outcome }) => outcome === 'ok')
    await waitFor(
      'delayed messages to come or fail to',
      () => {
        for (; checked < this.#read.length; checked++) seen.add(this.#read[checked]?.value ?? '')
        missing = missing.filter(({ value }) => !seen.has(value))
        const ticked = schedules.every(({ name }) =>
          this.#ticks.some(({ value, dueMs }) => value === name && dueMs >= ticksUntilMs),
        )
        const owedMs = missing.reduce((latest, { dueMs }) => Math.max(latest, dueMs), 0)
        const quietMs = Date.now() - Math.max(this.#lastReadMs, owedMs, begunMs)
        return (missing.length === 0 && ticked) || quietMs > silentMs
      },
      { deadlineMs: progressMsMax * 2, signal },
    )
  }
}
