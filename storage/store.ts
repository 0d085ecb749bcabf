import { EventEmitter } from 'node:events'
import { bytesText, MillraceError, readBatchHeader, splitBatches } from '../protocol/index.js'
import { BackupSource } from './backup_source.js'
import type { Operation } from './block.js'
import { BufferPool } from './buffer_pool.js'
import { CheckpointSchedule } from './checkpoint_schedule.js'
import type { CommitRequest, PendingAppend } from './commit_queue.js'
import { Damage, type OffsetRange } from './damage.js'
import { isOutOfSpace, makeRoomToOpen } from './disk_reserve.js'
import { DiskWatch, folderBytes } from './disk_watch.js'
import type { EngineFactory } from './engine.js'
import { EnginePair } from './engine_pair.js'
import { type DataFolder, openFolder } from './folder.js'
import { GroupCommit } from './group_commit.js'
import { Journal, type WrittenBlock } from './journal.js'
import { positionKey } from './keys.js'
import { levelEngines } from './level_folder.js'
import { type LogRead, type LogReadResult, readLogs, readTail } from './log_reader.js'
import { LogTable } from './log_table.js'
import { memoryEngines } from './memory_engine.js'
import { diskEffectOf, opKinds } from './ops.js'
import type { PartitionLog } from './partition_log.js'
import { Problems } from './problems.js'
import { Reclaim, type ReclaimLimits, reclaimDefaults } from './reclaim.js'
import { replay } from './recovery.js'
import { decodeTrims } from './retention.js'
import { missingEndError } from './shard_contents.js'
import { type Checkpoint, State } from './state.js'
import {
  type Op,
  type StoreHealth,
  type StoreOptions,
  type StoreSettings,
  type StoreStats,
  storeSettings,
  type Views,
} from './store_options.js'

const reopenDelayMsMax = 5_000
const recheckedMax = 1_000
/** Limit of the memory kept for reuse when blocks leave the tail cache. */
const pooledBytesMax = 8 * 1024 * 1024
const recheckBytes = 1024 * 1024
/** More than the databases of a lost end of the journal can hold; less than the gap that replay accepts. */
const lostBlocksMax = 2 ** 31

/**
 * serving -> draining -> closing -> closed. A rejected write moves serving and draining to reopening, and from there
 * back to serving, or on to closing.
 */
type Phase = 'serving' | 'draining' | 'reopening' | 'closing' | 'closed'

/**
 * Opens a data folder, or a store in memory: loads the last checkpoint and replays the journal after it.
 * @throws MillraceError FOLDER_IN_USE, UNKNOWN_FORMAT, STORAGE_FAILED, CORRUPT
 */
export async function openStore(options: StoreOptions, views: Views): Promise<Store> {
  const folder = options.dir === undefined ? undefined : await openDataFolder(options.dir)
  const problems = new Problems()
  const notices: string[] = []
  const reports = {
    problem: (text: string) => void problems.note(text),
    notice: (text: string) => void notices.push(text),
  }
  try {
    const engines =
      options.engines ??
      (folder === undefined
        ? memoryEngines()
        : levelEngines(await folder.shard(0), reports, options.journalSegmentBytes, folder.contents(0)))
    const reclaim = { ...reclaimDefaults, ...options.reclaim }
    const settings = storeSettings(options)
    return await Store.open({ settings, reclaim, views, folder, engines, problems, notices })
  } catch (error) {
    await folder?.release()
    throw error
  }
}

/** A broker must also start on a full disk, because otherwise it could not free space. */
async function openDataFolder(dir: string): Promise<DataFolder> {
  const folder = await openFolder(dir).catch(async (error: unknown) => {
    if (!isOutOfSpace(error)) throw error
    await makeRoomToOpen(dir)
    return openFolder(dir)
  })
  await makeRoomToOpen(folder.path)
  return folder
}

interface Parts {
  readonly settings: StoreSettings
  readonly reclaim: ReclaimLimits
  readonly views: Views
  readonly folder: DataFolder | undefined
  readonly engines: EngineFactory
  readonly problems: Problems
  readonly notices: readonly string[]
}

