import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../lib/worker.js'
import { processTree } from './processes.js'

/** Where a server runs: an empty folder of its own, and a port of 127.0.0.1 that was free a moment ago. */
export interface ServerPlace {
  readonly folder: string
  readonly port: number
}

export interface ServerCommand {
  readonly program: string
  readonly args: readonly string[]
  /** Added to the environment of this process; what is undefined is taken out of it. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

export interface ServerOptions {
  /** "redis-server": for messages and the name of the folder. */
  readonly name: string
  /** Folder below which the server's own is made. */
  readonly dataRoot: string
  /** What to run, once there is a place for it; may write configuration into the folder. */
  readonly command: (place: ServerPlace) => ServerCommand | Promise<ServerCommand>
  /** Asked again and again until it doesn't throw. Default: connects to the port. */
  readonly probe?: (place: ServerPlace) => Promise<void>
  /** Given what it prints, as it comes. */
  readonly onOutput?: (text: string) => void
  /** How long it may take until it serves. Default: 20 s. */
  readonly startMsMax?: number
  /** How long it may take to end after SIGTERM before it is killed. Default: 10 s. */
  readonly stopMsMax?: number
}

const outputCharactersMax = 4_000
const probeEveryMs = 50
const lastOutputMs = 200
const host = '127.0.0.1'

/** Servers that run, so that none outlives this process. */
const running = new Set<ServerProcess>()

/** A server of another system, with a port and a folder of its own. */
export class ServerProcess {
  readonly folder: string
  readonly port: number
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  readonly #stopMsMax: number
  readonly #onOutput: ((text: string) => void) | undefined
  #output = ''
  #end: string | undefined

  private constructor(options: ServerOptions, { folder, port }: ServerPlace, command: ServerCommand) {
    this.folder = folder
    this.port = port
    this.#stopMsMax = options.stopMsMax ?? 10_000
    this.#onOutput = options.onOutput
    // A group of its own, so that what the server starts ends with it.
    this.#child = spawn(command.program, command.args, {
      cwd: folder,
      env: { ...process.env, ...command.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on('data', this.#keep)
    this.#exited = new Promise((resolve) => {
      const ended = (end: string): void => {
        this.#end ??= end
        resolve()
      }
      this.#child.once('error', (error) => ended(error.message))
      const closed = once(this.#child, 'close').catch(() => {})
      this.#child.once('exit', async (code, signal) => {
        // What it started may hold its outputs open.
        await Promise.race([closed, sleep(lastOutputMs, undefined, { ref: false })])
        ended(`it ended with ${signal ?? `exit code ${code}`}`)
      })
    })
    if (running.size === 0) watchExit()
    running.add(this)
  }

  /**
   * Starts a server and waits until it serves.
   * @throws Error with the end of its output when it doesn't; nothing is left behind then
   */
  static async start(options: ServerOptions): Promise<ServerProcess> {
    const folder = await mkdtemp(join(options.dataRoot, `${options.name}-`))
    let server: ServerProcess | undefined
    try {
      const place = { folder, port: await freePort() }
      server = new ServerProcess(options, place, await options.command(place))
      await server.#untilItServes(options, place)
      return server
    } catch (error) {
      await server?.stop()
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** The server's process and all that it started. */
  get pids(): readonly number[] {
    return this.#end === undefined && this.#child.pid !== undefined ? processTree(this.#child.pid) : []
  }

  /** The end of what it printed. */
  get output(): string {
    return this.#output.trim()
  }

  /** How it ended; undefined while it runs. */
  get end(): string | undefined {
    return this.#end
  }

  /** Ends it, waits until it is gone and removes its folder. May be called again. */
  async stop(): Promise<void> {
    if (this.#end === undefined) {
      this.#child.kill('SIGTERM')
      await Promise.race([this.#exited, sleep(this.#stopMsMax, undefined, { ref: false })])
    }
    this.#killGroup()
    await this.#exited
    this.#forget()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  /** The same at once, for a process that is about to exit. */
  stopNow(): void {
    this.#killGroup()
    this.#forget()
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  async #untilItServes(
    { name, probe = probePort, startMsMax = 20_000 }: ServerOptions,
    place: ServerPlace,
  ): Promise<void> {
    const deadlineMs = monotonicMs() + startMsMax
    for (let last = 'it was not asked'; ; ) {
      if (this.#end !== undefined) throw new Error(`${name} did not start: ${this.#end}\n${this.output}`)
      try {
        await Promise.race([probe(place), this.#exited, timeout(deadlineMs - monotonicMs())])
        if (this.#end === undefined) return
      } catch (error) {
        last = String(error)
      }
      if (monotonicMs() > deadlineMs)
        throw new Error(`${name} did not start within ${startMsMax} ms: ${last}\n${this.output}`)
      await sleep(probeEveryMs)
    }
  }

  readonly #keep = (chunk: Buffer): void => {
    const text = chunk.toString()
    this.#output = `${this.#output}${text}`.slice(-outputCharactersMax)
    this.#onOutput?.(text)
  }

  #killGroup(): void {
    if (this.#child.pid === undefined) return
    try {
      process.kill(-this.#child.pid, 'SIGKILL')
    } catch {
      // Nobody is left in the group.
    }
  }

  #forget(): void {
    running.delete(this)
    if (running.size === 0) unwatchExit()
  }
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return address.port
}

/** Connects and closes. @throws Error when nobody accepts */
export async function probePort({ port }: ServerPlace): Promise<void> {
  const socket = connect({ port, host })
  try {
    await once(socket, 'connect')
  } finally {
    socket.destroy()
  }
}

async function timeout(milliseconds: number): Promise<never> {
  await sleep(Math.max(milliseconds, 0), undefined, { ref: false })
  throw new Error('it did not answer')
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

function watchExit(): void {
  process.on('exit', stopAll)
  for (const signal of signals) process.on(signal, onSignal)
}

function unwatchExit(): void {
  process.off('exit', stopAll)
  for (const signal of signals) process.off(signal, onSignal)
}

function stopAll(): void {
  for (const server of running) server.stopNow()
}

/** Ends what runs, and then this process as the signal would have ended it, unless somebody else takes care of that. */
function onSignal(signal: NodeJS.Signals): void {
  stopAll()
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
}
