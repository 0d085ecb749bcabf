import type { Socket } from 'node:net'
import type { ByteBudget } from './byte_budget.js'

interface OutboxOwner {
  readonly nowMs: number
  /** Called when the peer has received data. */
  sent(): void
}

/**
 * Most bytes of one connection in the reserve for connections that hold little, so that peers that do not read
 * large replies cannot block those that do.
 */
const fairShareBytes = 256 * 1024

/** A slower peer counts as stalled. */
const bytesPerMsMin = 64

/**
 * Replies on their way to one peer. All replies of one tick go out in one system call, and all bytes
 * count against the budgets of the connection and of the process until the kernel has them.
 */
export class Outbox {
  readonly #socket: Socket
  readonly #budget: ByteBudget
  readonly #bytesMax: number
  readonly #owner: OutboxOwner
  #parts: Uint8Array[] = []
  #partsBytes = 0
  /** Called once the kernel has the parts. */
  #sent: (() => void)[] = []
  /** Bytes that the socket has, that wait for it, or that are reserved. */
  #bytes = 0
  /** Start of the current stall, while data waits for the peer. */
  #stalledSinceMs = 0
  #flushPlanned = false
  #waiting: (() => void)[] = []
  #closed = false

  constructor(socket: Socket, budget: ByteBudget, bytesMax: number, owner: OutboxOwner) {
    this.#socket = socket
    this.#budget = budget
    this.#bytesMax = bytesMax
    this.#owner = owner
  }

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** Whether the share of this connection is used up. */
  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax
  }

  /** Whether a reply of unknown size is allowed. */
  get hasRoom(): boolean {
    return this.#closed || this.#fits(Number.POSITIVE_INFINITY)
  }

  /** Target size of a reply; 0 if none is allowed. */
  get roomBytes(): number {
    if (this.#closed) return Number.POSITIVE_INFINITY
    if (!this.#fits(1)) return 0
    return Math.max(fairShareBytes - this.#bytes, this.#budget.freeBytes)
  }

  /**
   * Waits for room and counts `bytes` of a future reply. The caller must release them in the same turn in which it
   * sends the reply, which counts them again. Resolves at once if the connection has ended.
   */
  async acquire(bytes: number): Promise<void> {
    while (!this.#fits(bytes) && !this.#closed) await this.roomChange(bytes)
    this.#add(bytes)
  }

  /** Resolves when there may be room for a reply of this size: check again then, because others may have taken it. */
  roomChange(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      if (this.isFull) return
      if (this.#bytes + bytes <= fairShareBytes) this.#budget.whenReserveHasRoom(resolve)
      else this.#budget.whenRoom(resolve)
    })
  }

  /** Counts `bytes` of a future reply at once, whether or not there is room; released as after `acquire`. */
  reserve(bytes: number): void {
    this.#add(bytes)
  }

  release(bytes: number): void {
    if (this.#closed) return
    this.#bytes -= bytes
    this.#budget.release(bytes)
    if (this.#waiting.length > 0 && !this.isFull) this.#wake()
  }

  /** @param sent called once the payload is no longer needed; never if the connection ends before */
  send(head: Uint8Array, payload?: readonly Uint8Array[], sent?: () => void): void {
    if (sent !== undefined) this.#sent.push(sent)
    let bytes = head.length
    this.#parts.push(head)
    if (payload !== undefined) {
      for (const part of payload) {
        bytes += part.length
        this.#parts.push(part)
      }
    }
    this.#partsBytes += bytes
    this.#add(bytes)
    if (this.#flushPlanned) return
    this.#flushPlanned = true
    process.nextTick(() => this.flush())
  }

  /** Gives all collected parts to the socket in one call. */
  flush(): void {
    this.#flushPlanned = false
    const parts = this.#parts
    const bytes = this.#partsBytes
    const sent = this.#sent
    if (parts.length === 0) return
    this.#parts = []
    this.#partsBytes = 0
    this.#sent = []
    if (this.#closed || this.#socket.destroyed) return
    const last = parts.length - 1
    const taken = (error?: Error | null): void => {
      if (error === undefined || error === null) for (const callback of sent) callback()
      this.#taken(bytes)
    }
    this.#socket.cork()
    for (let i = 0; i < last; i++) this.#socket.write(parts[i] as Uint8Array)
    this.#socket.write(parts[last] as Uint8Array, taken)
    this.#socket.uncork()
  }

  stalledMs(nowMs: number): number {
    return this.#bytes === 0 ? 0 : nowMs - this.#stalledSinceMs
  }

  /** Time that the pending bytes may take on a slow connection, which reports no progress before it has all of them. */
  get slowestMs(): number {
    return this.#bytes / bytesPerMsMin
  }

  /** Releases all counted bytes; later sends and releases do not count. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#parts = []
    this.#sent = []
    this.#budget.release(this.#bytes)
    this.#bytes = 0
    this.#wake()
  }

  #fits(bytes: number): boolean {
    if (this.isFull) return false
    return !this.#budget.isTight || (!this.#budget.isOver && this.#bytes + bytes <= fairShareBytes)
  }

  #add(bytes: number): void {
    if (this.#closed) return
    if (this.#bytes === 0) this.#stalledSinceMs = this.#owner.nowMs
    this.#bytes += bytes
    this.#budget.add(bytes)
  }

  #taken(bytes: number): void {
    if (this.#closed) return
    this.#stalledSinceMs = this.#owner.nowMs
    this.release(bytes)
    this.#owner.sent()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
