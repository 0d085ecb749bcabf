import { setTimeout as pause } from 'node:timers/promises'
import {
  type BlockHead,
  type DirectoryEntry,
  decodeBlock,
  decodeDamagedHead,
  encodeBlock,
  type LogBatches,
} from './block.js'
import type { Engine, EngineOp } from './engine.js'
import { ownBlockBytesMin } from './journal.js'
import { journalEndKey, positionKey } from './keys.js'
import type { LogTable } from './log_table.js'
import { splitRun } from './partition_log.js'
import type { DeadPart, FreedRange } from './reclaim_garbage.js'

/** A step reads this many blocks and commits their rewrites: about 2 MiB, which hardly delays publishers. */
const blocksPerStep = 32
const deletionsPerCommit = 512
const pauseMsMax = 50
/** Most records that wait for their blocks to die; further ones do not wait. */
const waitingMax = 4_096

export interface GarbageRecord {
  readonly key: Uint8Array
  readonly parts: readonly DeadPart[]
}

export interface Swept {
  /** The records with their remaining parts; without parts if all is done. */
  readonly remaining: readonly GarbageRecord[]
  /** The ranges that compaction can free now. */
  readonly freed: readonly FreedRange[]
}

export interface SweeperParts {
  readonly logs: LogTable
  readonly limits: { readonly rewriteShareMin: number; readonly rewriteDelayMs: number }
  journalEngine(): Engine
  position(): number
  active(): boolean
}

/** The result for a block. `waits`: it is partly live and may soon be dead as a whole. */
type Fate = 'gone' | 'rewritten' | 'kept' | 'waits'

interface Verdict {
  readonly fate: Fate
  readonly op?: EngineOp
}

/** Deletes and rewrites blocks whose dead parts are in a durable record. */
export class Sweeper {
  readonly #parts: SweeperParts
  /** The earliest rewrite of the blocks of a record, by the record's key; at once if it is missing here. */
  readonly #rewriteAtMs = new Map<string, number>()
  /** The engine has written blocks up to here to files. */
  #flushedPosition = 0

  constructor(parts: SweeperParts) {
    this.#parts = parts
  }

  /** @throws the errors of the engine: a rejected write, after which nothing may be written */
  async sweep(records: readonly GarbageRecord[]): Promise<Swept> {
    const rewritable = new Set<number>()
    const bytesAt = new Map<number, number>()
    for (const record of records) {
      const due = this.#isDue(record)
      for (const { position, bytes } of record.parts) {
        if (due) rewritable.add(position)
        bytesAt.set(position, Math.max(bytes, bytesAt.get(position) ?? 0))
      }
    }
    const positions = [...bytesAt.keys()].sort((a, b) => a - b)
    await this.#flushUpTo(positions.at(-1) ?? 0)
    // A part of this size has a block of its own: no read needed.
    const alone = (position: number): boolean => (bytesAt.get(position) ?? 0) >= ownBlockBytesMin
    const fates = await this.#deleteUnread(positions.filter(alone))
    const shared = positions.filter((position) => !alone(position))
    for (let at = 0; at < shared.length && this.#parts.active(); at += blocksPerStep)
      await this.#sweepBlocks(shared.slice(at, at + blocksPerStep), rewritable, fates)
    return this.#settle(records, fates)
  }

  /** Gives the blocks of a new record time to die as a whole. */
  noted(key: Uint8Array): void {
    if (this.#rewriteAtMs.size < waitingMax)
      this.#rewriteAtMs.set(idOf(key), performance.now() + this.#parts.limits.rewriteDelayMs)
  }

  /** Whether sweep rewrites partly live blocks of this record now. */
  #isDue({ key }: GarbageRecord): boolean {
    return performance.now() >= (this.#rewriteAtMs.get(idOf(key)) ?? 0)
  }

  async #deleteUnread(positions: readonly number[]): Promise<Map<number, Fate>> {
    const fates = new Map<number, Fate>()
    for (let at = 0; at < positions.length && this.#parts.active(); at += deletionsPerCommit) {
      const step = positions.slice(at, at + deletionsPerCommit)
      await this.#commit(step.map(deletion))
      for (const position of step) fates.set(position, 'gone')
    }
    return fates
  }

  async #sweepBlocks(
    positions: readonly number[],
    rewritable: ReadonlySet<number>,
    fates: Map<number, Fate>,
  ): Promise<void> {
    const blocks = await this.#parts.journalEngine().getMany(positions.map(positionKey))
    const ops: EngineOp[] = []
    for (const [index, position] of positions.entries()) {
      const bytes = blocks[index]
      const { fate, op } =
        bytes === undefined
          ? { fate: 'gone' as const }
          : this.#judge(position, bytes, rewritable.has(position))
      fates.set(position, fate)
      if (op !== undefined) ops.push(op)
    }
    if (ops.length > 0) await this.#commit(ops)
  }

