import { isMillraceError } from '../protocol/index.js'
import type { Engine, EngineEntry } from './engine.js'
import {
  freedKey,
  garbageKey,
  journalEndKey,
  logIdOfGarbageKey,
  logKey,
  positionKey,
  positionOf,
  stateEndKey,
  stateTables,
  tableRange,
} from './keys.js'
import type { LogTable } from './log_table.js'
import type { PartitionLog } from './partition_log.js'
import {
  type DeadPart,
  decodeFreed,
  decodeGarbage,
  encodeFreed,
  encodeGarbage,
  type FreedRange,
  joinFreed,
  operationsOnly,
  partsPerRecordMax,
  piecesOf,
  worthwhile,
} from './reclaim_garbage.js'
import { type GarbageRecord, Sweeper } from './reclaim_sweep.js'
import type { State } from './state.js'

const mebibyte = 1024 * 1024

/** Thresholds of reclaim. FORMAT.md has the figures behind the defaults. */
export interface ReclaimLimits {
  /** Minimum of garbage for a round, as a share of the live bytes, */
  readonly garbageShareMin: number
  /** and in bytes, because a round has a fixed cost, */
  readonly garbageBytesMin: number
  /** unless this long has passed since the last round: */
  readonly patienceMs: number
  /** then this much is enough. */
  readonly patientBytesMin: number
  /** Reclaim rewrites a partly live block if at least this share of it is dead. */
  readonly rewriteShareMin: number
  /** Time for a partly live block to die as a whole, before the rewrite. */
  readonly rewriteDelayMs: number
  /** After a round, reclaim rests for this many times the duration of the round, */
  readonly restFactor: number
  /** but no longer than this. */
  readonly restMsMax: number
}

export const reclaimDefaults: ReclaimLimits = {
  garbageShareMin: 0.15,
  garbageBytesMin: 64 * mebibyte,
  patienceMs: 15_000,
  patientBytesMin: mebibyte,
  rewriteShareMin: 0.2,
  rewriteDelayMs: 5_000,
  restFactor: 8,
  restMsMax: 12_000,
}

const recordsPerStep = 128
const recordsPerCount = 1_024
/** Changes of the state that gather before collection waits for a checkpoint. */
const dirtyBytesMax = 8 * mebibyte
/** Freed blocks at most this far apart share a range; each further range costs another compaction. */
const freedGapMax = 1_024
const freedRangesMax = 64
/** Reclaim compacts the ranges with the most garbage first, until they make up this share of the freed bytes. */
const freedShare = 0.95
/** One call of the engine frees about this much: commits wait for its end, and so does close. */
const compactPieceBytes = 16 * mebibyte
/** Reclaim compacts the state after this many bytes of writes, and this share of its live bytes. */
const stateBytesMin = 4 * mebibyte
const stateShareMin = 0.05
const statePauseMs = 20_000
const indexEntryBytes = 32
/** After this many failures in a row reclaim leaves a freed range as it is. */
const compactionsMax = 3

export interface ReclaimParts {
  readonly logs: LogTable
  readonly state: State
  readonly limits: ReclaimLimits
  /** The current engines: they change when the store reopens after a failure. */
  journalEngine(): Engine
  stateEngine(): Engine
  /** Position of the newest block. */
  position(): number
  /** Makes all changes of the state until now durable; resolves also if that failed. */
  checkpoint(): Promise<void>
  /** False when the store closes or has failed: reclaim then stops between two steps. */
  active(): boolean
  /** Whether the last rejected write failed because the disk was full. */
  diskWasFull(): boolean
  /** Reports damage that prevents reclaim. */
  problem(text: string): void
}

/**
 * Frees the space of dropped records. A crash can interrupt a round at any point, and the round begins again:
 * *collect* writes garbage records for dead parts of blocks to the state, together with the index that no longer names
 * them. Once they are worth a round, a checkpoint makes them durable. *sweep* deletes dead blocks
 * and rewrites mostly dead ones. *compact* lets the engine free the space.
 */
