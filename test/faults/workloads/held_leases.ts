import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, defineTopic, isMillraceError, string } from '../../../client/index.js'
import type { Random } from '../../helpers/random.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding, RoundContext } from '../campaign.js'
import {
  type ConfirmedAck,
  type HandlerStart,
  judgeLeases,
  type LeasedMessage,
  type ReadDeadLetter,
} from '../judges/leases.js'
import { FaultyProxy } from '../machine/faulty_proxy.js'
import type { CrashWork } from '../trial/crash_trial.js'
import { crashClient, pause } from './crash_client.js'

const partitions = 3
const workersOfGroup = 2
const concurrency = 10
/** So long that workers on a busy machine are back in time after a restart: the broker can't tell others from dead ones. */
const leaseMs = 10_000
/** Some are longer than a lease, so that leases end on the way. */
const holdMsMax = { usual: 1_500, long: 13_000 }
const quietMsMax = 800
const handlerMsMax = 20
const publishedAtOnce = 10
/** Messages that are published and that some group has not settled, at most. */
const behindMax = 200
const failsEvery = 11
const progressMsMax = 120_000
/** A lease, its renewal by a restart, and time for a busy machine. */
const waitMsMax = 2 * leaseMs + 15_000

const jobs = defineTopic('jobs', { value: string })
const groups = [
  { name: 'once', attemptsMax: 1 },
  { name: 'thrice', attemptsMax: 3 },
]

/** Queue groups whose workers live, behind relays that hold back, lose and cut the replies of the broker. */
export class HeldLeases implements CrashWork {
  readonly #context: RoundContext
  readonly #random: Random
  readonly #client: Client
  readonly #stop = new AbortController()
  readonly #proxies: FaultyProxy[] = []
  readonly #disturbing: Promise<void>[] = []
  readonly #published: LeasedMessage[] = []
  readonly #starts: HandlerStart[] = []
  readonly #acks: ConfirmedAck[] = []
  readonly #downs: { fromMs: number; toMs: number }[] = []
  readonly #settled = new Map(groups.map(({ name }) => [name, new Set<string>()]))
  /** Handlers that each worker has begun since the broker was ready. */
  readonly #begun: number[] = []
  #isDown = false
  #publishing: Promise<void> = Promise.resolve()

  private constructor(context: RoundContext, client: Client) {
    this.#context = context
    this.#random = context.rng
    this.#client = client
  }

  static async start(context: RoundContext, server: string): Promise<HeldLeases> {
    const work = new HeldLeases(context, await crashClient(context, server))
    await work.#begin(Number(server.slice(server.lastIndexOf(':') + 1)))
    return work
  }

  /** Waits until so many more messages are settled, and every worker has been there since the last crash. */
  async progress(count: number): Promise<void> {
    const goal = this.#settledCount + count
    const { signal } = this.#context
    const reached = (): boolean => this.#settledCount >= goal && this.#begun.every((begun) => begun > 0)
    await waitFor(`${count} messages to be settled, by all workers`, reached, {
      deadlineMs: progressMsMax,
      signal,
    })
  }

