import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { encodeFrame, errorFields, type Frame, frameFlags, MillraceError } from '../../protocol/index.js'
import { BufferPool } from '../../storage/index.js'
import { ByteBudget } from './byte_budget.js'
import { ConnectionLanes } from './connection_lanes.js'
import { type Reply, Session, type SessionHost, type SessionSettings } from './session.js'

export interface ServerSettings extends SessionSettings {
  readonly host: string
  readonly port: number
  readonly connectionsMax: number
  readonly inboundBytesMax: number
  readonly outboundBytesMax: number
  /** If the process is out of room for this long, stalled peers that hold some are disconnected. */
  readonly overloadTimeoutMs: number
}

export interface ServerOptions {
  readonly settings: ServerSettings
  readonly handle: (session: Session, frame: Frame) => Reply | Promise<Reply>
  /** Called with unexpected errors of handlers. */
  readonly failed: (session: Session, command: number, error: unknown) => void
  /** Called, at most twice a second, when connections were refused. */
  readonly refused: (count: number) => void
  /** Called with errors of the listening socket; the server continues. */
  readonly acceptFailed: (error: Error) => void
}

const sweepIntervalMs = 500
const keepAliveDelayMs = 60_000
const listenBacklog = 1024
/** Share of the room for replies that is reserved for connections that hold little. */
const fairReserve = 1 / 4
/** Memory of answered frames that the server keeps for reuse. */
const pooledBytesMax = 8 * 1024 * 1024
/** Time for a refused peer to read the reason. */
const refusedLingerMs = 1_000

/** Accepts connections and keeps their memory within the budgets of the process. */
export class Server implements SessionHost {
  readonly settings: ServerSettings
  readonly inbound: ByteBudget
  readonly outbound: ByteBudget
  readonly framePool = new BufferPool(pooledBytesMax)
  readonly lanes = new ConnectionLanes()
  nowMs = performance.now()
  readonly #options: ServerOptions
  readonly #server: NetServer
  readonly #sessions = new Set<Session>()
  readonly #sweeper: NodeJS.Timeout
  #nextId = 1
  #port: number
  #refusedCount = 0
  #inboundOverSinceMs: number | undefined
  #allClosed: (() => void) | undefined

  constructor(options: ServerOptions) {
    this.#options = options
    this.settings = options.settings
    this.#port = options.settings.port
    this.inbound = new ByteBudget(options.settings.inboundBytesMax)
    const { outboundBytesMax } = options.settings
    this.outbound = new ByteBudget(outboundBytesMax, outboundBytesMax * fairReserve)
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs })
    this.#server.on('connection', (socket) => this.#connected(socket))
    // Check deadlines after the event loop has read all received bytes: a broker that was busy must not blame its peers.
    this.#sweeper = setInterval(() => setImmediate(() => this.#sweep()), sweepIntervalMs).unref()
  }

  get connections(): number {
    return this.#sessions.size
  }

  /** The current or last listening port. */
  get port(): number {
    return this.#port
  }

  /** Call it once. @throws the error of the system, such as EADDRINUSE */
  listen(): Promise<void> {
    const { host, port } = this.settings
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.once('listening', () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) => this.#options.acceptFailed(error))
        const address = this.#server.address()
        if (typeof address === 'object' && address !== null) this.#port = address.port
        resolve()
      })
      this.#server.listen({ host, port, backlog: listenBacklog })
    })
  }

  handle(session: Session, frame: Frame): Reply | Promise<Reply> {
    return this.#options.handle(session, frame)
  }

  failed(session: Session, command: number, error: unknown): void {
    this.#options.failed(session, command, error)
  }

  closed(session: Session): void {
    this.#sessions.delete(session)
    if (this.#sessions.size === 0) this.#allClosed?.()
  }

  /** Stops accepting; every connection ends once its requests are answered, or by force after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    this.stopAccepting()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        for (const session of this.#sessions) session.destroy()
      }, timeoutMs)
      this.#allClosed = () => {
        clearTimeout(timer)
        resolve()
      }
      if (this.#sessions.size === 0) this.#allClosed()
      for (const session of this.#sessions) session.finish()
    })
    clearInterval(this.#sweeper)
  }

  stopAccepting(): void {
    this.#server.close()
  }

  #connected(socket: Socket): void {
    if (this.#sessions.size >= this.settings.connectionsMax) {
      this.#refuse(socket)
      return
    }
    this.#sessions.add(new Session(this.#nextId++, socket, this))
  }

  #refuse(socket: Socket): void {
    this.#refusedCount++
    const problem = `the broker has ${this.settings.connectionsMax} connections, which is the maximum (connectionsMax)`
    const fields = errorFields(new MillraceError('OVERLOADED', problem))
    socket.on('error', () => socket.destroy())
    socket.setTimeout(refusedLingerMs, () => socket.destroy())
    socket.resume()
    socket.end(encodeFrame(0, frameFlags.reply | frameFlags.error, 0, fields))
  }

  #sweep(): void {
    this.nowMs = performance.now()
    for (const session of this.#sessions) session.sweep()
    this.#relieveInbound()
    if (this.outbound.isTight) {
      for (const session of this.#sessions)
        if (session.sendStalledMs >= this.settings.overloadTimeoutMs) session.destroy()
    }
    if (this.#refusedCount > 0) this.#options.refused(this.#refusedCount)
    this.#refusedCount = 0
  }

  /**
   * Unfinished frames count against the budget. While it is used up nothing is read, so they alone could keep it
   * used up forever. The server then closes the connection with the largest one.
   */
  #relieveInbound(): void {
    if (!this.inbound.isOver) {
      this.#inboundOverSinceMs = undefined
      return
    }
    this.#inboundOverSinceMs ??= this.nowMs
    if (this.nowMs - this.#inboundOverSinceMs < this.settings.overloadTimeoutMs) return
    let largest: Session | undefined
    for (const session of this.#sessions) {
      if (session.partialBytes > (largest?.partialBytes ?? 0)) largest = session
    }
    largest?.fail(new MillraceError('OVERLOADED', 'the broker has no memory for the rest of this frame'))
  }
}
