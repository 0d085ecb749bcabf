import { type Block, decodeBlock, encodeBlock, type LogBatches } from './block.js'
import type { Engine, EngineOp } from './engine.js'
import { garbageKey, logKey, positionKey, positionOf, stateTables, tableRange } from './keys.js'
import type { LogTable } from './log_table.js'
import type { PartitionLog } from './partition_log.js'
import { splitRun } from './partition_log.js'
import type { State } from './state.js'

/** Work of one step, so that commits never wait long behind it. */
const pagesPerStep = 64
const blocksPerStep = 128
/** A block is rewritten without its dead batches when they are at least this share of it. */
const rewriteShare = 0.25
/** The journal is compacted where blocks were deleted once they are this share of what lives, or this old. */
const compactShare = 0.15
const compactBytesMin = 4 * 1024 * 1024
const compactAfterMs = 20_000
const statePagesMin = 256

export interface ReclaimParts {
  readonly logs: LogTable
  readonly state: State
  /** The engines as they are now: they change when a failure made the store reopen them. */
  journalEngine(): Engine
  stateEngine(): Engine
}

/**
 * Gives back the space of what retention dropped, in four steps that each can be cut short by a crash and begin again:
 * *collect* notes the blocks of dropped records as garbage in the state; a checkpoint makes that durable together with
 * the index that no longer names them; *sweep* deletes the blocks in which nothing lives, and rewrites those in which
 * little does; *compact* lets the engine drop what was deleted.
 */
export class Reclaim {
  readonly #parts: ReclaimParts
  /** What was deleted and not yet compacted: a range of positions. */
  #from = Number.POSITIVE_INFINITY
  #to = 0
  #bytes = 0
  #sinceMs = 0
  #statePages = 0

  constructor(parts: ReclaimParts) {
    this.#parts = parts
  }

  /** Notes that a block holds nothing that outlives the next checkpoint. */
  noteBlock(position: number): void {
    this.#parts.state.put(garbageKey(position), emptyValue)
  }

  /** Hands the blocks of dropped records over, some pages at a time. Returns whether there is more. */
  async collect(): Promise<boolean> {
    let pages = pagesPerStep
    for (const log of this.#parts.logs.trimmed) {
      while (pages > 0 && (await this.#collectPage(log))) pages--
      if (pages === 0) return true
    }
    return false
  }

  /** One page of one log; false when nothing of it is left to hand over. */
  async #collectPage(log: PartitionLog): Promise<boolean> {
    const { logs, state } = this.#parts
    const end = log.dropped ? log.endOffset : log.startOffset
    const page = log.reclaimedOffset < end ? await log.index.pageFrom(log.reclaimedOffset) : undefined
    let reclaimed = log.reclaimedOffset
    let whole = true
    for (const entry of page ?? []) {
      const entryEnd = entry.firstOffset + entry.recordCount
      if (entryEnd > end) {
        whole = false
        break
      }
      if (entry.position !== 0) this.noteBlock(entry.position)
      log.liveBytes -= entry.bytes
      reclaimed = entryEnd
    }
    const moved = reclaimed > log.reclaimedOffset
    log.reclaimedOffset = reclaimed
    logs.changed(log)
    if (moved && whole) {
      await log.index.deletePageBefore(reclaimed)
      this.#statePages++
    }
    if (moved && reclaimed < end) return true
    logs.trimmed.delete(log)
    if (log.dropped) {
      log.index.deleteNewestPage()
      state.del(logKey(log.id))
      logs.forget(log)
    }
    return false
  }

  /**
   * Deletes or rewrites blocks that a checkpoint has noted as garbage. Returns whether there is more.
   * @throws what the engine throws: a rejected write, after which nothing may be written
   */
  async sweep(): Promise<boolean> {
    const { state } = this.#parts
    const noted = await state.durableRange({ ...tableRange(stateTables.garbage), limit: blocksPerStep })
    if (noted.length === 0) return false
    const positions = noted.map(([key]) => positionOf(key, 1))
    const engine = this.#parts.journalEngine()
    const blocks = await engine.getMany(positions.map(positionKey))
    const ops: EngineOp[] = []
    for (const [index, position] of positions.entries()) {
      const bytes = blocks[index]
      const op = bytes === undefined ? undefined : this.#sweepBlock(position, bytes)
      if (op !== undefined) ops.push(op)
    }
    if (ops.length > 0) await engine.commit(ops)
    for (const position of positions) state.del(garbageKey(position))
    return noted.length === blocksPerStep
  }

  #sweepBlock(position: number, bytes: Uint8Array): EngineOp | undefined {
    let block: Block
    try {
      block = decodeBlock(bytes, position)
    } catch {
      // A damaged block stays: readers of its partitions are told, and nothing hides what was there.
      return undefined
    }
    const live = block.directory.filter((entry) => {
      const log = this.#parts.logs.get(entry.logId)
      return log !== undefined && entry.firstOffset + entry.recordCount > log.startOffset
    })
    const liveBytes = live.reduce((sum, entry) => sum + entry.bytes, 0)
    const deadBytes = bytes.length - liveBytes
    const key = positionKey(position)
    if (live.length > 0 && deadBytes < bytes.length * rewriteShare) return undefined
    this.#from = Math.min(this.#from, position)
    this.#to = Math.max(this.#to, position)
    if (this.#bytes === 0) this.#sinceMs = performance.now()
    this.#bytes += deadBytes
    if (live.length === 0) return { type: 'del', key }
    const logs: LogBatches[] = live.map((entry) => ({
      logId: entry.logId,
      firstOffset: entry.firstOffset,
      batches: splitRun(block.bytes.subarray(entry.from, entry.from + entry.bytes)),
      bytes: entry.bytes,
    }))
    return { type: 'put', key, value: encodeBlock(block, logs, []).bytes }
  }

  /** Lets the engines drop what was deleted, when it is worth it. */
  async compact(liveBytes: number): Promise<void> {
    const worth = this.#bytes >= Math.max(compactBytesMin, liveBytes * compactShare)
    const old = this.#bytes > 0 && performance.now() - this.#sinceMs >= compactAfterMs
    if (worth || old) {
      const [from, to] = [this.#from, this.#to]
      this.#from = Number.POSITIVE_INFINITY
      this.#to = 0
      this.#bytes = 0
      await this.#parts.journalEngine().compact(positionKey(from), positionKey(to + 1))
    }
    if (this.#statePages >= statePagesMin) {
      this.#statePages = 0
      const { gte, lt } = tableRange(stateTables.indexPage)
      await this.#parts.stateEngine().compact(gte, lt)
    }
  }
}

const emptyValue = new Uint8Array(0)
