import { isMillraceError } from '../protocol/index.js'
import type { Engine, EngineEntry } from './engine.js'
import {
  freedKey,
  garbageKey,
  journalEndKey,
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

/** When space is given back. Figures behind the defaults stand in FORMAT.md. */
export interface ReclaimLimits {
  /** Least garbage that a round is worth, as a share of the bytes that live. */
  readonly garbageShareMin: number
  /** And in bytes, since a round has a cost that does not depend on what it frees, */
  readonly garbageBytesMin: number
  /** unless this long has passed since the last round: */
  readonly patienceMs: number
  /** then so much is enough. */
  readonly patientBytesMin: number
  /** A block that still lives in part is rewritten when its dead bytes are at least this share of it. */
  readonly rewriteShareMin: number
  /** How long a block that lives in part is given to die as a whole before it is rewritten. */
  readonly rewriteDelayMs: number
  /** After a round, reclaim rests this many times as long as the round took, */
  readonly restFactor: number
  /** and no longer than this. */
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
/** Changes of the state that gather before collecting waits for a checkpoint. */
const dirtyBytesMax = 8 * mebibyte
/** Freed blocks no further apart than this share a range; a range more costs another compaction. */
const freedGapMax = 1_024
const freedRangesMax = 64
/** Ranges are compacted, those that free most first, until they make up this share of what was freed. */
const freedShare = 0.95
/** One call of the engine frees about this much: commits wait for the end of it, and so does closing. */
const compactPieceBytes = 16 * mebibyte
/** The state is compacted when this was written to it since the last time, and this share of the bytes that live. */
const stateBytesMin = 4 * mebibyte
const stateShareMin = 0.05
const statePauseMs = 20_000
const indexEntryBytes = 32
/** After so many failures in a row what was freed stays as it is. */
const compactionsMax = 3

export interface ReclaimParts {
  readonly logs: LogTable
  readonly state: State
  readonly limits: ReclaimLimits
  /** The engines as they are now: they change when a failure made the store reopen them. */
  journalEngine(): Engine
  stateEngine(): Engine
  /** Position of the newest block. */
  position(): number
  /** Makes the state durable; resolves also when that failed. */
  checkpoint(): Promise<void>
  /** False once the store closes or has failed: reclaim then stops between two steps. */
  active(): boolean
  /** Tells people about damage that keeps space from being given back. */
  problem(text: string): void
}

/**
 * Gives back the space of what retention dropped. A round can be cut short by a crash anywhere and begins again:
 * *collect* notes in the state which parts of which blocks are garbage, together with the index that no longer names
 * them; once that is worth a round, a checkpoint makes it durable; *sweep* deletes the blocks in which nothing lives
 * and rewrites those in which little does; *compact* lets the engine drop what was deleted.
 */
export class Reclaim {
  readonly #parts: ReclaimParts
  readonly #sweeper: Sweeper
  /** The record that grows by blocks that hold operations only. */
  #operations: DeadPart[] = []
  /** Bytes in garbage records, roughly: it may count what a crash let be noted twice. */
  #garbageBytes = 0
  /** Of these, what waits for its blocks to die as a whole, and until when. */
  #deferredBytes = 0
  #deferredUntilMs = 0
  #freed: readonly FreedRange[] = []
  #loaded = false
  #roundEndedMs = performance.now()
  #restUntilMs = 0
  /** Bytes of index pages that were deleted, less what was dead of the state when it was last compacted. */
  #stateBytes = 0
  #stateCompactedMs = performance.now()
  /** The engine that has compacted what was freed, until the next call settles that. */
  #compactedBy: Engine | undefined
  /** How often the engine has failed behind a compaction, one after the other. */
  #failedCompactions = 0
  /** The state is damaged where reclaim keeps its notes. */
  #damaged = false

  constructor(parts: ReclaimParts) {
    this.#parts = parts
    this.#sweeper = new Sweeper(parts)
  }

  /** Notes that a block holds operations only: nothing of it outlives the next checkpoint. */
  noteBlock(position: number, bytes: number): void {
    if (this.#operations.length === partsPerRecordMax) this.#operations = []
    this.#operations.push({ position, bytes })
    this.#garbageBytes += bytes
    this.#putRecord(operationsOnly, this.#operations)
  }

  /**
   * Looks for garbage, and does a round if there is enough. Calls must not overlap.
   * @throws what the engines throw: a rejected write, after which nothing may be written
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
      this.#parts.problem(`space can't be given back: ${error.message}`)
    }
  }

  async #round(): Promise<void> {
    const startedMs = performance.now()
    // If this is cut short, the next call counts anew what there is to do.
    this.#loaded = false
    this.#garbageBytes = 0
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

  /** Takes up what a store that was closed or crashed left to do. */
  async #load(): Promise<void> {
    const { state } = this.#parts
    const freed: FreedRange[] = []
    for (const [key, value] of await state.range({ ...tableRange(stateTables.freed), limit: freedRangesMax }))
      freed.push(decodeFreed(positionOf(key, 1), value))
    let garbageBytes = 0
    const { gte, lt } = tableRange(stateTables.garbage)
    for await (const entries of this.#pages((options) => state.range(options), gte, lt, recordsPerCount))
      for (const [, value] of entries) garbageBytes += bytesOf(decodeGarbage(value))
    this.#freed = freed
    this.#garbageBytes = garbageBytes
    this.#loaded = true
  }

  /** Hands over the blocks of one log's dropped records, page by page of its index. */
  async #collect(log: PartitionLog): Promise<void> {
    try {
      while (this.#parts.active() && (await this.#collectPage(log)))
        if (this.#parts.state.dirtyBytes > dirtyBytesMax) await this.#parts.checkpoint()
    } catch (error) {
      if (!isMillraceError(error, 'CORRUPT')) throw error
      this.#parts.logs.trimmed.delete(log)
      this.#parts.problem(`space of partition log ${log.id} can't be given back: ${error.message}`)
    }
  }

  /** Returns whether there is more. Changes all it has to change in one turn: a checkpoint sees all or nothing. */
  async #collectPage(log: PartitionLog): Promise<boolean> {
    const { logs } = this.#parts
    const page = await log.index.pageAt(log.reclaimedOffset)
    const end = log.dropped ? log.endOffset : log.startOffset
    const from = log.reclaimedOffset
    const dead: DeadPart[] = []
    let whole = true
    for (const { firstOffset, recordCount, position, bytes } of page ?? []) {
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
    const first = page?.[0]
    if (whole && page !== undefined && first !== undefined && log.index.deletePage(first.firstOffset))
      this.#stateBytes += page.length * indexEntryBytes
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
    this.#operations = []
    this.#deferredBytes = 0
    const { gte } = tableRange(stateTables.garbage)
    // Not what is noted while this runs: its record may be growing.
    const lt = garbageKey(this.#parts.position() + 1, 0)
    for await (const entries of this.#pages((o) => state.durableRange(o), gte, lt, recordsPerStep))
      await this.#sweepRecords(entries.map(([key, value]) => ({ key, parts: decodeGarbage(value) })))
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
   * LevelDB reports a compaction that failed only to the next write, upon which the store reopens it: then what was
   * freed is compacted again. Flushing deletes files that readers held open when they became obsolete.
   */
  async #settleCompaction(): Promise<void> {
    const engine = this.#compactedBy
    if (engine === undefined) return
    this.#compactedBy = undefined
    if (engine !== this.#parts.journalEngine()) {
      this.#giveUpCompaction()
      return
    }
    await engine.compact(journalEndKey, journalEndKey)
    this.#failedCompactions = 0
    this.#setFreed([])
  }

  /** Where a file is damaged, no compaction will succeed, and each makes the store reopen its databases. */
  #giveUpCompaction(): void {
    this.#failedCompactions++
    if (this.#failedCompactions < compactionsMax) return
    this.#failedCompactions = 0
    const ranges = this.#freed.map(({ from, to }) => `${from} to ${to}`).join(', ')
    this.#parts.problem(
      `space of blocks ${ranges} can't be given back: compacting them fails again and again`,
    )
    this.#setFreed([])
  }

  /** LevelDB keeps what was overwritten until files of a level overflow: much beside a log that is small itself. */
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

  /** Entries from `gte` to `lt`, `limit` at a time, as long as reclaim may go on. */
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

function bytesOf(parts: readonly { readonly bytes: number }[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0)
}