export class Reclaim {
  readonly #parts: ReclaimParts
  readonly #sweeper: Sweeper
  /** The growing record of blocks that hold only operations. */
  #operations: DeadPart[] = []
  /** From this block on, records of operations grow, or the last checkpoint has them only in part: sweep leaves them. */
  #operationsFrom = Number.POSITIVE_INFINITY
  /** Bytes in garbage records, approximately: a crash can make it count a part twice. */
  #garbageBytes = 0
  /** Bytes of these whose blocks still have time to die as a whole, and the end of that time. */
  #deferredBytes = 0
  #deferredUntilMs = 0
  #freed: readonly FreedRange[] = []
  #loaded = false
  #roundEndedMs = performance.now()
  #restUntilMs = 0
  /** Bytes of deleted index pages, minus the dead bytes of the state at its last compaction. */
  #stateBytes = 0
  #stateCompactedMs = performance.now()
  /** The engine that compacted the freed ranges, until the next call verifies success. */
  #compactedBy: Engine | undefined
  /** Number of consecutive engine failures after a compaction. */
  #failedCompactions = 0
  /** The reclaim tables of the state are damaged. */
  #damaged = false

  constructor(parts: ReclaimParts) {
    this.#parts = parts
    this.#sweeper = new Sweeper(parts)
  }

