import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Client, connect } from '../../../client/index.js'
import { type SpawnedProcess, spawnProcess } from '../../helpers/spawn.js'
import { waitFor } from '../../helpers/wait_for.js'
import { type Finding, FoundError, type RoundContext, type RoundResult } from '../campaign.js'
import { type CheckOptions, checkHistory, type Verdict } from '../history/checker.js'
import { type HistoryEvent, HistoryWriter, monotonicUs, readHistories } from '../history/history.js'
import type { ClientPlan } from '../workloads/main.js'
import { readCommitted } from '../workloads/observer.js'
import { workloads } from '../workloads/table.js'
import type { Workload } from '../workloads/workload.js'
import { type BrokerPlan, BrokerProcess } from './broker_process.js'
import { drainAll } from './drain.js'

export interface TrialOptions {
  readonly workload: string
  /** Number of client processes side by side. Default 1. */
  readonly clients?: number
  /** Data folder; default a temporary one. */
  readonly dir?: string
  readonly broker?: Partial<Omit<BrokerPlan, 'dir' | 'port'>>
  /** Overrides of the options of the clients. */
  readonly client?: Partial<Pick<ClientPlan, keyof typeof clientDefaults>>
  /** Address for clients, if it is not the broker itself: a proxy in front of it. */
  readonly clientAddress?: (broker: BrokerProcess) => { readonly host: string; readonly port: number }
  /** Program and arguments to run a client process under, such as `nsenter --net=FILE`. */
  readonly clientUnder?: (index: number) => readonly string[]
}

/** Calls that succeeded. */
interface Succeeded {
  readonly published: number
  readonly processed: number
}

const clientDefaults = {
  publisherRate: 400,
  valueBytesMax: 4_096,
  deliveryTimeoutMs: 30_000,
  sessionTimeoutMs: 2_000,
}
const progressDeadlineMs = 30_000
const stopDeadlineMs = 60_000
const clientPath = fileURLToPath(new URL('../workloads/main.js', import.meta.url))

/**
 * One test in Jepsen's sense: a broker, clients that run a workload and write histories, faults of a campaign,
 * and at the end a drain of all partitions, a restart of the broker, another drain, and the check of the history.
 */
export class Trial {
  readonly historyDir: string
  /** Times until restarted brokers were ready, in milliseconds. */
  readonly reopenMs: number[] = []
  readonly clients: SpawnedProcess[] = []
  broker: BrokerProcess
  readonly #context: RoundContext
  readonly #options: TrialOptions
  readonly #workload: Workload
  readonly #brokerPlan: BrokerPlan
  readonly #history: HistoryWriter
  readonly #faults: Record<string, number> = {}
  readonly #findings: Finding[] = []

  private constructor(
    context: RoundContext,
    options: TrialOptions,
    workload: Workload,
    plan: BrokerPlan,
    broker: BrokerProcess,
  ) {
    this.#context = context
    this.#options = options
    this.#workload = workload
    this.#brokerPlan = plan
    this.broker = broker
    this.historyDir = context.evidenceDir
    this.#history = new HistoryWriter(join(this.historyDir, 'harness.jsonl'))
  }

  /** Starts broker and clients, and waits until the workload makes progress. */
  static async start(context: RoundContext, options: TrialOptions): Promise<Trial> {
    const workload = workloads.get(options.workload)
    if (workload === undefined) throw new Error(`there is no workload "${options.workload}"`)
    const dir = options.dir ?? join(await context.tempDir(), 'data')
    const plan: BrokerPlan = { planted: context.planted, ...options.broker, dir }
    const broker = await BrokerProcess.start(context, plan)
    await mkdir(context.evidenceDir, { recursive: true })
    const trial = new Trial(context, options, workload, plan, broker)
    await trial.#createTopics()
    for (let index = 0; index < (options.clients ?? 1); index++) trial.#startClient(index)
    await trial.progress(50)
    return trial
  }

  /** The broker's data folder. */
  get dir(): string {
    return this.#brokerPlan.dir
  }

  /** Successful calls of the clients so far. */
  get succeeded(): Succeeded {
    const each = this.clients.map((_, index) => this.succeededOf(index))
    return {
      published: each.reduce((sum, { published }) => sum + published, 0),
      processed: each.reduce((sum, { processed }) => sum + processed, 0),
    }
  }

  /** Successful calls of one client process so far, by its last report. */
  succeededOf(index: number): Succeeded {
    const words = this.clients[index]?.output.stdout.trimEnd().split('\n').at(-1)?.split(' ') ?? []
    return { published: Number(words[1] ?? 0), processed: Number(words[2] ?? 0) }
  }

  /** Waits until clients have published `count` more messages, so that the broker certainly works. */
  async progress(count: number, deadlineMs = progressDeadlineMs): Promise<void> {
    const goal = this.succeeded.published + count
    const stopped = (): string => this.clients.map(({ output }) => output.stderr).join('\n')
    await waitFor(`${count} messages more to be published`, () => this.succeeded.published >= goal, {
      deadlineMs,
      signal: this.#context.signal,
    }).catch((cause) => {
      throw new FoundError('no-progress', `${cause instanceof Error ? cause.message : cause}\n${stopped()}`, {
        cause,
      })
    })
  }

