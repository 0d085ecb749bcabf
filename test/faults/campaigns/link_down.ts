import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../../client/index.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { NetworkNamespace, networkNamespaceUnavailable } from '../machine/network_namespace.js'
import { Trial } from '../trial/trial.js'
import { workloads } from '../workloads/table.js'

const sessionTimeoutMs = 1_500
const downMs = { full: 10_000, short: 3_000 }
/** The broker looks for silent members every 250 ms; the rest is for a busy machine. */
const expelLateMsMax = 1_500
const takeOverMsMax = 10_000
/** Clients notice a dead connection after the 5 s that they give a request, then reconnect. */
const resumeMsMax = 15_000
const away = 1

/** What happens to the link, and how it ends. */
const outages = [
  { name: 'link down', begin: 'linkDown', end: 'linkUp' },
  { name: 'packets lost', begin: 'losePackets', end: 'passPackets' },
] as const

/**
 * One of two machines with clients loses its link, or all packets on it, for less and for more than a session lasts; nobody
 * is told by a reset. Its members are removed in time, those of the other machine take over, and when the link is back all
 * continues by itself, also if the broker was killed during the fault.
 */
export const linkDown: Campaign = {
  name: 'link-down',
  title: 'a machine with clients that loses its link, or all packets, and gets it back',
  rounds: { full: 15, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: networkNamespaceUnavailable,
  async round(context) {
    const { rng, short } = context
    const machine = await NetworkNamespace.create(context)
    const workload = rng.pick(['steady-groups', 'stream-groups', 'mix'])
    const trial = await Trial.start(context, {
      workload,
      clients: 2,
      client: { sessionTimeoutMs, publisherRate: 200 },
      broker: { host: machine.hostAddress },
      clientUnder: (index) => (index === away ? machine.command : []),
    })
    const watch = await LinkWatch.start(context, trial, machine, workload)
    await watch.afterUp()
    for (const isBrief of rng.shuffle(short ? [false] : [true, false, false, false])) {
      await trial.progress(200)
      const { name, begin, end } = rng.pick(outages)
      trial.inject(name)
      await machine[begin]()
      const ms = isBrief
        ? rng.int(1_000, sessionTimeoutMs)
        : rng.int(2_000, short ? downMs.short : downMs.full)
      await watch.whileDown(ms)
      if (!isBrief && rng.chance(1 / 4)) await trial.crash()
      await machine[end]()
      trial.heal(name)
      await watch.afterUp()
    }
    await trial.progress(200)
    const result = await trial.conclude()
    return { ...result, samples: { ...result.samples, ...watch.samples } }
  },
}

/** Watches the members on the machine that lost its link, and measures how soon its clients continue. */
class LinkWatch {
  readonly samples = {
    'expelled ms': [] as number[],
    'taken over ms': [] as number[],
    'published again ms': [] as number[],
    'processed again ms': [] as number[],
  }
  readonly #trial: Trial
  readonly #client: Client
  readonly #insideAddress: string
  readonly #group: string
  readonly #partitions: number

  private constructor(trial: Trial, client: Client, { insideAddress }: NetworkNamespace, name: string) {
    this.#trial = trial
    this.#client = client
    this.#insideAddress = insideAddress
    const workload = workloads.get(name)
    this.#group = workload?.groups.at(-1) ?? ''
    this.#partitions = workload?.topics.at(-1)?.partitions ?? 0
  }

  static async start(
    { defer }: RoundContext,
    trial: Trial,
    machine: NetworkNamespace,
    workload: string,
  ): Promise<LinkWatch> {
    const client = await connect(trial.broker.server)
    defer(() => client.close({ timeoutMs: 0 }))
    return new LinkWatch(trial, client, machine, workload)
  }

  /** Waits so long, or longer, until the members without a link are removed and the others have their partitions. */
  async whileDown(ms: number): Promise<void> {
    const startedMs = performance.now()
    const sinceDown = (): number => performance.now() - startedMs
    if (ms > sessionTimeoutMs) {
      const lateMs = sessionTimeoutMs + expelLateMsMax
      const isExpelled = await this.#reaches('expelled ms', lateMs, async () => {
        const { inside } = await this.#members()
        return inside.length === 0
      })
      if (!isExpelled)
        this.#trial.find('not-expelled', await this.#describe(`after ${lateMs} ms without a link`))
      const isTakenOver = await this.#reaches('taken over ms', takeOverMsMax, async () => {
        const { outside } = await this.#members()
        return outside.reduce((sum, { partitions }) => sum + partitions, 0) === this.#partitions
      })
      if (!isTakenOver)
        this.#trial.find('not-taken-over', await this.#describe(`after ${takeOverMsMax} ms more`))
    }
    await sleep(Math.max(0, ms - sinceDown()))
  }

  /** Waits until the clients on the machine publish and process again. */
  async afterUp(): Promise<void> {
    const before = this.#trial.succeededOf(away)
    const results = await Promise.all(
      (['published', 'processed'] as const).map(async (what) => {
        const isMore = () => this.#trial.succeededOf(away)[what] > before[what]
        return { what, is: await this.#reaches(`${what} again ms`, resumeMsMax, isMore) }
      }),
    )
    for (const { what, is } of results) {
      if (!is)
        this.#trial.find(
          'not-gone-on',
          await this.#describe(`nothing ${what} in ${resumeMsMax} ms with the link`),
        )
    }
  }

  /** Waits until the condition holds, and notes how long that took; false when it does not in time. */
  async #reaches(
    sample: keyof LinkWatch['samples'],
    deadlineMs: number,
    condition: () => boolean | Promise<boolean>,
  ): Promise<boolean> {
    const startedMs = performance.now()
    try {
      await waitFor(sample, condition, { deadlineMs })
    } catch {
      return false
    }
    this.samples[sample].push(performance.now() - startedMs)
    return true
  }

  async #members() {
    const { members } = await this.#client.groups.describe(this.#group)
    const isInside = ({ address }: { address: string }) => address.startsWith(this.#insideAddress)
    return { inside: members.filter(isInside), outside: members.filter((member) => !isInside(member)) }
  }

  async #describe(when: string): Promise<string> {
    return `${when}: ${JSON.stringify(await this.#members())}`
  }
}
