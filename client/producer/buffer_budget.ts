import type { MillraceError } from '../../protocol/index.js'

interface Waiter {
  readonly bytes: number
  resolve(): void
  reject(error: unknown): void
}

/**
 * Counts the bytes of unacknowledged messages. A caller without room waits in a queue for a reservation. A message
 * that is larger than the whole budget enters when the buffer is empty.
 */
export class BufferBudget {
  readonly bytesMax: number
  #usedBytes = 0
  #reservedBytes = 0
  #waiting: Waiter[] = []
  #closed: MillraceError | undefined

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** Bytes of unacknowledged messages. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Whether a message of `bytes` needs no reservation. */
  fits(bytes: number): boolean {
    return this.#waiting.length === 0 && this.#hasRoom(bytes)
  }

  /**
   * Waits for room; `unreserve` must follow, whether or not the message was added.
   * @throws MillraceError CLOSED
   */
  reserve(bytes: number): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    if (this.fits(bytes)) {
      this.#reservedBytes += bytes
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => this.#waiting.push({ bytes, resolve, reject }))
  }

  unreserve(bytes: number): void {
    this.#reservedBytes -= bytes
    this.#grant()
  }

  add(bytes: number): void {
    this.#usedBytes += bytes
  }

  free(bytes: number): void {
    this.#usedBytes -= bytes
    this.#grant()
  }

  /** Fails all waiting calls, now and later. */
  close(error: MillraceError): void {
    this.#closed = error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  #hasRoom(bytes: number): boolean {
    const takenBytes = this.#usedBytes + this.#reservedBytes
    return takenBytes === 0 || takenBytes + bytes <= this.bytesMax
  }

  #grant(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (!this.#hasRoom(first.bytes)) return
      this.#waiting.shift()
      this.#reservedBytes += first.bytes
      first.resolve()
    }
  }
}