  /** Records that a fault begins; it counts as injected. */
  inject(name: string): void {
    this.#faults[name] = (this.#faults[name] ?? 0) + 1
    this.#history.write({ type: 'fault', at: monotonicUs(), process: 'harness', phase: 'inject', name })
  }

  /** Records that a fault is over. */
  heal(name: string): void {
    this.#history.write({ type: 'fault', at: monotonicUs(), process: 'harness', phase: 'heal', name })
  }

  /** A violation that the campaign itself saw. */
  find(check: string, evidence: string): void {
    this.#findings.push({ check, evidence })
  }

  /**
   * Restarts the broker on the same port, after it has ended.
   * @throws FoundError if it does not start
   */
  async restart(): Promise<void> {
    const plan = { ...this.#brokerPlan, port: this.broker.port }
    this.broker = await BrokerProcess.start(this.#context, plan).catch((cause: Error) => {
      throw new FoundError('not-reopened', cause.message, { cause })
    })
    this.reopenMs.push(this.broker.readyMs)
  }

  /** kill -9 and restart. */
  async crash(): Promise<void> {
    this.inject('kill')
    await this.broker.kill()
    await this.restart()
    this.heal('kill')
  }

  /** Lets the clients finish their calls, and waits for them. */
  async stopClients(): Promise<void> {
    for (const client of this.clients) client.stdin.end()
    for (const client of this.clients) {
      const { code } = await this.#withinStop(client.exited)
      if (code !== 0)
        throw new Error(`a client process ended with code ${code}: ${client.output.stderr.slice(-2_000)}`)
    }
  }

  /**
   * After all faults: ends the clients, drains, restarts, drains again, and checks.
   * @param options of the checker
   */
  async conclude(options: CheckOptions = {}): Promise<RoundResult> {
    await this.stopClients()
    await this.#drain(1)
    const { code, ms } = await this.broker.terminate()
    if (code !== 0)
      this.find('drain-exit', `SIGTERM ended the broker with code ${code} after ${Math.round(ms)} ms`)
    await this.restart()
    await this.#drain(2)
    const finalCode = (await this.broker.terminate()).code
    if (finalCode !== 0) this.find('drain-exit', `SIGTERM ended the broker with code ${finalCode}`)
    this.#history.close()
    return this.check(options)
  }

  /** All recorded lines so far. */
  events(): Promise<HistoryEvent[]> {
    const names = this.clients.map((_, index) => `client-${index}.jsonl`)
    return readHistories(['harness.jsonl', ...names].map((name) => join(this.historyDir, name)))
  }

  /** Checks the histories. */
  async check(options: CheckOptions = {}): Promise<RoundResult> {
    const verdict = checkHistory(await this.events(), options)
    return {
      operations: operationsOf(verdict),
      faults: this.#faults,
      findings: [...this.#findings, ...verdict.findings],
      ...(verdict.verdict === 'unknown' ? { unknown: verdict.unknown.join('; ') } : {}),
      samples: { 'reopen ms': this.reopenMs, 'recovery ms': verdict.recoveryMs },
    }
  }

  async #drain(drain: number): Promise<void> {
    const client = await connect(this.broker.server)
    try {
      for (const group of this.#workload.groups) await this.#readCommitted(client, group, drain)
    } finally {
      await client.close({ timeoutMs: 0 })
    }
    const { host, port } = this.broker
    await drainAll(this.#history, { address: { host, port }, topics: this.#workload.topics, drain })
  }

  async #readCommitted(client: Client, group: string, drain: number): Promise<void> {
    for (const topic of this.#workload.topics)
      await readCommitted(this.#history, client, { topic, group, process: `final-${drain}` })
  }

  async #createTopics(): Promise<void> {
    const client = await connect(this.broker.server)
    for (const { name, partitions } of this.#workload.topics)
      await client.topics.create(name, { partitions, retention: { time: -1 } })
    await client.close()
  }

  #startClient(index: number): void {
    const plan: ClientPlan = {
      ...clientDefaults,
      ...this.#options.client,
      workload: this.#workload.name,
      prefix: `c${index}-`,
      seed: this.#context.rng.uint32(),
      address: this.#options.clientAddress?.(this.broker) ?? this.broker,
      historyPath: join(this.historyDir, `client-${index}.jsonl`),
    }
    const { host, port } = plan.address
    const argument = JSON.stringify({ ...plan, address: { host, port } })
    const under = this.#options.clientUnder?.(index) ?? []
    const [command = '', ...args] = [...under, process.execPath, clientPath, argument]
    this.clients.push(spawnProcess(this.#context, command, args))
  }

  async #withinStop<T>(exited: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new Error(`a client process did not end within ${stopDeadlineMs} ms`)),
        stopDeadlineMs,
      )
    })
    try {
      return await Promise.race([exited, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Calls of clients and read records, all of which the checker has seen. */
function operationsOf({ operations }: Verdict): number {
  const { publish, commit, committed, recordsDelivered, recordsDrained } = operations
  const calls = [publish, commit, committed].reduce((sum, { ok, fail, info }) => sum + ok + fail + info, 0)
  return calls + recordsDelivered + recordsDrained
}
