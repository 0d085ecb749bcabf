import { connect as connectSocket, type Socket } from 'node:net'
import {
  bytesText,
  type Command,
  commands,
  decodeBody,
  durationText,
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameFlags,
  limits,
  MillraceError,
  protocolVersion,
  protocolVersionMin,
  type ReplyOf,
  readErrorBody,
} from '../protocol/index.js'
import { onAbort } from './abort.js'
import { type Address, formatAddress } from './address.js'
import { Silence } from './silence.js'
import { clientVersion } from './version.js'

export type BrokerLimits = ReplyOf<typeof commands.hello>['limits']
export type HelloReply = ReplyOf<typeof commands.hello>

export interface RequestOptions {
  /** Record batches that follow the body. */
  readonly payload?: readonly Uint8Array[] | undefined
  /** ms until REQUEST_TIMEOUT. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Reply<Body> {
  readonly body: Body
  /** A view into the received bytes. */
  readonly payload: Uint8Array
}

export interface ConnectionOptions {
  readonly clientName: string
  readonly token?: string | undefined
  /** ms for the socket and `hello` together. */
  readonly connectTimeoutMs: number
  /** Default timeout of a request in ms, and the silence after which a broker that owes replies counts as gone. */
  readonly requestTimeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** Identity of a connection: the broker ends the older connections of the same lane of a client. */
export interface LaneConnection {
  /** Random, unique to the client object. */
  readonly client: string
  readonly lane: string
  /** Grows with each attempt to connect. */
  readonly number: number
}

interface Pending {
  readonly command: Command<unknown, unknown>
  readonly correlation: number
  readonly timeoutMs: number
  readonly deadlineMs: number
  resolve(reply: Reply<unknown>): void
  reject(error: unknown): void
}

/** A request that waits for the socket. */
interface Unsent {
  readonly pending: Pending
  readonly body: unknown
  readonly payload: readonly Uint8Array[]
}

/** Requests wait while the socket holds this many unsent bytes. */
const socketBytesMax = 1024 * 1024
const unsentMax = 10_000
/**
 * Pending requests are checked at the earliest deadline, and no more often than this: one timer for all, and an idle
 * connection with long polls sleeps.
 */
const sweepIntervalMs = 50
/** The longest pause; a timer of Node ends at once if it is too long. */
const sweepIntervalMsMax = 60_000

/** All connections read into this buffer in turn: a new buffer for every read costs more than the copy. */
const received = Buffer.allocUnsafeSlow(256 * 1024)

/** One socket to one broker: matches replies to requests, and fails pending requests when it ends. */
export class Connection {
  readonly address: Address
  /** The broker's reply to `hello`. */
  hello!: HelloReply
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #decoder = new FrameDecoder(limits.frameBytesMax, { chunksAreReused: true })
  readonly #pending = new Map<number, Pending>()
  readonly #silence: Silence
  readonly #onClose = new Set<(error: MillraceError) => void>()
  /** In the order of their requests; some may have timed out. */
  #unsent: Unsent[] = []
  /** Requests that the broker has not answered, including abandoned ones. */
  #onWire = 0
  #correlation = 0
  #corked = false
  #sweep: NodeJS.Timeout | undefined
  #sweepAtMs = Number.POSITIVE_INFINITY
  #closed: MillraceError | undefined

