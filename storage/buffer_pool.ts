/** The pool does not keep smaller buffers. */
const pooledBytesMin = 4 * 1024
/** Size classes between two powers of two, so that little of a buffer stays unused. */
const sizesPerDoubling = 8

/**
 * Reuses large buffers. V8 counts the memory of every new buffer and marks its whole heap after a certain amount:
 * at 200 MB/s of messages this took more time than the messages.
 */
export class BufferPool {
  readonly #freeBytesMax: number
  readonly #free = new Map<number, ArrayBuffer[]>()
  #freeBytes = 0

  /** @param freeBytesMax limit of the unused buffers that the pool keeps */
  constructor(freeBytesMax: number) {
    this.#freeBytesMax = freeBytesMax
  }

  /** Bytes of unused buffers in the pool. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  /** Returns a buffer of this size with arbitrary content. */
  take(bytes: number): Buffer {
    if (bytes < pooledBytesMin) return Buffer.allocUnsafe(bytes)
    const size = pooledSize(bytes)
    const memory = this.#free.get(size)?.pop()
    if (memory === undefined) return Buffer.allocUnsafeSlow(size).subarray(0, bytes)
    this.#freeBytes -= size
    return Buffer.from(memory, 0, bytes)
  }

  /**
   * Takes back a buffer from `take`. Nobody may use it, or a view of it, afterwards. A buffer that never returns is no
   * leak.
   */
  give(buffer: Buffer): void {
    const memory = buffer.buffer as ArrayBuffer
    const size = memory.byteLength
    if (buffer.length < pooledBytesMin || this.#freeBytes + size > this.#freeBytesMax) return
    const free = this.#free.get(size)
    if (free === undefined) this.#free.set(size, [memory])
    else free.push(memory)
    this.#freeBytes += size
  }
}

function pooledSize(bytes: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(bytes)) - Math.log2(sizesPerDoubling))
  return Math.ceil(bytes / step) * step
}

/** A buffer of a pool with several users; it returns to the pool when the last user releases it. */
export class SharedBuffer {
  readonly bytes: Buffer
  readonly #pool: BufferPool
  #users = 1

  constructor(pool: BufferPool, bytes: number) {
    this.#pool = pool
    this.bytes = pool.take(bytes)
  }

  /** Adds a user. If one never releases it, the buffer is not reused; there is no other harm. */
  retain(): void {
    this.#users++
  }

  /** Each user calls this once, when it no longer needs the bytes. */
  release(): void {
    if (--this.#users === 0) this.#pool.give(this.bytes)
  }
}
