import { type BatchHeader, MillraceError, readBatchHeader } from '../protocol/index.js'
import type { BlockHead } from './block.js'
import type { Damage } from './damage.js'
import type { EngineEntry } from './engine.js'
import type { WrittenBlock } from './journal.js'
import { stateTables, tableRange } from './keys.js'
import { PageCache } from './log_index.js'
import { PartitionLog } from './partition_log.js'
import type { State } from './state.js'
import { TailCache } from './tail_cache.js'

const loadEntries = 1_000
/** More than a block can hold; the record count of an index entry has 32 bits. */
const uncertainOffsets = 2 ** 31

type Appended = (log: PartitionLog, header: BatchHeader) => void

/** All partition logs of a shard, with their changes since the last checkpoint. */
export class LogTable {
  /** Dropped logs, and logs with records before their start, whose blocks reclaim has not received yet. */
  readonly trimmed = new Set<PartitionLog>()
  readonly tail: TailCache
  readonly #state: State
  readonly #logs = new Map<number, PartitionLog>()
  readonly #changed = new Set<PartitionLog>()
  readonly #pages = new PageCache()
  readonly #damage: Damage

  constructor(state: State, tailCacheBytes: number, damage: Damage) {
    this.#state = state
    this.#damage = damage
    this.tail = new TailCache(tailCacheBytes, (id) => this.#logs.get(id)?.tail)
  }

  /**
   * Loads the logs of the last checkpoint.
   * @throws MillraceError CORRUPT
   */
  async load(): Promise<void> {
    const { gte, lt } = tableRange(stateTables.log)
    for (let from = gte; ; ) {
      const entries = await this.#state.range({ gte: from, lt, limit: loadEntries })
      await this.#load(entries)
      const last = entries.at(-1)
      if (last === undefined || entries.length < loadEntries) return
      from = Buffer.concat([last[0], Uint8Array.of(0)])
    }
  }

  async #load(entries: readonly EngineEntry[]): Promise<void> {
    const withPage: PartitionLog[] = []
    const pageKeys: Uint8Array[] = []
    for (const [key, meta] of entries) {
      const log = this.#make(Buffer.from(key).readUInt32BE(1))
      this.#logs.set(log.id, log)
      const pageKey = log.load(meta)
      if (log.dropped || log.reclaimedOffset < log.startOffset) this.trimmed.add(log)
      if (pageKey === undefined) continue
      withPage.push(log)
      pageKeys.push(pageKey)
    }
    const pages = await this.#state.getMany(pageKeys)
    for (const [index, log] of withPage.entries()) {
      const page = pages[index]
      if (page === undefined)
        throw new MillraceError(
          'CORRUPT',
          `the newest page of the index of partition log ${log.id} is missing`,
        )
      log.index.load(page)
    }
  }

  get(id: number): PartitionLog | undefined {
    const log = this.#logs.get(id)
    return log?.dropped === true ? undefined : log
  }

  values(): Iterable<PartitionLog> {
    return this.#logs.values()
  }

  create(id: number): PartitionLog {
    const log = this.#make(id)
    this.#logs.set(id, log)
    this.#changed.add(log)
    return log
  }

  #make(id: number): PartitionLog {
    return new PartitionLog(id, this.#state, this.#pages, (log, range) => this.#damage.note(log.id, range))
  }

  drop(id: number): void {
    const log = this.#logs.get(id)
    if (log === undefined) return
    log.dropped = true
    this.#damage.trimmed(id, Number.POSITIVE_INFINITY)
    this.changed(log)
    this.trimmed.add(log)
  }

  trim(id: number, offset: number): void {
    const log = this.#logs.get(id)
    if (log === undefined || offset <= log.startOffset) return
    log.startOffset = Math.min(offset, log.endOffset)
    this.#damage.trimmed(id, log.startOffset)
    this.changed(log)
    this.trimmed.add(log)
  }

  /** Reclaim has all blocks of this dropped log, so the log leaves the table. */
  forget(log: PartitionLog): void {
    this.#logs.delete(log.id)
    // A reader that still holds the log must not find blocks whose memory is reused.
    log.tail.clear()
    this.#changed.delete(log)
    this.trimmed.delete(log)
  }

  changed(log: PartitionLog): void {
    this.#changed.add(log)
  }

  /** Adds the batches of a durable block. */
  append(block: WrittenBlock, appended: Appended): void {
    for (const entry of block.directory) {
      const log = this.#logs.get(entry.logId)
      if (log === undefined) continue
      log.appended(entry, block.position)
      this.changed(log)
      for (let at = entry.from, end = entry.from + entry.bytes; at < end; ) {
        const header = readBatchHeader(block.bytes, at)
        appended(log, header)
        at += header.batchBytes
      }
    }
    this.tail.add(block)
  }

  /** Adds the lost batches of a block. */
  lost(head: BlockHead): void {
    for (const entry of head.directory) {
      const log = this.#logs.get(entry.logId)
      if (log === undefined) continue
      log.lost(entry.firstOffset + entry.recordCount)
      this.changed(log)
    }
  }

  /**
   * Records that a block before `position` is unreadable and its content is unknown: logs without a newer block may
   * have
   * had records in it. They skip offsets, so that none is assigned twice.
   */
  uncertain(position: number): void {
    for (const log of this.#logs.values()) {
      if (log.dropped || log.index.newestPosition > position) continue
      log.lost(log.endOffset + uncertainOffsets)
      this.changed(log)
    }
  }

  /** Writes the changes to the state. */
  save(): void {
    for (const log of this.#changed) log.save(this.#state)
    this.#changed.clear()
  }

  rollBack(): void {
    for (const log of this.#logs.values()) log.rollBack()
  }

  /** Position of the newest block with records of any log; 0 if there is none. */
  get newestPosition(): number {
    let newest = 0
    for (const log of this.#logs.values())
      if (log.endOffset > log.startOffset) newest = Math.max(newest, log.index.newestPosition)
    return newest
  }

  get liveBytes(): number {
    let bytes = 0
    for (const log of this.#logs.values()) bytes += log.liveBytes
    return bytes
  }
}
