import { isMillraceError } from '../protocol/index.js'
import { blockBytes, type DirectoryEntry, encodeBlock, type LogBatches, type Operation } from './block.js'
import { BufferPool, SharedBuffer } from './buffer_pool.js'
import type { Engine } from './engine.js'
import { journalEndKey, positionKey, positionOf } from './keys.js'
import { Permits } from './permits.js'
import type { Checkpoint } from './state.js'

/**
 * Small operations of a commit share a block up to this size; a log with more than half of it gets blocks of its own.
 */
export const sharedBlockBytesMax = 64 * 1024
/**
 * From this size on, the part of one log in a commit shares no block. Reclaim deletes such blocks without a read:
 * the number may fall, but must never rise.
 */
export const ownBlockBytesMin = 32 * 1024

/**
 * Most blocks that all readers together read at a time: during a read by the engine they are in memory twice, and
 * no budget knows their size in advance.
 */
export const blocksInFlightMax = 64

/** More blocks than a file of the engine holds: a position further away does not belong to this journal. */
const probesMax = 32_768

/** A durable block. */
export interface WrittenBlock {
  readonly position: number
  readonly bytes: Uint8Array
  /** Holds `bytes` if they are reused; the tail cache is its first user. */
  readonly memory?: SharedBuffer
  readonly directory: readonly DirectoryEntry[]
  readonly operations: readonly Operation[]
}

/** An encoded commit. */
export interface EncodedCommit {
  readonly blocks: readonly WrittenBlock[]
  /** Position of its newest block. */
  readonly last: Checkpoint
}

interface BlockContent {
  readonly logs: LogBatches[]
  readonly operations: Operation[]
}

/**
 * The sequence of blocks: writes them, one commit after the other, and reads and verifies them. It does not know the
 * meaning of operations.
 */
export class Journal {
  readonly #engine: Engine
  readonly #pool: BufferPool
  readonly #reads = new Permits(blocksInFlightMax)
  /** The newest durable block. */
  #last: Checkpoint
  /** The newest encoded block. */
  #encoded: Checkpoint

  /** @param pool provides the memory of blocks */
  constructor(engine: Engine, last: Checkpoint, pool = new BufferPool(0)) {
    this.#engine = engine
    this.#pool = pool
    this.#last = last
    this.#encoded = last
  }