  private constructor(address: Address, options: ConnectionOptions) {
    this.address = address
    const socket = connectSocket({
      host: address.host,
      port: address.port,
      onread: {
        buffer: received,
        callback: (bytes, buffer) => {
          this.#receive((buffer as Buffer).subarray(0, bytes))
          return true
        },
      },
    })
    this.#socket = socket
    this.#options = options
    this.#silence = new Silence(options.requestTimeoutMs)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    socket.on('drain', () => {
      this.#silence.heard(performance.now())
      this.#sendUnsent()
    })
    socket.on('error', (cause) => this.#end(lost(address, cause)))
    socket.on('close', () => this.#end(lost(address)))
  }

  /**
   * Connects and sends `hello`.
   * @throws MillraceError NOT_CONNECTED if nobody answers, UNSUPPORTED_VERSION, STALE_CONNECTION, REQUEST_TIMEOUT
   */
  static async open(
    address: Address,
    options: ConnectionOptions,
    connectionOfLane?: LaneConnection,
  ): Promise<Connection> {
    const connection = new Connection(address, options)
    try {
      await connection.#connected()
      const { body } = await connection.request(
        commands.hello,
        {
          versionMin: protocolVersionMin,
          versionMax: protocolVersion,
          clientName: options.clientName,
          clientVersion,
          ...(options.token === undefined ? {} : { token: options.token }),
          ...(connectionOfLane === undefined ? {} : { connection: connectionOfLane }),
        },
        { timeoutMs: options.connectTimeoutMs, signal: options.signal },
      )
      connection.hello = body
      connection.#decoder.frameBytesMax = Math.max(body.limits.frameBytesMax, limits.frameBytesMax)
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }

  /** The error that ended it; undefined while it is open. */
  get closed(): MillraceError | undefined {
    return this.#closed
  }

  /** Requests without a reply. */
  get pending(): number {
    return this.#pending.size
  }

  /** Calls back once, when the connection has ended. */
  onClose(callback: (error: MillraceError) => void): void {
    if (this.#closed !== undefined) callback(this.#closed)
    else this.#onClose.add(callback)
  }

  /**
   * Sends a request and waits for its reply. While the broker does not read, the request waits in a queue.
   * @throws MillraceError the error from the broker; CONNECTION_LOST, REQUEST_TIMEOUT (the outcome is unknown),
   * LIMIT_EXCEEDED if it is too large to send, or too many requests wait; BAD_FRAME if the reply is malformed; the
   * reason of the
   * signal if it is aborted
   */
  request<Request, Body>(
    command: Command<Request, Body>,
    body: Request,
    { payload = [], timeoutMs = this.#options.requestTimeoutMs, signal }: RequestOptions = {},
  ): Promise<Reply<Body>> {
    return new Promise<Reply<Body>>((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed)
      if (signal?.aborted) return reject(signal.reason)
      const correlation = this.#nextCorrelation()
      const pending: Pending = {
        command: command as Command<unknown, unknown>,
        correlation,
        timeoutMs,
        deadlineMs: performance.now() + timeoutMs,
        resolve: resolve as (reply: Reply<unknown>) => void,
        reject,
      }
      try {
        if (this.#mayWrite && this.#unsent.length === 0) this.#send(pending, body, payload)
        else this.#sendLater({ pending, body, payload })
      } catch (error) {
        return reject(error)
      }
      this.#pending.set(correlation, pending)
      this.#watchDeadline(pending.deadlineMs)
      if (signal !== undefined) this.#watchSignal(signal, pending)
    })
  }

  /** Ends the connection; pending requests fail with CONNECTION_LOST, or with the given error. */
  close(error?: MillraceError): void {
    this.#end(error ?? lost(this.address, new Error('the client closed it')))
  }

  #connected(): Promise<void> {
    const { connectTimeoutMs, signal } = this.#options
    const socket = this.#socket
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(notConnected(this.address, new Error(`no reply within ${durationText(connectTimeoutMs)}`)))
      }, connectTimeoutMs)
      const abort = () => reject(signal?.reason)
      const unwatch = signal && onAbort(signal, abort)
      socket.once('connect', resolve)
      socket.once('error', (cause) => reject(notConnected(this.address, cause)))
      socket.once('close', () => reject(notConnected(this.address)))
      const done = () => {
        clearTimeout(timer)
        unwatch?.()
      }
      socket.once('connect', done)
      socket.once('close', done)
      if (signal?.aborted) abort()
    })
  }

  #nextCorrelation(): number {
    do this.#correlation = (this.#correlation + 1) >>> 0
    while (this.#correlation === 0 || this.#pending.has(this.#correlation))
    return this.#correlation
  }

  get #mayWrite(): boolean {
    const inFlightMax = this.hello?.limits.inFlightRequestsMax ?? limits.inFlightRequestsMax
    return this.#onWire < inFlightMax && this.#socket.writableLength < socketBytesMax
  }

  #sendLater(unsent: Unsent): void {
    if (this.#unsent.length >= unsentMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `${unsentMax} requests already wait until ${formatAddress(this.address)} accepts more, which is the maximum`,
      )
    }
    this.#unsent.push(unsent)
  }

  #sendUnsent(): void {
    if (this.#unsent.length === 0) return
    let taken = 0
    while (taken < this.#unsent.length && this.#mayWrite) {
      const { pending, body, payload } = this.#unsent[taken++] as Unsent
      if (this.#pending.get(pending.correlation) !== pending) continue
      try {
        this.#send(pending, body, payload)
      } catch (error) {
        this.#pending.delete(pending.correlation)
        pending.reject(error)
      }
    }
    this.#unsent.splice(0, taken)
  }

  #send({ command, correlation, timeoutMs }: Pending, body: unknown, payload: readonly Uint8Array[]): void {
    let payloadBytes = 0
    for (const part of payload) payloadBytes += part.length
    const head = encodeFrame(command.number, 0, correlation, body, payloadBytes)
    const frameBytes = head.length + payloadBytes
    if (head.length > limits.bodyBytesMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `a request "${command.name}" has a body of ${bytesText(head.length)}, expected at most ${bytesText(limits.bodyBytesMax)}`,
      )
    }
    const frameBytesMax = this.hello?.limits.frameBytesMax ?? limits.frameBytesMax
    if (frameBytes > frameBytesMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `a request has ${bytesText(frameBytes)}, the broker accepts at most ${bytesText(frameBytesMax)}`,
      )
    }
    this.#silence.sent(performance.now(), timeoutMs, this.#onWire++)
    this.#cork()
    this.#socket.write(head)
    for (const part of payload) this.#socket.write(part)
  }

  /** All writes of one turn of the event loop leave in one system call. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#socket.cork()
    process.nextTick(() => {
      this.#corked = false
      this.#socket.uncork()
    })
  }

  #receive(chunk: Uint8Array): void {
    this.#silence.heard(performance.now())
    try {
      for (const frame of this.#decoder.push(chunk)) this.#take(frame)
      this.#sendUnsent()
    } catch (cause) {
      this.#end(lost(this.address, cause))
    }
  }

  #take(frame: Frame): void {
    if (frame.correlation === 0) {
      // The broker's last message on a stream that it cannot read any further.
      if ((frame.flags & frameFlags.error) !== 0) throw readErrorBody(decodeBody(frame.body))
      return
    }
    this.#onWire--
    const pending = this.#pending.get(frame.correlation)
    // A reply after its timeout.
    if (pending === undefined) return
    this.#pending.delete(frame.correlation)
    let reply: Reply<unknown> | MillraceError
    try {
      reply = readReply(pending.command, frame)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      const problem = `${formatAddress(this.address)} answered "${pending.command.name}" with a malformed reply: ${reason}`
      reply = new MillraceError('BAD_FRAME', problem, { cause })
    }
    if (reply instanceof MillraceError) pending.reject(reply)
    else pending.resolve(reply)
  }

  #watchDeadline(deadlineMs: number): void {
    if (deadlineMs < this.#sweepAtMs - sweepIntervalMs) this.#sweepAt(deadlineMs)
  }

  #sweepAt(timeMs: number): void {
    clearTimeout(this.#sweep)
    const nowMs = performance.now()
    const delayMs = Math.min(Math.max(Math.ceil(timeMs - nowMs), sweepIntervalMs), sweepIntervalMsMax)
    this.#sweepAtMs = nowMs + delayMs
    this.#sweep = setTimeout(() => this.#expire(), delayMs)
  }

  #expire(): void {
    this.#sweepAtMs = Number.POSITIVE_INFINITY
    const nowMs = performance.now()
    let nextMs = this.#onWire > 0 ? this.#silence.endsAtMs + 1 : Number.POSITIVE_INFINITY
    for (const [correlation, pending] of this.#pending) {
      if (pending.deadlineMs > nowMs) {
        nextMs = Math.min(nextMs, pending.deadlineMs)
        continue
      }
      this.#pending.delete(correlation)
      pending.reject(
        new MillraceError(
          'REQUEST_TIMEOUT',
          `${formatAddress(this.address)} did not answer "${pending.command.name}" in time; the outcome is unknown`,
        ),
      )
    }
    // The check runs after the sockets were read, because this process itself may have been stopped.
    if (this.#isSilent) setImmediate(() => this.#endIfSilent())
    if (nextMs < Number.POSITIVE_INFINITY) this.#sweepAt(nextMs)
  }

  get #isSilent(): boolean {
    return this.#onWire > 0 && this.#silence.isTooLong(performance.now())
  }

  #endIfSilent(): void {
    if (!this.#isSilent) return
    const reason = `it sent nothing for ${durationText(this.#silence.patienceMs)} while requests waited for replies`
    this.#end(lost(this.address, new Error(reason)))
  }

  #watchSignal(signal: AbortSignal, pending: Pending): void {
    const { correlation } = pending
    const abort = () => {
      if (this.#pending.get(correlation) !== pending) return
      this.#pending.delete(correlation)
      pending.reject(signal.reason)
    }
    const done = onAbort(signal, abort)
    const { resolve, reject } = pending
    pending.resolve = (reply) => {
      done()
      resolve(reply)
    }
    pending.reject = (error) => {
      done()
      reject(error)
    }
  }

  #end(error: MillraceError): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    clearTimeout(this.#sweep)
    this.#socket.destroy()
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    this.#unsent = []
    for (const { reject } of pending) reject(error)
    for (const callback of this.#onClose) callback(error)
  }
}

function readReply(command: Command<unknown, unknown>, frame: Frame): Reply<unknown> | MillraceError {
  const body = decodeBody(frame.body)
  if ((frame.flags & frameFlags.error) !== 0) return readErrorBody(body)
  return { body: command.reply.read(body, ''), payload: frame.payload }
}

function lost(address: Address, cause?: unknown): MillraceError {
  const reason = cause instanceof Error ? `: ${cause.message}` : ''
  return new MillraceError(
    'CONNECTION_LOST',
    `the connection to ${formatAddress(address)} was lost${reason}`,
    { cause },
  )
}

function notConnected(address: Address, cause?: Error): MillraceError {
  const reason =
    cause === undefined ? 'the broker closed it' : cause.message || (cause as NodeJS.ErrnoException).code
  return new MillraceError('NOT_CONNECTED', `${formatAddress(address)}: ${reason}`, { cause })
}
