import type { SharedBuffer } from './buffer_pool.js'
import type { WrittenBlock } from './journal.js'

/** The part of one log in one cached block. */
export interface TailChunk {
  readonly firstOffset: number
  readonly nextOffset: number
  /** Its batches are in `block` from `from` to `to`. */
  readonly block: Uint8Array
  readonly from: number
  readonly to: number
  /** If present, retain it before you use the bytes in another turn. */
  readonly memory: SharedBuffer | undefined
}

/** Memory overhead of a block, and of each log's chunk in it. */
const blockOverheadBytes = 512
const chunkOverheadBytes = 320

/** The newest chunks of one log, oldest first. Lost records leave a gap. */
export class LogTail {
  #chunks: (TailChunk | undefined)[] = []
  #head = 0

  push(chunk: TailChunk): void {
    this.#chunks.push(chunk)
  }

  /** Drops the oldest chunk. */
  shift(): void {
    this.#chunks[this.#head++] = undefined
    if (this.#head > 32 && this.#head * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head)
      this.#head = 0
    }
  }

  /** Drops all chunks; call it when the cache no longer knows this log. */
  clear(): void {
    this.#chunks = []
    this.#head = 0
  }

  /**
   * Chunks from the one that holds `offset`, up to `bytesMax`, but at least one; undefined if the offset is older or
   * lost.
   */
  from(offset: number, bytesMax: number): TailChunk[] | undefined {
    const chunks = this.#chunks
    const first = chunks[this.#head]
    if (first === undefined || offset < first.firstOffset) return undefined
    let low = this.#head
    let high = chunks.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((chunks[middle] as TailChunk).nextOffset > offset) high = middle
      else low = middle + 1
    }
    const found: TailChunk[] = []
    let bytes = 0
    let next = offset
    for (let at = low; at < chunks.length; at++) {
      const chunk = chunks[at] as TailChunk
      // Records after the last chunk are lost.
      if (
        chunk.firstOffset > next ||
        chunk.nextOffset <= offset ||
        (found.length > 0 && bytes + chunk.to - chunk.from > bytesMax)
      )
        break
      found.push(chunk)
      bytes += chunk.to - chunk.from
      next = chunk.nextOffset
    }
    return found.length > 0 ? found : undefined
  }
}

/**
 * The newest blocks of the journal, whole, in their disk format: it serves consumers at the tail without a
 * copy. It releases the memory of blocks that leave. The process has one budget; the oldest block leaves first and
 * takes its
 * chunks out of every log.
 */
export class TailCache {
  readonly #bytesMax: number
  readonly #tailOf: (logId: number) => LogTail | undefined
  #blocks: (WrittenBlock | undefined)[] = []
  #head = 0
  #bytes = 0

  constructor(bytesMax: number, tailOf: (logId: number) => LogTail | undefined) {
    this.#bytesMax = bytesMax
    this.#tailOf = tailOf
  }

  get bytes(): number {
    return this.#bytes
  }

  add(block: WrittenBlock): void {
    const { memory } = block
    if (block.directory.length === 0) {
      memory?.release()
      return
    }
    for (const entry of block.directory) {
      this.#tailOf(entry.logId)?.push({
        firstOffset: entry.firstOffset,
        nextOffset: entry.firstOffset + entry.recordCount,
        block: block.bytes,
        from: entry.from,
        to: entry.from + entry.bytes,
        memory,
      })
    }
    this.#blocks.push(block)
    this.#bytes += memoryBytes(block)
    while (this.#bytes > this.#bytesMax && this.#head < this.#blocks.length) this.#evict()
  }

  #evict(): void {
    const oldest = this.#blocks[this.#head] as WrittenBlock
    this.#blocks[this.#head++] = undefined
    this.#bytes -= memoryBytes(oldest)
    for (const entry of oldest.directory) this.#tailOf(entry.logId)?.shift()
    oldest.memory?.release()
    if (this.#head > 256 && this.#head * 2 > this.#blocks.length) {
      this.#blocks = this.#blocks.slice(this.#head)
      this.#head = 0
    }
  }
}

function memoryBytes(block: WrittenBlock): number {
  return block.bytes.length + blockOverheadBytes + block.directory.length * chunkOverheadBytes
}
