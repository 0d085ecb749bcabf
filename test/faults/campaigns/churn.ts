import { setTimeout as sleep } from 'node:timers/promises'
import { sendAtRate } from '../../../bench/lib/latency.js'
import { monotonicMs } from '../../../bench/lib/worker.js'
import { type Client, connect, defineTopic, string } from '../../../client/index.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { percentile } from '../figures.js'
import { Findings } from '../findings.js'
import { LoadProcess } from '../load/calls.js'
import type { ChurnCalls } from '../load/churn_process.js'
import { linux } from '../machine/requirements.js'
import { BrokerProcess } from '../trial/broker_process.js'

const partitions = 64
const membersMin = 10
const membersMax = 60
const messagesPerS = 640
const burst = { events: 50, ms: 1_500 }
/** With the wait for the group to settle this makes about 1,000 joins and leaves a minute. */
const burstEveryMs = 3_000
const convergedMsMax = 2_000
const stoppedMsMax = 1_000
const everyMs = 200
const giveUpMs = 20_000
const group = 'churning'
const topic = defineTopic('churned', { value: string })

/**
 * Members join and leave a group at 1,000 a minute, with a goodbye, by a lost connection, or by falling silent, while
 * all its partitions are published to.
 */
export const churn: Campaign = {
  name: 'churn',
  title: '1,000 joins and leaves a minute in one group',
  rounds: { full: 5, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: linux,
  async round(context) {
    const findings = new Findings()
    const dir = await context.tempDir()
    const broker = await BrokerProcess.start(context, { dir, planted: context.planted })
    const client = await connect(broker.server)
    context.defer(() => client.close({ timeoutMs: 0 }))
    await client.topics.create(topic.name, { partitions })
    const members = LoadProcess.start<ChurnCalls>(context, 'members', churnScript)
    const { host, port } = broker
    const names = { topic: topic.name, group }
    const seed = context.rng.uint32()
    await members.call('start', { host, port, ...names, partitions, seed, membersMin, membersMax })
    const publishing = new Publishing(client)
    const watch = new CommitWatch(client)
    context.defer(() => Promise.all([publishing.stop(), watch.stop()]))
    await converged(client, members)
    await members.call('unmoved')
    await sleep(context.short ? 500 : 3_000)
    const quietMs = await members.call('unmoved')

    const bursts = context.short ? 2 : 20
    const convergedMs: number[] = []
    let faults: Readonly<Record<string, number>> = {}
    for (let index = 0; index < bursts; index++) {
      const startMs = monotonicMs()
      const zombie = members.call('zombie')
      faults = await members.call('burst', burst)
      const endMs = monotonicMs()
      findings.addAll('stale-commit', await zombie)
      const problem = await converged(client, members)
      convergedMs.push(monotonicMs() - endMs)
      findings.expect(problem === undefined, 'not-converged', () => problem ?? '')
      await sleep(Math.max(0, startMs + burstEveryMs - monotonicMs()))
    }
    const unmovedMs = await members.call('unmoved')
    const acked = await publishing.stop()
    await watch.drained(findings)
    const { values, problems } = await members.call('result')
    await members.call('stop')

    findings.addAll('ownership', problems)
    findings.addAll('publish-failed', publishing.failed)
    findings.addAll(
      'lost',
      acked.filter((value) => !values.has(value)).map((value) => `${value} was acknowledged, not processed`),
    )
    if (!context.short) judge(findings, convergedMs, unmovedMs)
    const deliveries = [...values.values()].reduce((sum, count) => sum + count, 0)
    report(context, convergedMs, quietMs, unmovedMs, deliveries - values.size)
    return {
      operations: acked.length + deliveries + watch.looks,
      faults,
      findings: findings.list,
      samples: {
        'converged ms': convergedMs,
        'delivery, quiet group ms': quietMs,
        'delivery, partitions that did not move ms': unmovedMs,
        'delivered more than once': [deliveries - values.size],
      },
    }
  },
}

const churnScript = new URL('../load/churn_process.js', import.meta.url)

/** Waits until the broker and the members agree on one owner for each partition; returns what is wrong if they don't. */
async function converged(client: Client, members: LoadProcess<ChurnCalls>): Promise<string | undefined> {
  let seen = ''
  const isSettled = async (): Promise<boolean> => {
    const described = await client.groups.describe(group)
    const state = await members.call('state')
    const wrong = state.owners.filter((count) => count !== 1).length
    seen = `the group is ${described.state} with ${described.members.length} members, ${state.members} are alive, ${wrong} partitions don't have one owner`
    return described.state === 'stable' && described.members.length === state.members && wrong === 0
  }
  return waitFor('one owner for each partition', isSettled, { deadlineMs: giveUpMs }).then(
    () => undefined,
    () => seen,
  )
}

/** Publishes to all partitions in turn, at a steady rate. */
class Publishing {
  readonly failed: string[] = []
  readonly #acked: string[] = []
  readonly #stop = new AbortController()
  readonly #open = new Set<Promise<void>>()
  readonly #sending: Promise<void>

  constructor(client: Client) {
    let number = 0
    const send = (): void => {
      const value = `v${number}`
      const partition = number++ % partitions
      const publish = client.publish(topic, { partition, value: `${value}@${monotonicMs()}` }).then(
        () => void this.#acked.push(value),
        (error: unknown) => void this.failed.push(`${value}: ${String(error)}`),
      )
      this.#open.add(publish)
      void publish.then(() => this.#open.delete(publish))
    }
    this.#sending = sendAtRate(messagesPerS, send, this.#stop.signal)
  }

  /** Returns every value that was acknowledged. */
  async stop(): Promise<readonly string[]> {
    this.#stop.abort()
    await this.#sending
    await Promise.all(this.#open)
    return this.#acked
  }
}

/** Looks at the committed offsets five times a second. */
class CommitWatch {
  looks = 0
  readonly #client: Client
  readonly #committed = new Map<number, number>()
  readonly #problems: string[] = []
  readonly #stop = new AbortController()
  readonly #watching: Promise<void>

  constructor(client: Client) {
    this.#client = client
    this.#watching = this.#watch()
  }

  /** Waits until everything that is in the topic is committed, and notes what was wrong on the way. */
  async drained(findings: Findings): Promise<void> {
    const isDrained = async (): Promise<boolean> => {
      const described = await this.#client.groups.describe(group)
      return described.partitions.every(({ lag }) => lag === 0)
    }
    await waitFor('everything to be committed', isDrained, { deadlineMs: giveUpMs }).catch((error: unknown) =>
      findings.list.push({ check: 'not-drained', evidence: String(error) }),
    )
    await this.stop()
    findings.addAll('commit-went-back', this.#problems)
  }

  stop(): Promise<void> {
    this.#stop.abort()
    return this.#watching
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const described = await this.#client.groups.describe(group).catch(() => undefined)
      for (const { partition, committedOffset = 0 } of described?.partitions ?? []) {
        const before = this.#committed.get(partition) ?? 0
        if (committedOffset < before)
          this.#problems.push(`partition ${partition}: committed ${before}, then ${committedOffset}`)
        this.#committed.set(partition, committedOffset)
        this.looks++
      }
      await sleep(everyMs)
    }
  }
}

function judge(findings: Findings, convergedMs: readonly number[], unmovedMs: readonly number[]): void {
  const slowest = Math.max(...convergedMs)
  findings.expect(
    slowest <= convergedMsMax,
    'slow-convergence',
    () => `${Math.round(slowest)} ms after ${burst.events} joins and leaves, ${convergedMsMax} are allowed`,
  )
  const longest = percentile(unmovedMs, 1)
  findings.expect(
    longest <= stoppedMsMax,
    'partition-stopped',
    () => `a partition that did not move delivered nothing for ${Math.round(longest)} ms`,
  )
}

function report(
  context: RoundContext,
  convergedMs: readonly number[],
  quietMs: readonly number[],
  unmovedMs: readonly number[],
  repeats: number,
): void {
  const figures = (values: readonly number[]): string =>
    [0.5, 0.99, 1].map((share) => percentile(values, share).toFixed(0)).join(' / ')
  context.log(
    `converged p50 / p99 / max ${figures(convergedMs)} ms; delivery ${figures(quietMs)} ms in a quiet group, ${figures(unmovedMs)} ms in partitions that did not move; ${repeats} repeats`,
  )
}
