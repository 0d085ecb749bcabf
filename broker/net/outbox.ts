import type { Socket } from 'node:net'
import type { ByteBudget } from './byte_budget.js'

interface OutboxOwner {
  readonly nowMs: number
  /** Called when the peer has taken something. */
  sent(): void
}

/**
 * What a connection may hold of the part of the budget that is kept for those who hold little, so that peers which take
 * nothing of large replies don't silence those who take theirs.
 */
const fairShareBytes = 256 * 1024

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
  /** Told once the kernel has the parts. */
  #sent: (() => void)[] = []
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

  /** Whether a reply may be made although nothing is known of its size. */
  get hasRoom(): boolean {
    return this.#closed || this.#fits(Number.POSITIVE_INFINITY)
  }

  /** How large a reply should become at most; 0 when none may be made. */
  get roomBytes(): number {
    if (this.#closed) return Number.POSITIVE_INFINITY
    if (!this.#fits(1)) return 0
    return Math.max(fairShareBytes - this.#bytes, this.#budget.freeBytes)
  }

  /**
   * Waits for room and counts `bytes` that will become part of a reply; they must be released when the
   * reply is sent, which counts them again, without a turn in between. Resolves at once when the connection has ended.
   */
  async acquire(bytes: number): Promise<void> {
    while (!this.#fits(bytes) && !this.#closed) await this.roomChange(bytes)
    this.#add(bytes)
  }

  /** Resolves when there may be room for a reply of so many bytes: look again then, others may have been quicker. */
  roomChange(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      if (this.isFull) return
      if (this.#bytes + bytes <= fairShareBytes) this.#budget.whenReserveHasRoom(resolve)
      else this.#budget.whenRoom(resolve)
    })
  }

  release(bytes: number): void {
    if (this.#closed) return
    this.#bytes -= bytes
    this.#budget.release(bytes)
    if (this.#waiting.length > 0 && !this.isFull) this.#wake()
  }

  /** @param sent called once nothing of the payload is needed any more; never when the connection ends before */
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

  /** Gives what was collected to the socket in one go. */
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

  /** How long what waits may take on a slow line, which tells nothing before all of it is taken. */
  get slowestMs(): number {
    return this.#bytes / bytesPerMsMin
  }

  /** Gives back everything that is counted; what is sent or released later counts no more. */
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
