import type { Socket } from 'node:net'
import {
  bytesText,
  durationText,
  encodeFrame,
  errorFields,
  type Frame,
  FrameDecoder,
  frameFlags,
  limits,
  MillraceError,
} from '../../protocol/index.js'
import type { BufferPool } from '../../storage/index.js'
import type { ByteBudget } from './byte_budget.js'
import { Outbox } from './outbox.js'

/**
 * greeting: connected, waits for hello. ready: serves. closing: the last frame is written, and the session drops input
 * until the peer closes too, so that the peer can read that frame. closed: the socket is gone.
 */
type SessionState = 'greeting' | 'ready' | 'closing' | 'closed'

/** The result of a handler: the body and, for record batches, a payload that is sent without a copy. */
export interface Reply {
  readonly body: unknown
  readonly payload?: readonly Uint8Array[] | undefined
  /** Called once the kernel has the payload; never if the connection ends before. */
  readonly sent?: (() => void) | undefined
  /** Room that was reserved for this reply; released when the outbox counts the reply itself. */
  readonly acquiredBytes?: number | undefined
}

export interface SessionSettings {
  readonly frameBytesMax: number
  readonly inFlightRequestsMax: number
  readonly connectionInboundBytesMax: number
  readonly connectionOutboundBytesMax: number
  readonly helloTimeoutMs: number
  readonly receiveStallTimeoutMs: number
  readonly sendStallTimeoutMs: number
}

/** The functions that a session needs from its server. */
export interface SessionHost {
  readonly settings: SessionSettings
  /** Queued requests and unfinished frames of all connections. */
  readonly inbound: ByteBudget
  /** Pending replies of all connections. */
  readonly outbound: ByteBudget
  /** Memory for frames that arrive in pieces; returned after their answers. */
  readonly framePool: BufferPool
  /** Coarse monotonic clock. */
  readonly nowMs: number
  /** Answers a request, or throws a MillraceError; BAD_FRAME and HELLO_REQUIRED end the session. */
  handle(session: Session, frame: Frame): Reply | Promise<Reply>
  /** Called with unexpected errors. */
  failed(session: Session, frame: Frame['command'], error: unknown): void
  closed(session: Session): void
}

/** Prefix of an IPv4 address on a dual-stack socket. */
const mappedIpv4 = /^::ffff:/
/** Time for a peer to close after the last frame. */
const lingerMs = 1_000
/**
 * Bytes that a connection may hold while the process is out of room: blocked publishers must not block the
 * heartbeats, commits and fetches of others.
 */
const fairShareBytes = 16 * 1024
/** A decoded request body takes about this many times its size. */
const decodedPerBodyByte = 8

/** One connection: frames in, replies out, with memory for both within the budgets. */
export class Session {
  readonly id: number
  readonly address: string
  /** The local address of the connection. */
  readonly localAddress: string
  clientName = ''
  clientVersion = ''
  readonly #host: SessionHost
  readonly #socket: Socket
  readonly #decoder: FrameDecoder
  readonly #outbox: Outbox
  #state: SessionState = 'greeting'
  /** Exact: the time of the host may be as old as the last sweep, which is longer than some deadlines. */
  #stateSinceMs: number
  #receivedAtMs: number
  /** Received frames that wait for room. */
  #backlog: Frame[] = []
  #paused = false
  #awaitsInbound = false
  #inFlight = 0
  #heldBytes = 0
  #partialBytes = 0
  /** Whether the session ends once everything is answered. */
  #finishing = false
  #isReplaced = false
  #onClose: Set<() => void> | undefined

