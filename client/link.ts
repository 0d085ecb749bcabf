import { type Command, durationText, MillraceError } from '../protocol/index.js'
import { onAbort } from './abort.js'
import { type Address, formatAddress } from './address.js'
import { type BackoffOptions, backoffMs, pause } from './backoff.js'
import {
  Connection,
  type ConnectionOptions,
  type HelloReply,
  type LaneConnection,
  type Reply,
  type RequestOptions,
} from './connection.js'
import type { LinkWatcher } from './events.js'

export interface LinkOptions extends ConnectionOptions {
  readonly reconnect: BackoffOptions
}

type State =
  | { readonly name: 'idle' }
  | { readonly name: 'connecting'; readonly connection: Promise<Connection> }
  | { readonly name: 'connected'; readonly connection: Connection }
  | { readonly name: 'closed' }

/**
 * A connection that reconnects. It opens when it is first needed, and tries its addresses in turn. After a loss it
 * tries again with growing pauses, as long as a request waits for it.
 */
export class Link {
  readonly #addresses: readonly Address[]
  readonly #options: LinkOptions
  readonly #onHello: (hello: HelloReply) => void
  readonly #watcher: LinkWatcher | undefined
  readonly #lane: Omit<LaneConnection, 'number'> | undefined
  readonly #closing = new AbortController()
  /** Number of the newest attempt to connect. */
  #attempt = 0
  #next = 0
  #state: State = { name: 'idle' }
  /** Why the last connection ended; undefined while there is a connection. */
  #loss: MillraceError | undefined
  /** Latest deadline of the requests that wait for a connection, in ms of the monotonic clock. */
  #wantedUntilMs = 0

  /**
   * @param onHello called with the broker's hello reply for each new connection
   * @param watcher gets the events of connections and attempts
   * @param lane for the broker, which ends an abandoned connection when the link opens the next one
   */
  constructor(
    addresses: readonly Address[],
    options: LinkOptions,
    onHello: (hello: HelloReply) => void = () => {},
    watcher?: LinkWatcher,
    lane?: Omit<LaneConnection, 'number'>,
  ) {
    this.#watcher = watcher
    this.#lane = lane
    this.#addresses = addresses
    this.#options = options
    this.#onHello = onHello
  }

  /** The open connection, or undefined. */
  get connection(): Connection | undefined {
    return this.#state.name === 'connected' ? this.#state.connection : undefined
  }

  /**
   * Tries every address once.
   * @throws MillraceError NOT_CONNECTED with each address and its error
   */
  async connectOnce(signal?: AbortSignal): Promise<Connection> {
    const failures: string[] = []
    let last: unknown
    for (let tried = 0; tried < this.#addresses.length; tried++) {
      const address = this.#nextAddress
      try {
        return await this.#open(address, signal)
      } catch (error) {
        if (this.#closing.signal.aborted || signal?.aborted) throw error
        this.#next++
        last = error
        failures.push(
          error instanceof MillraceError ? error.message : `${formatAddress(address)}: ${String(error)}`,
        )
      }
    }
    if (last instanceof MillraceError && !last.retryable) throw last
    throw new MillraceError('NOT_CONNECTED', `no broker answers: ${failures.join('; ')}`, { cause: last })
  }

  /**
   * Sends a request as soon as there is a connection; does not repeat it.
   * @throws the errors of `Connection.request`; NOT_CONNECTED if no broker answered in time, CLOSED
   */
  async request<Request, Body>(
    command: Command<Request, Body>,
    body: Request,
    options: RequestOptions = {},
  ): Promise<Reply<Body>> {
    const live = this.connection
    if (live !== undefined) return live.request(command, body, options)
    const timeoutMs = options.timeoutMs ?? this.#options.requestTimeoutMs
    const startedMs = performance.now()
    const connection = await this.connected(timeoutMs, options.signal)
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startedMs))
    return connection.request(command, body, { ...options, timeoutMs: leftMs })
  }

  /** Closes the connection and stops every connection attempt. */
  close(): void {
    const state = this.#state
    this.#state = { name: 'closed' }
    const error = closedError()
    this.#closing.abort(error)
    if (state.name === 'connected') state.connection.close(error)
  }

  /**
   * Waits for a connection, at most `timeoutMs`; attempts continue for other requests that wait.
   * @throws MillraceError NOT_CONNECTED, CLOSED
   */
  connected(timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    if (this.#state.name === 'connected') return Promise.resolve(this.#state.connection)
    if (this.#state.name === 'closed') return Promise.reject(closedError())
    this.#wantedUntilMs = Math.max(this.#wantedUntilMs, performance.now() + timeoutMs)
    if (this.#state.name === 'idle') {
      const connection = this.#connectWhileWanted()
      connection.catch(() => {})
      this.#state = { name: 'connecting', connection }
    }
    return within(this.#state.connection, timeoutMs, signal)
  }

  async #connectWhileWanted(): Promise<Connection> {
    if (this.#loss !== undefined) this.#watcher?.retries(this, this.#nextAddress, 0, this.#loss, false)
    for (let failures = 1; ; failures++) {
      try {
        return await this.connectOnce()
      } catch (error) {
        const pauseMs = backoffMs(failures, this.#options.reconnect)
        const hopeless = error instanceof MillraceError && !error.retryable
        const unwanted = performance.now() + pauseMs > this.#wantedUntilMs
        if (this.#closing.signal.aborted || hopeless || unwanted) {
          if (this.#state.name === 'connecting') this.#state = { name: 'idle' }
          this.#watcher?.gaveUp(this)
          throw this.#closing.signal.aborted ? closedError() : error
        }
        this.#watcher?.retries(this, this.#nextAddress, Math.round(pauseMs), error, true)
        await pause(pauseMs, this.#closing.signal)
      }
    }
  }

  get #nextAddress(): Address {
    return this.#addresses[this.#next % this.#addresses.length] as Address
  }

  async #open(address: Address, given?: AbortSignal): Promise<Connection> {
    const signal = given === undefined ? this.#closing.signal : AbortSignal.any([given, this.#closing.signal])
    const number = ++this.#attempt
    const connection = await Connection.open(
      address,
      { ...this.#options, signal },
      this.#lane && { ...this.#lane, number },
    )
    if (this.#state.name === 'closed') {
      connection.close()
      throw closedError()
    }
    this.#state = { name: 'connected', connection }
    this.#loss = undefined
    this.#onHello(connection.hello)
    this.#watcher?.opened(this, address)
    connection.onClose((error) => {
      if (this.connection !== connection) return
      this.#state = { name: 'idle' }
      this.#next++
      this.#loss = error
      this.#watcher?.lost(this, address, error)
    })
    return connection
  }
}

function closedError(): MillraceError {
  return new MillraceError('CLOSED', 'the client is closed')
}

/** Wraps a promise: it rejects at the time limit or when the signal is aborted. */
function within<T>(promise: Promise<T>, timeoutMs: number, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new MillraceError(
          'NOT_CONNECTED',
          `the client could not reach a broker within ${durationText(timeoutMs)}`,
        ),
      )
    }, timeoutMs)
    const abort = () => reject(signal?.reason)
    if (signal?.aborted) abort()
    const done = signal && onAbort(signal, abort)
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      done?.()
    })
  })
}