/** The durable core of a shard: one journal, the logs of its partitions, and the state of the views over it. */
export class Store {
  readonly state: State
  /** `health`: the health changed. `writable`: there are fewer pending bytes. */
  readonly events = new EventEmitter<{ health: [StoreHealth]; writable: [] }>()
  readonly #parts: Parts
  readonly #logs: LogTable
  readonly #groupCommit: GroupCommit
  readonly #schedule: CheckpointSchedule
  readonly #pool = new BufferPool(pooledBytesMax)
  readonly #reclaim: Reclaim
  readonly #problems: Problems
  readonly #damage: Damage
  readonly #engines: EnginePair
  #journal: Journal
  #phase: Phase = 'serving'
  /** The journal position that the logs and views reflect. */
  #applied: Checkpoint
  #failure: string | undefined
  /** The error of the last rejected write. */
  #rejection: unknown
  #checkpointing: Promise<void> | undefined
  #reclaiming: Promise<void> | undefined
  #reopening: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #timers: NodeJS.Timeout[] = []
  #disk: DiskWatch | undefined
  /** Blocks must not change: reclaim pauses. */
  #isBackingUp = false
  #commits = 0
  #backup: BackupSource | undefined

  private constructor(parts: Parts, engines: EnginePair, state: State) {
    this.#parts = parts
    this.#problems = parts.problems
    this.#engines = engines
    this.state = state
    this.#applied = state.checkpoint
    this.#journal = new Journal(engines.journal, state.checkpoint, this.#pool)
    this.#damage = new Damage(state)
    this.#logs = new LogTable(state, parts.settings.tailCacheBytes, this.#damage)
    this.#schedule = new CheckpointSchedule(parts.settings.checkpointIntervalMs, performance.now())
    this.#groupCommit = this.#makeGroupCommit()
    this.#reclaim = new Reclaim({
      logs: this.#logs,
      state,
      journalEngine: () => engines.journal,
      limits: parts.reclaim,
      stateEngine: () => engines.state,
      position: () => this.#journal.last.position,
      checkpoint: async () => {
        // A running checkpoint does not have the latest changes.
        await this.#checkpointing
        await this.checkpoint()
      },
      active: () => this.#phase === 'serving' && !this.#isBackingUp,
      diskWasFull: () => isOutOfSpace(this.#rejection),
      problem: (text) => this.#note(text),
    })
  }

  /** Use `openStore`. */
  static async open(parts: Parts): Promise<Store> {
    const engines = await EnginePair.open(parts.engines)
    try {
      const store = new Store(parts, engines, await State.open(engines.state))
      await store.#damage.load()
      await store.#logs.load()
      await parts.views.load(store)
      await store.#checkNewestBlocks()
      await store.#replay()
      await store.#skipLostEnd()
      await parts.folder?.contents(0).listVerified()
      await store.#recheckDamage()
      await store.#startTimers()
      return store
    } catch (error) {
      await engines.close()
      throw error
    }
  }

  /** Bytes of commits that are not durable yet. */
  get pendingBytes(): number {
    return this.#groupCommit.bytes
  }

  get health(): StoreHealth {
    if (this.#failure !== undefined)
      return { status: 'failed', reasons: [this.#failure, ...this.#damageTexts] }
    const reasons = this.#damageTexts
    if (this.#disk !== undefined && this.#disk.space !== 'ok') reasons.push(this.#spaceText(this.#disk))
    return { status: reasons.length > 0 ? 'degraded' : 'ok', reasons }
  }

  /** Findings of the start that are not certainly damage: a write that a crash interrupted. */
  get notices(): readonly string[] {
    return this.#parts.notices
  }

  get stats(): StoreStats {
    return {
      liveBytes: this.#logs.liveBytes,
      commits: this.#commits,
      journalPosition: this.#journal.last.position,
      checkpointPosition: this.state.checkpoint.position,
      pendingBytes: this.#groupCommit.bytes,
      tailCacheBytes: this.#logs.tail.bytes,
      freeBytes: this.#disk?.freeBytes ?? Number.POSITIVE_INFINITY,
    }
  }

  /** Bytes of the files in the data folder, without the reserve for a full disk; 0 in memory. */
  async diskBytes(): Promise<number> {
    return this.#parts.folder === undefined ? 0 : folderBytes(this.#parts.folder.path)
  }

  /** The log with this id; undefined if it does not exist or was dropped. */
  log(id: number): PartitionLog | undefined {
    return this.#logs.get(id)
  }

  /** Describes the unreadable parts of a log for humans; undefined if none are known. */
  problemOf(log: PartitionLog): string | undefined {
    return this.#damage.textOf(log.id)
  }

  /** For views: call it when the operation that creates a partition is applied. Ids are never reused. */
  createLog(id: number): PartitionLog {
    return this.#logs.create(id)
  }

  /** For views: drops the log; the store frees its space in the background. */
  dropLog(id: number): void {
    this.#logs.drop(id)
  }

  /**
   * Commits operations together: all of them or none. Record batches get their base offsets in this call, in its order;
   * `assigned` receives each. Resolves when the commit survives a power cut and the views have applied it.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED (both retryable), CLOSED
   */
  commit(ops: readonly Op[], assigned?: (index: number, baseOffset: number) => void): Promise<void> {
    const refusal = this.#refusal(ops)
    if (refusal !== undefined) return Promise.reject(refusal)
    const appends: PendingAppend[] = []
    const operations: Operation[] = []
    let bytes = 0
    for (const [index, op] of ops.entries()) {
      if ('batch' in op) {
        const baseOffset = op.log.nextOffset
        op.log.nextOffset += readBatchHeader(op.batch).recordCount
        appends.push({ log: op.log, batch: op.batch, baseOffset })
        assigned?.(index, baseOffset)
        bytes += op.batch.length
      } else {
        operations.push(op)
        bytes += op.payload.length
      }
    }
    return new Promise((resolve, reject) => {
      this.#groupCommit.push({ appends, operations, bytes, resolve, reject })
    })
  }

  /** Reads from memory, synchronously; undefined if a read of the journal is necessary. */
  readTail(read: LogRead): LogReadResult | undefined {
    return readTail(read)
  }

  /** Reads whole batches of several logs at once; an error of one read is in its result. */
  async read(reads: readonly LogRead[]): Promise<LogReadResult[]> {
    const results = await readLogs(this.#journal, reads)
    for (const [index, { error, damaged }] of results.entries()) {
      if (error?.code !== 'CORRUPT') continue
      const log = reads[index]?.log
      if (damaged === undefined || log === undefined) this.#note(error.message)
      // The log may have changed since then, because other reads of this call can take longer.
      else if (log.dropped || damaged.to <= log.startOffset) continue
      else if (this.#damage.note(log.id, damaged)) this.events.emit('health', this.health)
    }
    return results
  }

  /**
   * Rejects further commits, waits for pending ones, writes a checkpoint and closes the databases.
   * @throws the errors of the engines; acknowledged commits are durable even then
   */
  close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  async #closeOnce(): Promise<void> {
    if (this.#phase === 'serving') this.#phase = 'draining'
    while (this.#groupCommit.pumping !== undefined) await this.#groupCommit.pumping
    const failed = this.#failure !== undefined
    this.#phase = 'closing'
    await this.#backup?.close('the broker is shutting down')
    for (const timer of this.#timers) clearInterval(timer)
    await this.#disk?.stop()
    await this.#reopening
    await this.#reclaiming
    await this.#checkpointing
    try {
      if (!failed) await this.#writeCheckpoint()
    } finally {
      this.#phase = 'closed'
      await this.#engines.close()
      await this.#parts.folder?.release()
    }
  }

  /**
   * Opens a view of all durable data for a backup. Reclaim pauses until it is closed. A full disk or a rejected write
   * ends it.
   * @throws MillraceError BACKUP_RUNNING, STORAGE_FULL on a full disk, STORAGE_FAILED, CLOSED, BAD_REQUEST if the
   * engine has no snapshots
   */
  async beginBackup(): Promise<BackupSource> {
    if (this.#isBackingUp) throw new MillraceError('BACKUP_RUNNING')
    this.#checkBackup()
    this.#isBackingUp = true
    try {
      await this.#reclaiming
      await this.#checkpointing
      await this.checkpoint()
      this.#checkBackup()
      const snapshot = this.#engines.state.snapshot?.()
      if (snapshot === undefined)
        throw new MillraceError('BAD_REQUEST', 'the storage engine of this broker does not support backups')
      this.#backup = new BackupSource(this.#journal.last.position, snapshot, this.#journal, () => {
        this.#isBackingUp = false
        this.#backup = undefined
      })
      return this.#backup
    } catch (error) {
      this.#isBackingUp = false
      throw error
    }
  }

  #checkBackup(): void {
    const refusal = this.#refusal([])
    if (refusal !== undefined) throw refusal
    if (this.#disk?.space === 'full') throw new MillraceError('STORAGE_FULL', this.#spaceText(this.#disk))
  }

  #endBackup(reason: string): void {
    this.#backup?.close(`the backup has ended: ${reason}`).catch((error: unknown) => {
      this.#note(`the broker can't close a snapshot of the state: ${textOf(error)}`)
    })
  }

  /** Writes the state of the views to disk, so that replay begins here. Resolves even if that fails. */
  checkpoint(): Promise<void> {
    this.#checkpointing ??= this.#checkpointOnce().finally(() => {
      this.#checkpointing = undefined
    })
    return this.#checkpointing
  }

  async #checkpointOnce(): Promise<void> {
    if (this.#phase !== 'serving') return
    try {
      await this.#writeCheckpoint()
    } catch (error) {
      this.#fail(error, [])
    }
  }

  async #writeCheckpoint(): Promise<void> {
    this.#schedule.begun(performance.now())
    this.#logs.save()
    this.#parts.views.save()
    if (this.state.dirtyBytes > 0) await this.state.write(this.#applied)
    this.#schedule.ended(performance.now())
  }

  #refusal(ops: readonly Op[]): MillraceError | undefined {
    if (this.#phase === 'reopening') return new MillraceError('STORAGE_FAILED', this.#failure)
    if (this.#phase !== 'serving') return new MillraceError('CLOSED', 'the store is closed')
    if (this.#disk !== undefined && this.#disk.space !== 'ok' && isRefused(ops, this.#disk.space))
      return new MillraceError('STORAGE_FULL', this.#spaceText(this.#disk))
    return undefined
  }

  #spaceText({ freeBytes, space }: DiskWatch): string {
    return space === 'full'
      ? `the disk is full, ${bytesText(freeBytes)} are free: the broker accepts only requests that free space, such as lower retention or the deletion of topics`
      : `the disk has ${bytesText(freeBytes)} free, expected at least ${bytesText(this.#parts.settings.freeBytesMin)} to publish`
  }

  /** Whether commits proceed normally. */
  get #isWriting(): boolean {
    return this.#phase === 'serving' || this.#phase === 'draining'
  }

  #makeGroupCommit(): GroupCommit {
    const store = this
    return new GroupCommit({
      commitBytesMax: this.#parts.settings.commitBytesMax,
      get journal() {
        return store.#journal
      },
      get isWriting() {
        return store.#isWriting
      },
      applied: ({ blocks, last }) => {
        this.#commits++
        for (const block of blocks) this.#apply(block)
        this.#applied = last
      },
      committed: () => {
        this.events.emit('writable')
        if (this.state.dirtyBytes > this.#parts.settings.checkpointBytesMax) void this.checkpoint()
      },
      failed: (error, requests) => this.#fail(error, requests),
    })
  }

  #apply(block: WrittenBlock): void {
    this.#schedule.grown(block.bytes.length)
    this.#logs.append(block, (log, header) => this.#parts.views.appended(log, header))
    for (const { kind, payload } of block.operations) {
      if (kind === opKinds.logsTrimmed)
        for (const [id, offset] of decodeTrims(payload)) this.#logs.trim(id, offset)
      else this.#parts.views.apply(kind, payload, block.position)
    }
    // Only operations, or batches of logs that were dropped before their commit.
    if (block.directory.every(({ logId }) => this.#logs.get(logId) === undefined))
      this.#reclaim.noteBlock(block.position, block.bytes.length)
  }

  async #replay(): Promise<void> {
    this.#journal = new Journal(this.#engines.journal, this.#applied, this.#pool)
    const { last, torn, uncertain } = await replay(this.#journal, {
      block: (block) => this.#apply(block),
      damagedBlock: (head) => this.#logs.lost(head),
      reached: (last) => {
        this.#applied = last
      },
      problem: (text) => this.#note(text),
    })
    if (uncertain > 0) this.#logs.uncertain(uncertain)
    if (torn.length > 0) {
      await this.#engines.journal.commit(
        torn.map((position) => ({ type: 'del', key: positionKey(position) })),
      )
    }
    this.#applied = last
    this.#journal = new Journal(this.#engines.journal, last, this.#pool)
  }

  /**
   * After `repair --missing` without the newest database of the journal: replay takes the last block that is left for
   * the end. Skips the offsets and positions that the lost blocks may have used, and reports them.
   */
  async #skipLostEnd(): Promise<void> {
    const contents = this.#parts.folder?.contents(0)
    if (contents?.lostFrom === undefined) return
    this.#note(
      `the journal may have lost its end from block ${contents.lostFrom} on, with the newest messages, offsets and settings`,
    )
    this.#logs.uncertain(Number.POSITIVE_INFINITY)
    this.#parts.views.endLost?.()
    const position = Math.max(this.#applied.position, contents.lostFrom) + lostBlocksMax
    this.#applied = { position, link: 0 }
    this.#journal = new Journal(this.#engines.journal, this.#applied, this.#pool)
    // Clear it only once the state has the skipped offsets: after a crash in between, the next open skips again.
    this.#logs.save()
    this.#parts.views.save()
    await this.state.write(this.#applied)
    await contents.lostEndSkipped()
  }

  /** Whether the folder comes from a backup and `idsSkipped` was not called since. */
  get isRestored(): boolean {
    return this.#parts.folder?.contents(0).isRestored ?? false
  }

  /**
   * A commit that skips the ids of the lost broker is durable.
   * @throws the error of the system, such as ENOSPC; the next start skips ids again then
   */
  async idsSkipped(): Promise<void> {
    await this.#parts.folder?.contents(0).setRestored(false)
  }

  /** If the journal ends before its checkpoint, its tail is lost: then check every log for lost records. */
  async #checkNewestBlocks(): Promise<void> {
    const newest = this.#logs.newestPosition
    if (newest === 0) return
    const [block] = await this.#journal.readRaw([newest])
    if (block !== undefined) return
    const contents = this.#parts.folder?.contents(0)
    if (contents?.isRelisted === true && contents.lostFrom === undefined) throw missingEndError(newest)
    this.#note(`block ${newest} of the journal is missing: the journal has lost its end`)
    for (const log of this.#logs.values()) {
      const newestFirst = [...(await log.index.from(log.index.newestPageOffset ?? 0))].reverse()
      for (const { position, firstOffset, recordCount } of newestFirst) {
        const [found] = await this.#journal.readRaw([position])
        if (found !== undefined) break
        this.#damage.note(log.id, { from: firstOffset, to: firstOffset + recordCount })
      }
    }
  }

  /** Ranges that were unreadable may be readable now, after files were restored. */
  async #recheckDamage(): Promise<void> {
    for (const [logId, range] of this.#damage.ranges.slice(0, recheckedMax)) {
      const log = this.#logs.get(logId)
      if (log === undefined || (await this.#isReadable(log, range))) this.#damage.forget(logId, range)
    }
  }

  /** Whether all of a range is readable, except what retention dropped. */
  async #isReadable(log: PartitionLog, { from, to }: OffsetRange): Promise<boolean> {
    for (let offset = Math.max(from, log.startOffset); offset < to; ) {
      const [result] = await readLogs(this.#journal, [{ log, offset, bytesMax: recheckBytes }])
      const batch = splitBatches(result?.chunks.at(-1) ?? new Uint8Array(0)).at(-1)
      if (result?.error !== undefined || batch === undefined) return false
      const { baseOffset, recordCount } = readBatchHeader(batch)
      offset = baseOffset + recordCount
    }
    return true
  }

  get #damageTexts(): string[] {
    const nameOf = (id: number) => this.#parts.views.nameOf?.(id) ?? `partition log ${id}`
    return [...this.#problems.texts, ...this.#damage.lines(nameOf)]
  }

  #note(problem: string): void {
    if (this.#problems.note(problem)) this.events.emit('health', this.health)
  }

  async #startTimers(): Promise<void> {
    const { folder, settings } = this.#parts
    const repeat = (work: () => void, intervalMs: number) => {
      const timer = setInterval(work, intervalMs)
      timer.unref()
      this.#timers.push(timer)
    }
    repeat(() => {
      if (this.#schedule.isDue(performance.now())) void this.checkpoint()
    }, settings.checkpointIntervalMs)
    repeat(() => void this.reclaim(), settings.reclaimIntervalMs)
    if (folder === undefined) return
    this.#disk = new DiskWatch(folder.path, settings, settings.diskWatchIntervalMs, () => {
      if (this.#disk?.space === 'full') this.#endBackup('the disk is full')
      this.events.emit('health', this.health)
    })
    await this.#disk.start()
  }

  /** Frees space of dropped records, if a round is worth its cost; a timer calls it. */
  reclaim(): Promise<void> {
    this.#reclaiming ??= this.#reclaimOnce().finally(() => {
      this.#reclaiming = undefined
    })
    return this.#reclaiming
  }

  async #reclaimOnce(): Promise<void> {
    if (this.#phase !== 'serving') return
    try {
      await this.#reclaim.run()
    } catch (error) {
      this.#fail(error, [])
    }
  }

  /** Handles a rejected write: rejects all waiting commits, and writes nothing until the log is verified. */
  #fail(error: unknown, requests: readonly CommitRequest[]): void {
    const failure = `a write failed: ${textOf(error)}`
    const refused = [...requests, ...this.#groupCommit.takeAll()]
    this.#groupCommit.release(refused)
    if (this.#isWriting) {
      this.#phase = 'reopening'
      this.#rejection = error
      this.#endBackup(failure)
      this.#failure = failure
      this.#logs.rollBack()
      this.#parts.views.rolledBack()
      this.#reopening = this.#reopen()
      this.events.emit('health', this.health)
    }
    for (const request of refused)
      request.reject(new MillraceError('STORAGE_FAILED', failure, { cause: error }))
    this.events.emit('writable')
  }

  async #reopen(): Promise<void> {
    let error = this.#rejection
    for (
      let delayMs = this.#parts.settings.reopenDelayMs;
      this.#phase === 'reopening';
      delayMs = Math.min(delayMs * 2, reopenDelayMsMax)
    ) {
      await new Promise((resolve) => setTimeout(resolve, delayMs))
      try {
        if (isOutOfSpace(error)) await this.#disk?.releaseReserve()
        await this.#reopenOnce()
      } catch (failure) {
        error = failure
        this.#failure = `the broker can't reopen the log: ${textOf(failure)}`
      }
    }
  }

  async #reopenOnce(): Promise<void> {
    // Wait for open writes to the old databases: they may succeed.
    await Promise.all([this.#groupCommit.pumping, this.#checkpointing, this.#reclaiming])
    await this.#engines.reopen()
    this.state.replaceEngine(this.#engines.state)
    // The rejected commit may be in the journal despite the error: then replay applies it, and its publishers learn
    // that from a retry.
    await this.#replay()
    await this.#writeCheckpoint()
    this.#failure = undefined
    if (this.#phase === 'reopening') this.#phase = 'serving'
    this.events.emit('health', this.health)
  }
}

/** Whether the disk has too little space for a commit, by the effect of its operations on the disk. */
function isRefused(ops: readonly Op[], space: 'low' | 'full'): boolean {
  return ops.some((op) => {
    const effect = 'batch' in op ? 'grows' : diskEffectOf(op.kind)
    return effect === 'grows' || (space === 'full' && effect === 'finishes')
  })
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}
