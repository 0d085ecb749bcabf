/** Smaller buffers are not worth keeping. */
const pooledBytesMin = 4 * 1024
/** Sizes between two powers of two, so that little of a buffer is left unused. */
const sizesPerDoubling = 8

/**
 * Large buffers that are used again. V8 counts the memory of every new one, and marks its whole heap each time so many
 * were made: at 200 MB/s of messages this took more time than the messages did.
 */
export class BufferPool {
  readonly #freeBytesMax: number
  readonly #free = new Map<number, ArrayBuffer[]>()
  #freeBytes = 0

  /** @param freeBytesMax what is kept of buffers that nobody uses */
  constructor(freeBytesMax: number) {
    this.#freeBytesMax = freeBytesMax
  }

  /** Bytes of buffers that wait to be used again. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  /** A buffer of so many bytes, with anything in them. */
  take(bytes: number): Buffer {
    if (bytes < pooledBytesMin) return Buffer.allocUnsafe(bytes)
    const size = pooledSize(bytes)
    const memory = this.#free.get(size)?.pop()
    if (memory === undefined) return Buffer.allocUnsafeSlow(size).subarray(0, bytes)
    this.#freeBytes -= size
    return Buffer.from(memory, 0, bytes)
  }

  /** Takes back what `take` gave. Nobody may use it, or a view of it, any more; what is never given back is no loss. */
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

/** A buffer of a pool with several users; the pool gets it back when the last of them has released it. */
export class SharedBuffer {
  readonly bytes: Buffer
  readonly #pool: BufferPool
  #users = 1

  constructor(pool: BufferPool, bytes: number) {
    this.#pool = pool
    this.bytes = pool.take(bytes)
  }

  /** One more user. One that never releases it keeps it from being used again, and nothing worse. */
  retain(): void {
    this.#users++
  }

  /** To be called once by each user, when it is done with the bytes. */
  release(): void {
    if (--this.#users === 0) this.#pool.give(this.bytes)
  }
}
