import { batchHeaderBytes, MillraceError } from '../protocol/index.js'
import type { DirectoryEntry } from './block.js'
import type { OffsetRange } from './damage.js'
import { indexPageKey, logKey } from './keys.js'
import { LogIndex, type PageCache } from './log_index.js'
import type { State } from './state.js'
import { LogTail } from './tail_cache.js'

/**
 * The entry of a log in the state, little-endian, 44 bytes; on disk, never changes:
 *     0 u64 startOffset | 8 u64 endOffset | 16 u64 liveBytes | 24 u64 reclaimedOffset | 32 u64 newestPageOffset |
 *     40 u32 flags
 */
const metaBytes = 44
const flags = { dropped: 1, hasPage: 2 } as const

/**
 * The log of one partition in storage: its start, its end, and the places of its batches. Only the store changes it,
 * in the order of the journal.
 */
export class PartitionLog {
  /** Unique in the shard, never reused. */
  readonly id: number
  readonly index: LogIndex
  readonly tail = new LogTail()
  /** First readable offset. */
  startOffset = 0
  /** Offset after the newest durable record. */
  endOffset = 0
  /** Offset of the next record; ahead of `endOffset` by the records of writes in progress. */
  nextOffset = 0
  /** Bytes of its batches from `reclaimedOffset` on. */
  liveBytes = 0
  /** Reclaim has received the index entries before this offset. */
  reclaimedOffset = 0
  /** The partition is deleted; only reclaim still uses the log. */
  dropped = false

  readonly #onLost: (log: PartitionLog, range: OffsetRange) => void

  /** @param onLost receives offsets that were acknowledged and are missing */
  constructor(
    id: number,
    state: State,
    pages: PageCache,
    onLost: (log: PartitionLog, range: OffsetRange) => void,
  ) {
    this.id = id
    this.#onLost = onLost
    this.index = new LogIndex(id, state, pages)
  }

  /**
   * Loads the entry from the last checkpoint. Returns the key of its newest index page for `index.load`.
   * @throws MillraceError CORRUPT
   */
  load(meta: Uint8Array): Uint8Array | undefined {
    const view = Buffer.from(meta.buffer, meta.byteOffset, meta.byteLength)
    if (view.length !== metaBytes)
      throw new MillraceError('CORRUPT', `the state of partition log ${this.id} has the wrong size`)
    this.startOffset = Number(view.readBigUInt64LE(0))
    this.endOffset = Number(view.readBigUInt64LE(8))
    this.nextOffset = this.endOffset
    this.liveBytes = Number(view.readBigUInt64LE(16))
    this.reclaimedOffset = Number(view.readBigUInt64LE(24))
    const set = view.readUInt32LE(40)
    this.dropped = (set & flags.dropped) !== 0
    return (set & flags.hasPage) === 0 ? undefined : indexPageKey(this.id, Number(view.readBigUInt64LE(32)))
  }

  /** Writes the entry and the newest index page to the state. */
  save(state: State): void {
    const meta = Buffer.allocUnsafe(metaBytes)
    meta.writeBigUInt64LE(BigInt(this.startOffset), 0)
    meta.writeBigUInt64LE(BigInt(this.endOffset), 8)
    meta.writeBigUInt64LE(BigInt(this.liveBytes), 16)
    meta.writeBigUInt64LE(BigInt(this.reclaimedOffset), 24)
    const pageOffset = this.index.newestPageOffset
    meta.writeBigUInt64LE(BigInt(pageOffset ?? 0), 32)
    meta.writeUInt32LE(
      (this.dropped ? flags.dropped : 0) | (pageOffset === undefined ? 0 : flags.hasPage),
      40,
    )
    state.put(logKey(this.id), meta)
    this.index.save()
  }

  /** Adds the batches of a durable block. */
  appended(entry: DirectoryEntry, position: number): void {
    const { firstOffset, recordCount, bytes, lastTimestamp } = entry
    if (firstOffset > this.endOffset) this.lost(firstOffset)
    this.index.add({ firstOffset, recordCount, bytes, position, lastTimestamp }, this.reclaimedOffset)
    this.endOffset = firstOffset + recordCount
    this.liveBytes += bytes
    if (this.nextOffset < this.endOffset) this.nextOffset = this.endOffset
  }

  /** Records that offsets up to `nextOffset` were acknowledged and are missing. */
  lost(nextOffset: number): void {
    if (nextOffset <= this.endOffset) return
    this.#onLost(this, { from: this.endOffset, to: nextOffset })
    const recordCount = nextOffset - this.endOffset
    const entry = { firstOffset: this.endOffset, recordCount, bytes: 0, position: 0, lastTimestamp: 0 }
    this.index.add(entry, this.reclaimedOffset)
    this.endOffset = nextOffset
    if (this.nextOffset < nextOffset) this.nextOffset = nextOffset
  }

  /** Drops the offsets assigned to failed writes. */
  rollBack(): void {
    this.nextOffset = this.endOffset
  }
}

/** Skips batches that end at or before `offset` at the beginning of consecutive whole batches. */
export function skipBatchesBefore(run: Uint8Array, offset: number): Uint8Array {
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  let at = 0
  while (at + batchHeaderBytes <= run.length) {
    const baseOffset = view.getUint32(at + 12, true) * 0x1_0000_0000 + view.getUint32(at + 8, true)
    if (baseOffset + view.getUint32(at + 20, true) > offset) break
    at += view.getUint32(at, true)
  }
  return at === 0 ? run : run.subarray(at)
}

/** Cuts consecutive whole batches to at most `bytesMax`, but keeps at least one batch. */
export function cutBatches(run: Uint8Array, bytesMax: number): Uint8Array {
  if (run.length <= bytesMax) return run
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  let at = view.getUint32(0, true)
  while (at < run.length) {
    const end = at + view.getUint32(at, true)
    if (end > bytesMax) break
    at = end
  }
  return run.subarray(0, at)
}

/** Splits consecutive whole batches into batches. The checksum of the block covers them. */
export function splitRun(run: Uint8Array): Uint8Array[] {
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  const batches: Uint8Array[] = []
  for (let at = 0; at < run.length; ) {
    const end = at + view.getUint32(at, true)
    batches.push(run.subarray(at, end))
    at = end
  }
  return batches
}
