import type { Socket } from 'node:net'
import type { ByteBudget } from './byte_budget.js'

interface OutboxOwner {
  readonly nowMs: number
  /** Called when the peer has taken something. */
  sent(): void
}

/** A slower line than this counts as one that takes nothing. */
const bytesPerMsMin = 64

/**
 * Replies on their way to one peer. What is produced in one tick goes out in one call to the system, and everything
 * counts against the connection's and the process's budget until the kernel has taken it.
 */
export class Outbox {
  readonly #socket: Socket
  readonly #budget: ByteBudget
  readonly #bytesMax: number
  readonly #owner: OutboxOwner
  #parts: Uint8Array[] = []
  #partsBytes = 0
  /** Bytes that were given to the socket, or wait for that, or are reserved. */
  #bytes = 0
  /** Since when the peer takes nothing, while something waits for it. */
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

  /** Whether this connection's share is used up. */
  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax
  }

  get hasRoom(): boolean {
    return !this.isFull && !this.#budget.isOver
  }

  /**
   * Waits for room and counts `bytes` that will become part of a reply; they must be released when the
   * reply is sent, which counts them again, without a turn in between. Resolves at once when the connection has ended.
   */
  async acquire(bytes: number): Promise<void> {
    while (!this.hasRoom && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
        if (!this.isFull) this.#budget.whenRoom(resolve)
      })
    }
    this.#add(bytes)
  }

  release(bytes: number): void {
    if (this.#closed) return
    this.#bytes -= bytes
    this.#budget.release(bytes)
    if (this.#waiting.length > 0 && !this.isFull) this.#wake()
  }

  send(head: Uint8Array, payload?: readonly Uint8Array[]): void {
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

  /** Gives what was collected to the socket in one go. */
  flush(): void {
    this.#flushPlanned = false
    const parts = this.#parts
    const bytes = this.#partsBytes
    if (parts.length === 0) return
    this.#parts = []
    this.#partsBytes = 0
    if (this.#closed || this.#socket.destroyed) return
    const last = parts.length - 1
    const taken = (): void => this.#taken(bytes)
    this.#socket.cork()
    for (let i = 0; i < last; i++) this.#socket.write(parts[i] as Uint8Array)
    this.#socket.write(parts[last] as Uint8Array, taken)
    this.#socket.uncork()
  }

  stalledMs(nowMs: number): number {
    return this.#bytes === 0 ? 0 : nowMs - this.#stalledSinceMs
  }

  /** How long what waits may take on a slow line, which tells nothing before all of it is taken. */
  get slowestMs(): number {
    return this.#bytes / bytesPerMsMin
  }

  /** Gives back everything that is counted; what is sent or released later counts no more. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#parts = []
    this.#budget.release(this.#bytes)
    this.#bytes = 0
    this.#wake()
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