  brokerIs(state: 'down' | 'up'): void {
    this.#isDown = state === 'down'
    const nowMs = performance.now()
    if (state === 'down') {
      this.#downs.push({ fromMs: nowMs, toMs: nowMs })
      // A worker that can't come back within its lease looks dead.
      for (const proxy of this.#proxies) proxy.heal()
    } else {
      const last = this.#downs.at(-1)
      if (last !== undefined) last.toMs = nowMs
      this.#begun.fill(0)
    }
  }

  async conclude(): Promise<{ readonly operations: number; readonly findings: readonly Finding[] }> {
    this.#stop.abort()
    await Promise.all([this.#publishing, ...this.#disturbing])
    for (const proxy of this.#proxies) proxy.heal()
    const { signal } = this.#context
    await waitFor('all messages to be settled', () => this.#isDone(), { deadlineMs: progressMsMax, signal })
    const findings = judgeLeases({
      groups,
      published: this.#published,
      starts: this.#starts,
      acks: this.#acks,
      dead: (await Promise.all(groups.map(({ name }) => this.#deadLettersOf(name)))).flat(),
      downs: this.#downs,
      waitMsMax,
    })
    return { operations: this.#published.length + this.#starts.length, findings }
  }

  get #settledCount(): number {
    let count = 0
    for (const values of this.#settled.values()) count += values.size
    return count
  }

  async #begin(port: number): Promise<void> {
    await this.#client.topics.create(jobs.name, { partitions })
    for (const group of groups)
      for (let n = 0; n < workersOfGroup; n++) {
        const proxy = await FaultyProxy.start(this.#context, () => port)
        this.#startWorker(group, await crashClient(this.#context, `127.0.0.1:${proxy.port}`))
        this.#proxies.push(proxy)
      }
    for (const [worker, proxy] of this.#proxies.entries()) this.#disturbing.push(this.#disturb(proxy, worker))
    this.#publishing = this.#publish()
    for (const running of [this.#publishing, ...this.#disturbing]) running.catch(() => {})
  }

  #startWorker({ name: group, attemptsMax }: (typeof groups)[number], client: Client): void {
    const index = this.#begun.push(0) - 1
    const worker = client.work(
      jobs,
      {
        group,
        concurrency,
        prefetch: concurrency,
        leaseMs,
        settings: { attemptsMax, retry: { kind: 'fixed', delay: 5 } },
        onSettled: ({ valueBytes }, outcome) => {
          const value = Buffer.from(valueBytes ?? []).toString()
          if (outcome === 'ack') this.#acks.push({ group, value, atMs: performance.now() })
          if (outcome === 'ack' || !isFailing(value)) this.#settled.get(group)?.add(value)
        },
        onFailed: () => {},
        onError: () => {},
      },
      async ({ value, attempt }) => {
        this.#starts.push({ group, value, attempt, atMs: performance.now() })
        this.#begun[index] = (this.#begun[index] ?? 0) + 1
        await sleep(this.#random.int(0, handlerMsMax))
        if (!isFailing(value)) return
        if (attempt >= attemptsMax) this.#settled.get(group)?.add(value)
        throw new Error('it always fails')
      },
    )
    worker.closed.catch(() => {})
  }

  async #publish(): Promise<void> {
    const { signal } = this.#stop
    for (let next = 0; !signal.aborted; ) {
      const values = Array.from({ length: publishedAtOnce }, () => String(next++))
      await this.#client.publishMany(
        jobs,
        values.map((value) => ({ key: value, value })),
      )
      const ackedMs = performance.now()
      for (const value of values) this.#published.push({ value, ackedMs, fails: isFailing(value) })
      const isBehind = (): boolean =>
        [...this.#settled.values()].some((settled) => next - settled.size > behindMax)
      await waitFor('the workers to keep up', () => !isBehind() || signal.aborted, {
        deadlineMs: progressMsMax,
        signal: this.#context.signal,
      })
    }
  }

  /** Disturbs what one worker hears of the broker, while the broker runs; what it says arrives. */
  async #disturb(proxy: FaultyProxy, worker: number): Promise<void> {
    const random = this.#random
    const { signal } = this.#stop
    while (!signal.aborted) {
      await pause(random.int(50, quietMsMax), signal)
      if (this.#isDown || signal.aborted) continue
      const kind = random.pick(['hold', 'lose', 'cut', 'cut in a reply'] as const)
      if (kind === 'cut') proxy.cut(random.pick(['fin', 'rst']))
      else if (kind === 'cut in a reply') proxy.cutAfter('replies', random.int(1, 4_000))
      else {
        proxy.set(kind === 'hold' ? { frozen: true } : { swallow: true }, 'replies')
        // A worker that can't come back to a restarted broker within its lease looks dead.
        const isLong = random.chance(0.1) && (this.#begun[worker] ?? 0) > 0
        await pause(random.int(50, isLong ? holdMsMax.long : holdMsMax.usual), signal)
        // What was lost is a hole in the stream: healing cuts such connections.
        proxy.heal()
      }
    }
  }

  async #isDone(): Promise<boolean> {
    for (const { name } of groups) {
      const { partitions: of } = await this.#client.queues.describe(name)
      if (of.some((one) => one.waiting + one.inFlight + one.delayed > 0)) return false
    }
    return true
  }

  async #deadLettersOf(group: string): Promise<ReadDeadLetter[]> {
    const letters: ReadDeadLetter[] = []
    const topic = defineTopic(`${group}.dead-letters`, { value: string })
    try {
      for await (const { value, headers } of this.#client.consume(topic, { from: 'earliest', until: 'end' }))
        letters.push({ group, value, attempts: Number(headers['millrace-dead-attempts']) })
    } catch (error) {
      // Nothing has died.
      if (!isMillraceError(error, 'UNKNOWN_TOPIC')) throw error
    }
    return letters
  }
}

function isFailing(value: string): boolean {
  return Number(value) % failsEvery === 0
}
