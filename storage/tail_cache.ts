import type { SharedBuffer } from './buffer_pool.js'
import type { WrittenBlock } from './journal.js'

/** What one log has in one cached block. */
export interface TailChunk {
  readonly firstOffset: number
  readonly nextOffset: number
  /** Its batches stand in `block` from `from` to `to`. */
  readonly block: Uint8Array
  readonly from: number
  readonly to: number
  /** Retain it before the bytes are used in another turn, where it is there. */
  readonly memory: SharedBuffer | undefined
}

/** Memory that a block, and each log's chunk of it, takes beside its bytes. */
const blockOverheadBytes = 512
const chunkOverheadBytes = 320

/** The newest chunks of one log, oldest first. Where records were lost there is a gap. */
export class LogTail {
  #chunks: (TailChunk | undefined)[] = []
  #head = 0

  push(chunk: TailChunk): void {
    this.#chunks.push(chunk)
  }

  /** Lets go of the oldest chunk. */
  shift(): void {
    this.#chunks[this.#head++] = undefined
    if (this.#head > 32 && this.#head * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head)
      this.#head = 0
    }
  }

  /** Lets go of all chunks; to be called when the cache does not know of this log any more. */
  clear(): void {
    this.#chunks = []
    this.#head = 0
  }

  /**
   * Chunks from the one that holds `offset` on, up to `bytesMax`, but at least one; undefined when the offset is older or
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
      // Behind the last chunk are records that were lost.
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
 * The newest blocks of the journal, whole, as they were written: consumers that keep up are served from here without a
 * copy. It releases the memory of the blocks that it is given once they leave. One budget for the process; the oldest block leaves first and takes its chunks out of every log.
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