  constructor(id: number, socket: Socket, host: SessionHost) {
    this.id = id
    this.#host = host
    this.#socket = socket
    this.#decoder = new FrameDecoder(limits.frameBytesBeforeHelloMax, {
      allocate: (bytes) => host.framePool.take(bytes),
    })
    this.address = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? 0}`
    this.localAddress = (socket.localAddress ?? '').replace(mappedIpv4, '')
    this.#stateSinceMs = performance.now()
    this.#receivedAtMs = host.nowMs
    this.#outbox = new Outbox(socket, host.outbound, host.settings.connectionOutboundBytesMax, this)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', () => this.destroy())
    socket.on('close', () => this.#closed())
  }

  get isReady(): boolean {
    return this.#state === 'ready'
  }

  get isOpen(): boolean {
    return this.#state === 'greeting' || this.#state === 'ready'
  }

  get nowMs(): number {
    return this.#host.nowMs
  }

  /** Bytes of an unfinished frame. */
  get partialBytes(): number {
    return this.#partialBytes
  }

  /** Whether a reply of unknown size is allowed. */
  get hasRoom(): boolean {
    return this.#outbox.hasRoom
  }

  /** Target size of a reply, 0 if none is allowed; call `acquire` before a read of its data. */
  get roomBytes(): number {
    return this.#outbox.roomBytes
  }

  /** See Outbox. */
  roomChange(bytes: number): Promise<void> {
    return this.#outbox.roomChange(bytes)
  }

  /** See Outbox. */
  acquire(bytes: number): Promise<void> {
    return this.#outbox.acquire(bytes)
  }

  /** See Outbox. */
  reserve(bytes: number): void {
    this.#outbox.reserve(bytes)
  }

  release(bytes: number): void {
    this.#outbox.release(bytes)
  }

  /** Call it when hello was accepted. */
  greeted(clientName: string, clientVersion: string): void {
    this.clientName = clientName
    this.clientVersion = clientVersion
    this.#decoder.frameBytesMax = this.#host.settings.frameBytesMax
    if (this.#state === 'greeting') this.#enter('ready')
  }

  /** Age of the connection since hello, ms: no request of it was sent earlier. */
  get readyMs(): number {
    return this.isReady ? performance.now() - this.#stateSinceMs : 0
  }

  /** Calls back once when the connection has ended (at once if it has); returns a function that unsubscribes. */
  onClose(callback: () => void): () => void {
    if (this.#state === 'closed') {
      callback()
      return () => {}
    }
    this.#onClose ??= new Set()
    this.#onClose.add(callback)
    return () => void this.#onClose?.delete(callback)
  }

  /** Ends the connection as soon as every received request is answered and the answers are written. */
  finish(): void {
    this.#finishing = true
    this.#endIfFinished()
  }

  /** Sends an error that answers no request, then ends the connection. */
  fail(error: MillraceError): void {
    if (!this.isOpen) return
    const flags = frameFlags.reply | frameFlags.error
    this.#outbox.send(encodeFrame(0, flags, 0, errorFields(error)))
    this.#end()
  }

  /** Ends the connection at once: no received request that waits is executed. */
  destroy(): void {
    if (this.isOpen) {
      this.#enter('closing')
      this.#forgetReceived()
    }
    this.#socket.destroy()
  }

  /** Ends the connection at once, because the client has opened another one in its place. */
  replace(): void {
    this.#isReplaced = true
    this.destroy()
  }

  /** Whether the client has opened another connection in place of this one. */
  get isReplaced(): boolean {
    return this.#isReplaced
  }

  /** Checks deadlines; called about twice a second. */
  sweep(): void {
    const { settings, nowMs } = this.#host
    const stateMs = nowMs - this.#stateSinceMs
    const isReceiving = this.#partialBytes > 0 && !this.#paused
    if (this.#state === 'greeting' && stateMs >= settings.helloTimeoutMs) {
      this.fail(
        new MillraceError(
          'HELLO_REQUIRED',
          `the client sent no hello within ${durationText(settings.helloTimeoutMs)} (helloTimeoutMs)`,
        ),
      )
    } else if (this.#state === 'closing' && stateMs >= lingerMs) {
      this.destroy()
    } else if (isReceiving && nowMs - this.#receivedAtMs >= settings.receiveStallTimeoutMs) {
      const problem = `a frame was incomplete for ${durationText(settings.receiveStallTimeoutMs)} (receiveStallTimeoutMs)`
      this.fail(new MillraceError('BAD_FRAME', problem))
    } else if (this.#outbox.stalledMs(nowMs) >= settings.sendStallTimeoutMs + this.#outbox.slowestMs) {
      this.destroy()
    }
  }

  /** Duration of the peer's current stall; 0 if no replies wait. */
  get sendStalledMs(): number {
    return this.#outbox.stalledMs(this.#host.nowMs)
  }

  /** The outbox calls it when the peer has received data. */
  sent(): void {
    this.#endIfFinished()
    this.#pump()
  }

  #receive(chunk: Buffer): void {
    if (!this.isOpen) return
    this.#receivedAtMs = this.#host.nowMs
    try {
      for (const frame of this.#decoder.push(chunk)) this.#backlog.push(frame)
    } catch (error) {
      this.fail(error instanceof MillraceError ? error : new MillraceError('BAD_FRAME'))
      return
    }
    const partialBytes = this.#decoder.bufferedBytes
    if (partialBytes !== this.#partialBytes) {
      this.#host.inbound.add(partialBytes - this.#partialBytes)
      this.#partialBytes = partialBytes
    }
    this.#pump()
  }

  /** Handles received frames while there is room, and reads on only when none are left. */
  #pump(): void {
    let taken = 0
    while (taken < this.#backlog.length && this.isOpen && this.#hasRoomForRequest()) {
      this.#accept(this.#backlog[taken++] as Frame)
    }
    if (taken > 0) this.#backlog = taken === this.#backlog.length ? [] : this.#backlog.slice(taken)
    const mustPause = this.isOpen && (this.#backlog.length > 0 || !this.#hasRoomForRequest())
    if (mustPause === this.#paused) return
    this.#paused = mustPause
    if (mustPause) this.#socket.pause()
    else this.#socket.resume()
  }

  #hasRoomForRequest(): boolean {
    const { settings, inbound } = this.#host
    if (this.#inFlight >= settings.inFlightRequestsMax) return false
    if (this.#heldBytes >= settings.connectionInboundBytesMax || this.#outbox.isFull) return false
    if (!inbound.isOver || this.#heldBytes + this.#partialBytes < fairShareBytes) return true
    if (!this.#awaitsInbound) {
      this.#awaitsInbound = true
      inbound.whenRoom(this.#inboundHasRoom)
    }
    return false
  }

  readonly #inboundHasRoom = (): void => {
    this.#awaitsInbound = false
    this.#pump()
  }

  #accept(frame: Frame): void {
    const heldBytes = frame.payload.length + frame.body.length * decodedPerBodyByte
    this.#inFlight++
    this.#heldBytes += heldBytes
    this.#host.inbound.add(heldBytes)
    let reply: Reply | Promise<Reply>
    try {
      reply = this.#host.handle(this, frame)
    } catch (error) {
      this.#refuse(frame, heldBytes, error)
      return
    }
    if (!(reply instanceof Promise)) {
      this.#answer(frame, heldBytes, reply)
      return
    }
    reply.then(
      (settled) => {
        this.#answer(frame, heldBytes, settled)
        this.#pump()
      },
      (error: unknown) => {
        this.#refuse(frame, heldBytes, error)
        this.#pump()
      },
    )
  }

  #answer(frame: Frame, heldBytes: number, reply: Reply): void {
    const { command, correlation } = frame
    const { body, payload, sent, acquiredBytes = 0 } = reply
    if (acquiredBytes > 0) this.#outbox.release(acquiredBytes)
    if (this.isOpen) {
      let payloadBytes = 0
      if (payload !== undefined) for (const part of payload) payloadBytes += part.length
      const head = encodeFrame(command, frameFlags.reply, correlation, body, payloadBytes)
      if (head.length > limits.bodyBytesMax) {
        this.#refuse(frame, heldBytes, replyTooLarge(head.length))
        return
      }
      this.#outbox.send(head, payload, sent)
    }
    this.#settle(frame, heldBytes)
  }

  #refuse(frame: Frame, heldBytes: number, error: unknown): void {
    const { command, correlation } = frame
    if (!(error instanceof MillraceError)) this.#host.failed(this, command, error)
    if (this.isOpen) {
      const flags = frameFlags.reply | frameFlags.error
      this.#outbox.send(encodeFrame(command, flags, correlation, errorFields(error)))
      const endsSession = error instanceof MillraceError && endingCodes.has(error.code)
      if (endsSession) this.#end()
    }
    this.#settle(frame, heldBytes)
  }

  #settle({ memory }: Frame, heldBytes: number): void {
    if (memory !== undefined) this.#host.framePool.give(memory)
    this.#inFlight--
    this.#heldBytes -= heldBytes
    this.#host.inbound.release(heldBytes)
    this.#endIfFinished()
  }

  #endIfFinished(): void {
    if (!this.#finishing || !this.isOpen) return
    if (this.#inFlight === 0 && this.#backlog.length === 0 && this.#outbox.isEmpty) this.#end()
  }

  #end(): void {
    this.#enter('closing')
    this.#forgetReceived()
    this.#outbox.flush()
    this.#socket.end()
    // Drops input: a close with unread data would reset the connection before the peer reads the last frame.
    if (this.#paused) this.#socket.resume()
    this.#paused = false
  }

  #enter(state: SessionState): void {
    this.#state = state
    this.#stateSinceMs = performance.now()
  }

  #forgetReceived(): void {
    this.#backlog = []
    this.#host.inbound.release(this.#partialBytes)
    this.#partialBytes = 0
    this.#host.inbound.forget(this.#inboundHasRoom)
  }

  #closed(): void {
    this.#enter('closed')
    this.#forgetReceived()
    this.#outbox.close()
    const callbacks = this.#onClose
    this.#onClose = undefined
    for (const callback of callbacks ?? []) callback()
    this.#host.closed(this)
  }
}

/** After these errors the stream is not trustworthy, or the peer is not allowed to continue. */
const endingCodes: ReadonlySet<string> = new Set([
  'BAD_FRAME',
  'HELLO_REQUIRED',
  'UNSUPPORTED_VERSION',
  'STALE_CONNECTION',
])

function replyTooLarge(bytes: number): MillraceError {
  return new MillraceError(
    'LIMIT_EXCEEDED',
    `the reply has ${bytesText(bytes)}, expected at most ${bytesText(limits.bodyBytesMax)}; request less at a time`,
  )
}
