import { fileURLToPath } from 'node:url'
import type { TestContext } from '../../helpers/context.js'
import { type Exit, type SpawnedProcess, spawnProcess } from '../../helpers/spawn.js'

export interface BrokerPlan {
  /** Data folder. */
  readonly dir: string
  /** 0 picks a free port. */
  readonly port?: number
  readonly host?: string
  readonly env?: Readonly<Record<string, string>>
  /** As `--set name=value`. */
  readonly settings?: Readonly<Record<string, string | number>>
  /** A planted fault, see planted/plants.ts. */
  readonly planted?: string | undefined
  /** Program and arguments to run the broker under, such as `nsenter --net=FILE`. */
  readonly under?: readonly string[]
  readonly readyDeadlineMs?: number
}

const readyDeadlineMsDefault = 30_000
const cliPath = fileURLToPath(new URL('../../../cli/main.cjs', import.meta.url))
const plantedPath = fileURLToPath(new URL('../planted/main.js', import.meta.url))

/** A broker as its users run it, in its own process that can be killed. */
export class BrokerProcess {
  readonly process: SpawnedProcess
  readonly host: string
  readonly port: number
  /** Time from its start to its ready message. */
  readonly readyMs: number

  private constructor(process: SpawnedProcess, host: string, port: number, readyMs: number) {
    this.process = process
    this.host = host
    this.port = port
    this.readyMs = readyMs
  }

  /** @throws Error with its output if it ends or is not ready in time (default 30,000 ms) */
  static async start(context: TestContext, plan: BrokerPlan): Promise<BrokerProcess> {
    const { dir, port = 0, host = '127.0.0.1', settings = {}, planted, under = [], env = {} } = plan
    const entry = planted === undefined ? [cliPath] : [plantedPath, planted]
    const flags = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`])
    const serve = ['serve', '--data', dir, '--port', String(port), '--host', host, ...flags]
    const [command = '', ...args] = [...under, process.execPath, ...entry, ...serve]
    const startedAt = performance.now()
    const spawned = spawnProcess(context, command, args, { env: { UV_THREADPOOL_SIZE: '8', ...env } })
    const [, found] = await spawned.waitForOutput('stderr', /ready on \S+?:(\d+),/, {
      deadlineMs: plan.readyDeadlineMs ?? readyDeadlineMsDefault,
    })
    return new BrokerProcess(spawned, host, Number(found), performance.now() - startedAt)
  }

  get pid(): number {
    return this.process.pid
  }

  get server(): string {
    return `${this.host}:${this.port}`
  }

  /** Kills it and waits until it is gone. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.process.exited
  }

  /** Asks it to drain; resolves when it is gone. */
  async terminate(): Promise<Exit & { readonly ms: number }> {
    const startedAt = performance.now()
    this.process.kill('SIGTERM')
    const exit = await this.process.exited
    return { ...exit, ms: performance.now() - startedAt }
  }
}
