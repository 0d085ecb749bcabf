import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** The counters of a worker. */
export interface Count {
  readonly messages: number
  readonly bytes: number
  /** Messages of each of its clients, if a worker has several and the slowest one matters. */
  readonly messagesByClient?: readonly number[]
}

/** The counters of a worker and its resource usage. Times are of the system's monotonic clock. */
export interface Sample extends Count {
  readonly timeMs: number
  readonly cpuMs: number
  readonly rssBytes: number
  /** The part that is pages of files, which the system takes back when it needs memory; 0 if unknown. */
  readonly rssFileBytes: number
}

/** The task of a worker process; the measuring process calls its methods. */
export interface WorkerTask {
  /** Sent to the measuring process when the worker is ready: a port, for example. */
  readonly ready?: unknown
  /** The part of its work that waits for a command, for workers that start together. */
  begin?(): Promise<unknown>
  /** Messages and their bytes so far. */
  count(): Count
  /** Ends the work; resolves with the worker's result. */
  stop(): Promise<unknown>
}

type Question = 'sample' | 'begin' | 'stop'
type Answer =
  | { readonly type: 'ready' | Question; readonly value: unknown }
  | { readonly type: 'failed'; readonly error: string }

const stopMs = 20_000
const stallMsMax = 60_000

/** A process of its own that does one part of a scenario. */
export class Worker {
  readonly #child: ChildProcess
  readonly #waiting: { type: string; resolve: (value: unknown) => void; reject: (error: Error) => void }[] =
    []
  readonly #exited: Promise<void>
  #failure: Error | undefined
  /** The value of `ready` of the task. */
  ready: unknown

  private constructor(
    readonly name: string,
    script: URL,
    options: unknown,
  ) {
    this.#child = fork(fileURLToPath(script), [JSON.stringify(options)], { serialization: 'advanced' })
    this.#child.on('message', (answer: Answer) => this.#receive(answer))
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#fail(new Error(`worker ${name} ended with ${signal ?? `exit code ${code}`}`))
        resolve()
      })
    })
  }

  /**
   * Starts the script, which must call `serveWorker`, and waits until it is ready.
   * @param options given to the worker's `start`; must be plain JSON
   */
  static async start(name: string, script: URL, options: unknown): Promise<Worker> {
    const worker = new Worker(name, script, options)
    worker.ready = await worker.#next('ready')
    return worker
  }

  /** Id of its process; undefined if that could not be started. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  sample(): Promise<Sample> {
    return this.#ask('sample') as Promise<Sample>
  }

  /** Lets the worker begin; resolves with the result of its task's `begin`. */
  begin(): Promise<unknown> {
    return this.#ask('begin')
  }

  /** Asks the worker to end, waits for its process to exit and returns its result; kills it after 20 seconds. */
  async stop(): Promise<unknown> {
    const timer = setTimeout(() => void this.kill(), stopMs)
    try {
      const result = await this.#ask('stop')
      await this.#exited
      return result
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends the process without asking and waits until it is gone. */
  kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    return this.#exited
  }

  #ask(type: Question): Promise<unknown> {
    const answer = this.#next(type)
    // A process that is ending has closed its channel; its exit event follows.
    if (this.#failure === undefined) this.#child.send(type, () => {})
    return answer
  }

  #next(type: string): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ type, resolve, reject })
    })
  }

  #receive(answer: Answer): void {
    if (answer.type === 'failed') {
      this.#fail(new Error(`worker ${this.name} failed: ${answer.error}`))
      return
    }
    const index = this.#waiting.findIndex(({ type }) => type === answer.type)
    this.#waiting.splice(index, 1)[0]?.resolve(answer.value)
  }

  #fail(error: Error): void {
    this.#failure ??= error
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
  }
}

/**
 * Waits until a worker has counted this many messages.
 * @throws Error if it counts nothing for a minute
 */
export async function waitForMessages(worker: Worker, messages: number): Promise<void> {
  let counted = 0
  for (let changedMs = monotonicMs(); counted < messages; await sleep(50)) {
    const sample = await worker.sample()
    if (sample.messages > counted) changedMs = monotonicMs()
    else if (monotonicMs() - changedMs > stallMsMax) {
      throw new Error(
        `the ${worker.name} has counted ${counted} of ${messages} messages and makes no progress`,
      )
    }
    counted = sample.messages
  }
}

/** Runs this process as a worker: starts the task and answers requests until a stop, or until its parent is gone. */
export async function serveWorker<Options>(start: (options: Options) => Promise<WorkerTask>): Promise<void> {
  const send = (answer: Answer): void => void process.send?.(answer)
  const fail = (error: unknown): void => {
    send({ type: 'failed', error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    process.exitCode = 1
    process.disconnect?.()
  }
  process.on('uncaughtException', fail)
  process.once('disconnect', () => process.exit())
  const task = await start(JSON.parse(process.argv[2] ?? '{}') as Options)
  process.on('message', (question: Question) => {
    if (question === 'sample') {
      send({ type: 'sample', value: sampleOf(task) })
      return
    }
    if (question === 'begin') {
      Promise.resolve(task.begin?.()).then((value) => send({ type: 'begin', value }), fail)
      return
    }
    task.stop().then((value) => {
      send({ type: 'stop', value })
      process.disconnect?.()
    }, fail)
  })
  send({ type: 'ready', value: task.ready })
}

function sampleOf(task: WorkerTask): Sample {
  const { user, system } = process.cpuUsage()
  return {
    ...task.count(),
    timeMs: monotonicMs(),
    cpuMs: (user + system) / 1000,
    rssBytes: process.memoryUsage.rss(),
    rssFileBytes: rssFileBytes(),
  }
}

function rssFileBytes(): number {
  if (process.platform !== 'linux') return 0
  const status = readFileSync('/proc/self/status', 'utf8')
  return Number(/^RssFile:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
}

/** The system's monotonic clock, the same for all processes of a machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