  /**
   * Encodes the next commit, if needed during the write of the previous one. The caller must write encoded commits in
   * order.
   */
  encode(logs: readonly LogBatches[], operations: readonly Operation[]): EncodedCommit {
    const contents = packBlocks(logs, operations)
    const blocks: WrittenBlock[] = []
    let { position, link } = this.#encoded
    for (const [index, content] of contents.entries()) {
      position++
      const place = { position, previousLink: link, indexInCommit: index, blocksInCommit: contents.length }
      const memory = new SharedBuffer(this.#pool, blockBytes(content.logs, content.operations))
      const block = encodeBlock(place, content.logs, content.operations, memory.bytes)
      link = block.link
      blocks.push({
        position,
        bytes: block.bytes,
        memory,
        directory: block.directory,
        operations: content.operations,
      })
    }
    this.#encoded = { position, link }
    return { blocks, last: this.#encoded }
  }

  /**
   * Writes one commit. Do not call it again before it resolves.
   * @throws the error of the engine; nothing may be written through this journal afterwards
   */
  async write({ blocks, last }: EncodedCommit): Promise<void> {
    const [first] = blocks
    const room = first && this.#engine.appending?.(positionKey(first.position))
    if (room !== undefined) await room
    await this.#engine.commit(
      blocks.map((block) => ({ type: 'put' as const, key: positionKey(block.position), value: block.bytes })),
    )
    this.#last = last
  }

  /** The newest durable block. */
  get last(): Checkpoint {
    return this.#last
  }

  /**
   * Reads raw blocks at these positions; undefined for a missing block, and for one that the engine cannot read.
   * @throws RangeError for more than `blocksInFlightMax`
   */
  async readRaw(positions: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    await this.#reads.acquire(positions.length)
    try {
      return await this.#readMany(positions)
    } finally {
      this.#reads.release(positions.length)
    }
  }

  async #readMany(positions: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    const found = await this.#engine.getMany(positions.map(positionKey)).catch((error: unknown) => {
      if (!isMillraceError(error, 'CORRUPT')) throw error
      return positions.map(() => undefined)
    })
    for (const [index, position] of positions.entries()) found[index] ??= await this.#readOne(position)
    return found
  }

  /** A range read does not use the filters, which can hide an entry from a point read. */
  async #readOne(position: number): Promise<Uint8Array | undefined> {
    try {
      const range = { gte: positionKey(position), lt: positionKey(position + 1), limit: 1 }
      const [entry] = await this.#engine.range(range)
      return entry?.[1]
    } catch (error) {
      if (!isMillraceError(error, 'CORRUPT')) throw error
      return this.#engine.get(positionKey(position)).catch(() => undefined)
    }
  }

  /**
   * Reads at most `limit` raw blocks from `from`; if the engine cannot read a range, the blocks that it can read one by
   * one.
   */
  async scan(from: number, limit: number): Promise<Scan> {
    try {
      const entries = await this.#engine.range({ gte: positionKey(from), lt: journalEndKey, limit })
      const blocks = entries.map(([key, bytes]) => ({ position: positionOf(key), bytes }))
      return { blocks, damaged: false, isEnd: blocks.length < limit }
    } catch (error) {
      if (!isMillraceError(error, 'CORRUPT')) throw error
    }
    for (let position = from; position < from + probesMax; position++) {
      const bytes = await this.#readOne(position)
      if (bytes !== undefined)
        return { blocks: [{ position, bytes }], damaged: position > from, isEnd: false }
    }
    return { blocks: [], damaged: true, isEnd: true }
  }
}

/** Blocks in the order of their positions. */
export interface Scan {
  readonly blocks: readonly { readonly position: number; readonly bytes: Uint8Array }[]
  /** The engine could not read the blocks between them, or those that follow. */
  readonly damaged: boolean
  readonly isEnd: boolean
}

/** Distributes the content of a commit to blocks. */
function packBlocks(logs: readonly LogBatches[], operations: readonly Operation[]): BlockContent[] {
  const blocks: BlockContent[] = []
  let shared: BlockContent = { logs: [], operations: [] }
  let sharedBytes = 0
  const flush = () => {
    if (shared.logs.length + shared.operations.length > 0) blocks.push(shared)
    shared = { logs: [], operations: [] }
    sharedBytes = 0
  }
  for (const log of logs) {
    if (log.bytes >= ownBlockBytesMin) {
      for (const part of splitLog(log)) blocks.push({ logs: [part], operations: [] })
      continue
    }
    if (sharedBytes + log.bytes > sharedBlockBytesMax) flush()
    shared.logs.push(log)
    sharedBytes += log.bytes
  }
  for (const operation of operations) {
    if (sharedBytes + operation.payload.length > sharedBlockBytesMax) flush()
    shared.operations.push(operation)
    sharedBytes += blockBytes([], [operation])
  }
  flush()
  return blocks
}

/** Cuts the batches of one log in a commit into parts of about one block. */
function splitLog(log: LogBatches): LogBatches[] {
  const parts: LogBatches[] = []
  let batches: Uint8Array[] = []
  let bytes = 0
  let firstOffset = log.firstOffset
  let count = 0
  for (const batch of log.batches) {
    if (bytes > 0 && bytes + batch.length > sharedBlockBytesMax) {
      parts.push({ logId: log.logId, firstOffset, batches, bytes })
      firstOffset += count
      batches = []
      bytes = 0
      count = 0
    }
    batches.push(batch)
    bytes += batch.length
    count += recordCountOf(batch)
  }
  parts.push({ logId: log.logId, firstOffset, batches, bytes })
  return parts
}

function recordCountOf(batch: Uint8Array): number {
  return new DataView(batch.buffer, batch.byteOffset).getUint32(20, true)
}