  #judge(position: number, bytes: Uint8Array, rewritable: boolean): Verdict {
    const head = headOf(bytes, position)
    // Keeps a block of unknown content: readers of its partitions get an error, and no data disappears silently.
    if (head === undefined) return { fate: 'kept' }
    const live = head.directory.filter((entry) => this.#isLive(entry))
    if (live.length === 0) return { fate: 'gone', op: deletion(position) }
    const liveBytes = live.reduce((sum, entry) => sum + entry.bytes, 0)
    const deadShare = 1 - liveBytes / bytes.length
    if (!head.whole || deadShare < this.#parts.limits.rewriteShareMin) return { fate: 'kept' }
    if (!rewritable) return { fate: 'waits' }
    const { bytes: value } = encodeBlock(
      head,
      live.map((entry) => batchesOf(bytes, entry)),
      [],
    )
    return { fate: 'rewritten', op: { type: 'put', key: positionKey(position), value } }
  }

  #isLive({ logId, firstOffset, recordCount }: DirectoryEntry): boolean {
    const log = this.#parts.logs.get(logId)
    return log !== undefined && firstOffset + recordCount > log.startOffset
  }

  /**
   * LevelDB does not drop an entry that was written and deleted within one memtable: such a table goes to a level that
   * is
   * not compacted. So blocks must be on disk before their deletion.
   */
  async #flushUpTo(position: number): Promise<void> {
    if (position <= this.#flushedPosition) return
    const newest = this.#parts.position()
    await this.#parts.journalEngine().compact(journalEndKey, journalEndKey)
    this.#flushedPosition = newest
  }

  /** Leaves half of the disk's time to publishers. */
  async #commit(ops: readonly EngineOp[]): Promise<void> {
    const startedMs = performance.now()
    await this.#parts.journalEngine().commit(ops)
    await pause(Math.min(pauseMsMax, performance.now() - startedMs))
  }

  #settle(records: readonly GarbageRecord[], fates: ReadonlyMap<number, Fate>): Swept {
    const freed: FreedRange[] = []
    const remaining = records.map(({ key, parts }) => {
      const left: DeadPart[] = []
      for (const part of parts) {
        const fate = fates.get(part.position)
        // No result: there was no time for it.
        if (fate === undefined || fate === 'waits') left.push(part)
        else if (fate !== 'kept') freed.push({ from: part.position, to: part.position, bytes: part.bytes })
      }
      if (left.length === 0) this.#rewriteAtMs.delete(idOf(key))
      return { key, parts: left }
    })
    return { remaining, freed }
  }
}

function deletion(position: number): EngineOp {
  return { type: 'del', key: positionKey(position) }
}

/** The head of a block and whether its body is whole too; undefined if the head is unreadable. */
function headOf(bytes: Uint8Array, position: number): (BlockHead & { readonly whole: boolean }) | undefined {
  try {
    return { ...decodeBlock(bytes, position), whole: true }
  } catch {
    const head = decodeDamagedHead(bytes, position)
    return head && { ...head, whole: false }
  }
}

function batchesOf(block: Uint8Array, { logId, firstOffset, from, bytes }: DirectoryEntry): LogBatches {
  return { logId, firstOffset, batches: splitRun(block.subarray(from, from + bytes)), bytes }
}

function idOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}