  /** Records that a block holds only operations: nothing in it is needed after the next checkpoint. */
  noteBlock(position: number, bytes: number): void {
    if (this.#operations.length === partsPerRecordMax) this.#operations = []
    this.#operations.push({ position, bytes })
    this.#operationsFrom = Math.min(this.#operationsFrom, position)
    this.#garbageBytes += bytes
    this.#putRecord(operationsOnly, this.#operations)
  }

  /**
   * Collects garbage, and does a round if there is enough. Calls must not overlap.
   * @throws the errors of the engines: a rejected write, after which nothing may be written
   */
  async run(): Promise<void> {
    for (const log of this.#parts.logs.trimmed) await this.#collect(log)
    if (this.#damaged) return
    try {
      if (!this.#loaded) await this.#load()
      await this.#settleCompaction()
      if (this.#isWorthwhile()) await this.#round()
      if (this.#isStateWorthwhile()) await this.#compactState()
    } catch (error) {
      if (!isMillraceError(error, 'CORRUPT')) throw error
      this.#damaged = true
      this.#parts.problem(`the broker can't free disk space: ${error.message}`)
    }
  }

  async #round(): Promise<void> {
    const startedMs = performance.now()
    // If the round stops early, the next call counts the work again.
    this.#loaded = false
    this.#garbageBytes = 0
    // Notes during the checkpoint go to another record, so that the checkpoint has this record complete.
    this.#operations = []
    this.#operationsFrom = Number.POSITIVE_INFINITY
    await this.#parts.checkpoint()
    await this.#sweep()
    await this.#parts.checkpoint()
    await this.#compact()
    this.#loaded = this.#parts.active()
    const { restFactor, restMsMax } = this.#parts.limits
    this.#roundEndedMs = performance.now()
    const restMs = Math.min(restMsMax, (this.#roundEndedMs - startedMs) * restFactor)
    this.#restUntilMs = this.#roundEndedMs + restMs
  }

  /** Loads the unfinished work of a store that was closed or crashed. */
  async #load(): Promise<void> {
    const { state } = this.#parts
    const freed: FreedRange[] = []
    for (const [key, value] of await state.range({ ...tableRange(stateTables.freed), limit: freedRangesMax }))
      freed.push(decodeFreed(positionOf(key, 1), value))
    let garbageBytes = 0
    // Notes during this read may count twice, but are never missed.
    this.#garbageBytes = 0
    const { gte, lt } = tableRange(stateTables.garbage)
    for await (const entries of this.#pages((options) => state.range(options), gte, lt, recordsPerCount))
      for (const [, value] of entries) garbageBytes += bytesOf(decodeGarbage(value))
    this.#freed = freed
    this.#garbageBytes += garbageBytes
    this.#loaded = true
  }

  /** Collects the blocks of one log's dropped records, page by page of its index. */
  async #collect(log: PartitionLog): Promise<void> {
    try {
      while (this.#parts.active() && (await this.#collectPage(log)))
        if (this.#parts.state.dirtyBytes > dirtyBytesMax) await this.#parts.checkpoint()
    } catch (error) {
      if (!isMillraceError(error, 'CORRUPT')) throw error
      this.#parts.logs.trimmed.delete(log)
      this.#parts.problem(`the broker can't free the disk space of partition log ${log.id}: ${error.message}`)
    }
  }

  /** Returns whether there is more. It makes all its changes in one turn, so a checkpoint has all or none. */
  async #collectPage(log: PartitionLog): Promise<boolean> {
    const { logs } = this.#parts
    const found = log.index.pageAt(log.reclaimedOffset)
    // No pause if the page is in memory: what follows must see the log and its newest page of one moment.
    const page = found instanceof Promise ? await found : found
    const end = log.dropped ? log.endOffset : log.startOffset
    const from = log.reclaimedOffset
    const dead: DeadPart[] = []
    let whole = true
    for (const { firstOffset, recordCount, position, bytes } of page?.from(0) ?? []) {
      const next = firstOffset + recordCount
      if (next <= from) continue
      if (next > end) {
        whole = false
        break
      }
      if (position !== 0) dead.push({ position, bytes })
      log.liveBytes -= bytes
      log.reclaimedOffset = next
    }
    if (dead.length > 0) this.#putRecord(log.id, dead)
    this.#garbageBytes += bytesOf(dead)
    const first = page?.firstOffset
    if (whole && page !== undefined && first !== undefined && log.index.deletePage(first))
      this.#stateBytes += page.count * indexEntryBytes
    if (log.reclaimedOffset > from) logs.changed(log)
    if (log.reclaimedOffset > from && log.reclaimedOffset < end) return true
    logs.trimmed.delete(log)
    if (log.dropped) {
      log.index.deleteNewestPage()
      this.#parts.state.del(logKey(log.id))
      logs.forget(log)
    }
    return false
  }

  #putRecord(logId: number, dead: readonly DeadPart[]): void {
    const [first] = dead
    if (first === undefined) return
    const key = garbageKey(first.position, logId)
    this.#parts.state.put(key, encodeGarbage(dead))
    this.#sweeper.noted(key)
  }

  #isWorthwhile(): boolean {
    const { logs, limits } = this.#parts
    const now = performance.now()
    const waiting = now < this.#deferredUntilMs ? this.#deferredBytes : 0
    const bytes = this.#garbageBytes - waiting + bytesOf(this.#freed)
    const patient = now >= this.#roundEndedMs + limits.patienceMs
    const least = patient ? limits.patientBytesMin : limits.garbageBytesMin
    const bytesMin = Math.max(1, least, logs.liveBytes * limits.garbageShareMin)
    return this.#parts.active() && bytes >= bytesMin && now >= this.#restUntilMs
  }

  async #sweep(): Promise<void> {
    const { state, limits } = this.#parts
    this.#deferredBytes = 0
    const { gte } = tableRange(stateTables.garbage)
    const lt = garbageKey(this.#parts.position() + 1, 0)
    for await (const entries of this.#pages((o) => state.durableRange(o), gte, lt, recordsPerStep)) {
      const whole = entries.filter(([key]) => !isOperationsFrom(key, this.#operationsFrom))
      await this.#sweepRecords(whole.map(([key, value]) => ({ key, parts: decodeGarbage(value) })))
    }
    this.#deferredUntilMs = performance.now() + limits.rewriteDelayMs
  }

  async #sweepRecords(records: readonly GarbageRecord[]): Promise<void> {
    const { state } = this.#parts
    const swept = await this.#sweeper.sweep(records)
    for (const { key, parts } of swept.remaining) {
      if (parts.length === 0) state.del(key)
      else state.put(key, encodeGarbage(parts))
      this.#deferredBytes += bytesOf(parts)
      this.#garbageBytes += bytesOf(parts)
    }
    this.#setFreed(joinFreed([...this.#freed, ...swept.freed], freedGapMax, freedRangesMax))
  }

  #setFreed(freed: readonly FreedRange[]): void {
    const { state } = this.#parts
    const kept = new Set(freed)
    for (const range of this.#freed) if (!kept.has(range)) state.del(freedKey(range.from))
    const known = new Set(this.#freed)
    for (const range of freed) if (!known.has(range)) state.put(freedKey(range.from), encodeFreed(range))
    this.#freed = freed
  }

  async #compact(): Promise<void> {
    if (this.#freed.length === 0) return
    const engine = this.#parts.journalEngine()
    for (const range of worthwhile(this.#freed, freedShare)) {
      for (const [from, to] of piecesOf(range, compactPieceBytes)) {
        if (!this.#parts.active()) return
        await engine.compact(positionKey(from), positionKey(to + 1))
      }
    }
    this.#compactedBy = engine
  }

  /**
   * LevelDB reports a failed compaction only at the next write, so this makes a write: nobody else does while a full disk
   * refuses commits. If it is rejected, the store reopens the engine, which deletes the files of the failed compaction,
   * and reclaim compacts the ranges again. The flush deletes files that became obsolete while readers held them open.
   */
  async #settleCompaction(): Promise<void> {
    const engine = this.#compactedBy
    if (engine === undefined) return
    if (engine !== this.#parts.journalEngine()) {
      this.#compactedBy = undefined
      if (!this.#parts.diskWasFull()) this.#giveUpCompaction()
      return
    }
    await engine.commit(this.#freed.map(({ from }) => ({ type: 'del', key: keyAfter(from) })))
    this.#compactedBy = undefined
    await engine.compact(journalEndKey, journalEndKey)
    this.#failedCompactions = 0
    this.#setFreed([])
  }

  /** With a damaged file no compaction succeeds, and each attempt makes the store reopen its databases. */
  #giveUpCompaction(): void {
    this.#failedCompactions++
    if (this.#failedCompactions < compactionsMax) return
    this.#failedCompactions = 0
    const ranges = this.#freed.map(({ from, to }) => `${from} to ${to}`).join(', ')
    this.#parts.problem(
      `the broker can't free the disk space of blocks ${ranges}: their compaction failed ${compactionsMax} times`,
    )
    this.#setFreed([])
  }

  /** LevelDB keeps replaced entries until files of a level overflow: a lot compared with a small log. */
  #isStateWorthwhile(): boolean {
    const bytes = this.#stateBytes + this.#parts.state.writtenBytes
    const bytesMin = Math.max(stateBytesMin, this.#parts.logs.liveBytes * stateShareMin)
    const rested = performance.now() >= this.#stateCompactedMs + statePauseMs
    return this.#parts.active() && rested && bytes >= bytesMin
  }

  async #compactState(): Promise<void> {
    this.#stateBytes = -this.#parts.state.writtenBytes
    const { gte } = tableRange(stateTables.checkpoint)
    await this.#parts.stateEngine().compact(gte, stateEndKey)
    this.#stateCompactedMs = performance.now()
  }

  /** Entries from `gte` to `lt`, `limit` at a time, while reclaim may continue. */
  async *#pages(
    read: State['range'],
    gte: Uint8Array,
    lt: Uint8Array,
    limit: number,
  ): AsyncGenerator<readonly EngineEntry[]> {
    for (let from = gte; this.#parts.active(); ) {
      const entries = await read({ gte: from, lt, limit })
      if (entries.length > 0) yield entries
      const last = entries.at(-1)
      if (last === undefined || entries.length < limit) return
      from = Buffer.concat([last[0], Uint8Array.of(0)])
    }
  }
}

/** Whether this is the key of a record of operations that begins with this block or a later one. */
function isOperationsFrom(key: Uint8Array, position: number): boolean {
  return logIdOfGarbageKey(key) === operationsOnly && positionOf(key, 1) >= position
}

/** A key between this position and the next, which no block has. */
function keyAfter(position: number): Uint8Array {
  return Buffer.concat([positionKey(position), Uint8Array.of(0)])
}

function bytesOf(parts: readonly { readonly bytes: number }[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0)
}
