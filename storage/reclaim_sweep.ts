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

const blocksPerRead = 32
/** A commit of deletions is short, and a commit of rewritten blocks is small, so that publishers hardly wait for it. */
const opsPerCommit = 512
const bytesPerCommit = 2 * 1024 * 1024
const pauseMsMax = 50
/** Records that wait for their blocks to die; further ones don't wait. */
const waitingMax = 4_096

export interface GarbageRecord {
  readonly key: Uint8Array
  readonly parts: readonly DeadPart[]
}

export interface Swept {
  /** The records with what could not be done yet; without parts where all is done. */
  readonly remaining: readonly GarbageRecord[]
  /** What compaction can free now. */
  readonly freed: readonly FreedRange[]
}

export interface SweeperParts {
  readonly logs: LogTable
  readonly limits: { readonly rewriteShareMin: number; readonly rewriteDelayMs: number }
  journalEngine(): Engine
  position(): number
}

/** What is to be done about a block. `wait`: it lives in part, and may soon be dead as a whole. */
type Verdict = { readonly kind: 'gone' | 'keep' | 'wait' } | { readonly kind: 'write'; readonly op: EngineOp }

const gone: Verdict = { kind: 'gone' }
const keep: Verdict = { kind: 'keep' }
const wait: Verdict = { kind: 'wait' }

/** Deletes and rewrites blocks of which a durable record says that parts are dead. */
export class Sweeper {
  readonly #parts: SweeperParts
  /** When the blocks of a record may be rewritten, by the record's key. */
  readonly #rewriteAtMs = new Map<string, number>()
  /** Blocks up to here have left the engine's memory. */
  #flushedPosition = 0

  constructor(parts: SweeperParts) {
    this.#parts = parts
  }

  /** @throws what the engine throws: a rejected write, after which nothing may be written */
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
    const verdicts = await this.#judge(bytesAt, rewritable)
    const ops: EngineOp[] = []
    for (const verdict of verdicts.values()) if (verdict.kind === 'write') ops.push(verdict.op)
    if (ops.length > 0) {
      await this.#flushUpTo(Math.max(...bytesAt.keys()))
      await this.#write(ops)
    }
    return this.#settle(records, verdicts)
  }

  /** Whether blocks of this record that still live in part are rewritten now. */
  #isDue({ key }: GarbageRecord): boolean {
    const id = idOf(key)
    const now = performance.now()
    const at = this.#rewriteAtMs.get(id) ?? now + this.#parts.limits.rewriteDelayMs
    if (now >= at || this.#rewriteAtMs.size >= waitingMax) return true
    this.#rewriteAtMs.set(id, at)
    return false
  }

  async #judge(bytesAt: ReadonlyMap<number, number>, rewritable: ReadonlySet<number>) {
    const verdicts = new Map<number, Verdict>()
    const unsure: number[] = []
    for (const [position, bytes] of [...bytesAt].sort(([a], [b]) => a - b)) {
      // So many bytes of one log are never in a block with anything else: no need to read it.
      if (bytes >= ownBlockBytesMin) verdicts.set(position, deletion(position))
      else unsure.push(position)
    }
    for (let at = 0; at < unsure.length; at += blocksPerRead) {
      const positions = unsure.slice(at, at + blocksPerRead)
      const blocks = await this.#parts.journalEngine().getMany(positions.map(positionKey))
      for (const [index, position] of positions.entries()) {
        const bytes = blocks[index]
        const verdict =
          bytes === undefined ? gone : this.#judgeBlock(position, bytes, rewritable.has(position))
        verdicts.set(position, verdict)
      }
    }
    return verdicts
  }

  #judgeBlock(position: number, bytes: Uint8Array, rewritable: boolean): Verdict {
    const head = headOf(bytes, position)
    // What can't be told apart stays: readers of its partitions are told, and nothing hides what was there.
    if (head === undefined) return keep
    const live = head.directory.filter((entry) => this.#isLive(entry))
    if (live.length === 0) return deletion(position)
    const liveBytes = live.reduce((sum, entry) => sum + entry.bytes, 0)
    if (!head.whole || bytes.length - liveBytes < bytes.length * this.#parts.limits.rewriteShareMin)
      return keep
    if (!rewritable) return wait
    const logs = live.map((entry) => batchesOf(bytes, entry))
    return {
      kind: 'write',
      op: { type: 'put', key: positionKey(position), value: encodeBlock(head, logs, []).bytes },
    }
  }

  #isLive({ logId, firstOffset, recordCount }: DirectoryEntry): boolean {
    const log = this.#parts.logs.get(logId)
    return log !== undefined && firstOffset + recordCount > log.startOffset
  }

  /**
   * LevelDB drops nothing that was written and deleted within one memtable: such a table goes to a level that is not
   * compacted. So what is about to be deleted has to be on disk before.
   */
  async #flushUpTo(position: number): Promise<void> {
    if (position <= this.#flushedPosition) return
    const newest = this.#parts.position()
    await this.#parts.journalEngine().compact(journalEndKey, journalEndKey)
    this.#flushedPosition = newest
  }

  async #write(ops: readonly EngineOp[]): Promise<void> {
    let batch: EngineOp[] = []
    let bytes = 0
    const flush = async () => {
      const startedMs = performance.now()
      await this.#parts.journalEngine().commit(batch)
      batch = []
      bytes = 0
      await pause(Math.min(pauseMsMax, performance.now() - startedMs))
    }
    for (const op of ops) {
      batch.push(op)
      if (op.type === 'put') bytes += op.value.length
      if (batch.length >= opsPerCommit || bytes >= bytesPerCommit) await flush()
    }
    if (batch.length > 0) await flush()
  }

  #settle(records: readonly GarbageRecord[], verdicts: ReadonlyMap<number, Verdict>): Swept {
    const freed: FreedRange[] = []
    const remaining = records.map(({ key, parts }) => {
      const left: DeadPart[] = []
      for (const part of parts) {
        const kind = verdicts.get(part.position)?.kind
        if (kind === 'wait') left.push(part)
        else if (kind !== 'keep') freed.push({ from: part.position, to: part.position, bytes: part.bytes })
      }
      if (left.length === 0) this.#rewriteAtMs.delete(idOf(key))
      return { key, parts: left }
    })
    return { remaining, freed }
  }
}

function deletion(position: number): Verdict {
  return { kind: 'write', op: { type: 'del', key: positionKey(position) } }
}

/** The head of a block and whether its body is whole too; undefined when nothing can be told. */
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
