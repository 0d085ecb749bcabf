import { EventEmitter } from 'node:events'
import { type BatchHeader, MillraceError, readBatchHeader } from '../protocol/index.js'
import type { Operation } from './block.js'
import { CommitQueue, type CommitRequest, groupByLog, type PendingAppend } from './commit_queue.js'
import { DiskWatch, folderBytes } from './disk_watch.js'
import type { Engine, EngineFactory } from './engine.js'
import { type DataFolder, openFolder } from './folder.js'
import { Journal, type WrittenBlock } from './journal.js'
import { positionKey } from './keys.js'
import { levelEngines } from './level_engine.js'
import { type LogRead, type LogReadResult, readLogs, readTail } from './log_reader.js'
import { LogTable } from './log_table.js'
import { memoryEngines } from './memory_engine.js'
import { opKinds } from './ops.js'
import type { PartitionLog } from './partition_log.js'
import { Reclaim, type ReclaimLimits, reclaimDefaults } from './reclaim.js'
import { replay } from './recovery.js'
import { decodeTrims } from './retention.js'
import { State } from './state.js'

/** One operation of a commit: a record batch for a log, or one of ops.ts. */
export type Op = { readonly log: PartitionLog; readonly batch: Uint8Array } | Operation

/** What the broker folds out of the journal. The same calls come live and in replay, in the order of the journal. */
export interface Views {
  /** Once, before replay: take up what the checkpoint holds. */
  load(store: Store): Promise<void>
  apply(kind: number, payload: Uint8Array, position: number): void
  /** A batch is durable and can be read. */
  appended(log: PartitionLog, header: BatchHeader): void
  /** Writes failed: offsets that were assigned and are not durable are void. */
  rolledBack(): void
}

export interface StoreHealth {
  readonly status: 'ok' | 'degraded' | 'failed'
  readonly reasons: readonly string[]
}

export interface StoreOptions {
  /** The data folder; without it everything is in memory. */
  readonly dir?: string | undefined
  /** Other engines than LevelDB in `dir`, or than new ones in memory. */
  readonly engines?: EngineFactory | undefined
  /** Bytes of the newest blocks that stay in memory for readers. */
  readonly tailCacheBytes?: number | undefined
  /** Most bytes of one commit, if it is more than one request. */
  readonly commitBytesMax?: number | undefined
  readonly checkpointIntervalMs?: number | undefined
  /** Bytes of changed state that make a checkpoint come early. */
  readonly checkpointBytesMax?: number | undefined
  /** Free space of the file system below which nothing is appended. */
  readonly freeBytesMin?: number | undefined
  readonly diskWatchIntervalMs?: number | undefined
  /** How often is looked whether there is space to give back. */
  readonly reclaimIntervalMs?: number | undefined
  /** When space is given back. */
  readonly reclaim?: Partial<ReclaimLimits> | undefined
  /** Pause before the first attempt to reopen after a rejected write; doubles up to 5 s. */
  readonly reopenDelayMs?: number | undefined
}

export interface StoreStats {
  /** Bytes of record batches that retention has not dropped. */
  readonly liveBytes: number
  readonly commits: number
  readonly journalPosition: number
  readonly checkpointPosition: number
  readonly pendingBytes: number
  readonly tailCacheBytes: number
  /** Free space of the file system; infinite in memory. */
  readonly freeBytes: number
}

const defaults = {
  tailCacheBytes: 64 * 1024 * 1024,
  commitBytesMax: 8 * 1024 * 1024,
  checkpointIntervalMs: 1_000,
  checkpointBytesMax: 8 * 1024 * 1024,
  freeBytesMin: 256 * 1024 * 1024,
  diskWatchIntervalMs: 500,
  reclaimIntervalMs: 1_000,
  reopenDelayMs: 100,
}
type Settings = typeof defaults
const reopenDelayMsMax = 5_000
const problemsMax = 100

/**
 * Opens a data folder, or a store in memory: loads the last checkpoint and replays the journal behind it.
 * @throws MillraceError FOLDER_IN_USE, UNKNOWN_FORMAT, STORAGE_FAILED, CORRUPT
 */
export async function openStore(options: StoreOptions, views: Views): Promise<Store> {
  const settings: Settings = { ...defaults }
  for (const name of Object.keys(defaults) as (keyof Settings)[])
    settings[name] = options[name] ?? defaults[name]
  const folder = options.dir === undefined ? undefined : await openFolder(options.dir)
  try {
    const engines =
      options.engines ?? (folder === undefined ? memoryEngines() : levelEngines(await folder.shard(0)))
    const reclaim = { ...reclaimDefaults, ...options.reclaim }
    return await Store.open({ settings, reclaim, views, folder, engines })
  } catch (error) {
    await folder?.release()
    throw error
  }
}

interface Parts {
  readonly settings: Settings
  readonly reclaim: ReclaimLimits
  readonly views: Views
  readonly folder: DataFolder | undefined
  readonly engines: EngineFactory
}

/** The durable heart of a shard: one journal, the logs of its partitions, and the state of the views over it. */
export class Store {
  readonly state: State
  /** `health`: it changed. `writable`: bytes that were pending are not any more. */
  readonly events = new EventEmitter<{ health: [StoreHealth]; writable: [] }>()
  readonly #parts: Parts
  readonly #logs: LogTable
  readonly #queue = new CommitQueue()
  readonly #reclaim: Reclaim
  readonly #problems: string[] = []
  #journalEngine: Engine
  #stateEngine: Engine
  #journal: Journal
  #phase: 'serving' | 'reopening' | 'closing' | 'closed' = 'serving'
  #failure: string | undefined
  #pumping: Promise<void> | undefined
  #checkpointing: Promise<void> | undefined
  #reclaiming: Promise<void> | undefined
  #reopening: Promise<void> | undefined
  #timers: NodeJS.Timeout[] = []
  #disk: DiskWatch | undefined
  #commits = 0

  private constructor(parts: Parts, journalEngine: Engine, stateEngine: Engine, state: State) {
    this.#parts = parts
    this.#journalEngine = journalEngine
    this.#stateEngine = stateEngine
    this.state = state
    this.#journal = new Journal(journalEngine, state.checkpoint)
    this.#logs = new LogTable(state, parts.settings.tailCacheBytes)
    this.#reclaim = new Reclaim({
      logs: this.#logs,
      state,
      journalEngine: () => this.#journalEngine,
      limits: parts.reclaim,
      stateEngine: () => this.#stateEngine,
      position: () => this.#journal.last.position,
      checkpoint: () => this.checkpoint(),
      active: () => this.#phase === 'serving',
      problem: (text) => this.#note(text),
    })
  }

  /** Use `openStore`. */
  static async open(parts: Parts): Promise<Store> {
    const journalEngine = await parts.engines.open('journal')
    const stateEngine = await parts.engines.open('state')
    const store = new Store(parts, journalEngine, stateEngine, await State.open(stateEngine))
    await store.#logs.load()
    await parts.views.load(store)
    await store.#checkNewestBlock()
    await store.#replay()
    await store.#startTimers()
    return store
  }

  /** Bytes of commits that are not durable yet. */
  get pendingBytes(): number {
    return this.#queue.bytes
  }

  get health(): StoreHealth {
    if (this.#failure !== undefined) return { status: 'failed', reasons: [this.#failure, ...this.#problems] }
    const reasons = [...this.#problems]
    if (this.#disk?.low === true) reasons.push(this.#fullText(this.#disk))
    return { status: reasons.length > 0 ? 'degraded' : 'ok', reasons }
  }

  get stats(): StoreStats {
    return {
      liveBytes: this.#logs.liveBytes,
      commits: this.#commits,
      journalPosition: this.#journal.last.position,
      checkpointPosition: this.state.checkpoint.position,
      pendingBytes: this.#queue.bytes,
      tailCacheBytes: this.#logs.tail.bytes,
      freeBytes: this.#disk?.freeBytes ?? Number.POSITIVE_INFINITY,
    }
  }

  /** Bytes of the files in the data folder; 0 in memory. */
  async diskBytes(): Promise<number> {
    return this.#parts.folder === undefined ? 0 : folderBytes(this.#parts.folder.path)
  }

  /** The log with this id; undefined when there is none or it was dropped. */
  log(id: number): PartitionLog | undefined {
    return this.#logs.get(id)
  }

  /** From a view, when the operation that creates a partition is applied. Ids are never used again. */
  createLog(id: number): PartitionLog {
    return this.#logs.create(id)
  }

  /** From a view: the log ends; its space is given back in the background. */
  dropLog(id: number): void {
    this.#logs.drop(id)
  }

  /**
   * Commits operations together: all of them or none. Record batches get their base offsets in this call, in its order;
   * `assigned` is told each. Resolves when the commit would survive a power cut and the views have it.
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
      this.#queue.push({ appends, operations, bytes, resolve, reject })
      this.#pumping ??= this.#pump()
    })
  }

  /** Reads what memory holds, without waiting; undefined when the journal must be read. */
  readTail(read: LogRead): LogReadResult | undefined {
    return readTail(read)
  }

  /** Reads whole batches of several logs at once; an error of one stands in its result. */
  read(reads: readonly LogRead[]): Promise<LogReadResult[]> {
    return readLogs(this.#journal, reads)
  }

  /** Waits for what is pending, writes a checkpoint and closes the databases. */
  async close(): Promise<void> {
    if (this.#phase === 'closing' || this.#phase === 'closed') return
    while (this.#pumping !== undefined) await this.#pumping
    const failed = this.#phase === 'reopening'
    this.#phase = 'closing'
    for (const timer of this.#timers) clearInterval(timer)
    this.#disk?.stop()
    await this.#reopening
    await this.#reclaiming
    await this.#checkpointing
    try {
      if (!failed) await this.#writeCheckpoint()
    } finally {
      this.#phase = 'closed'
      await this.#closeEngines()
      await this.#parts.folder?.release()
    }
  }

  /** Brings the state of the views to disk, so that replay begins here. */
  checkpoint(): Promise<void> {
    this.#checkpointing ??= this.#checkpointOnce()
    return this.#checkpointing
  }

  async #checkpointOnce(): Promise<void> {
    try {
      if (this.#phase === 'serving') await this.#writeCheckpoint()
    } catch (error) {
      this.#fail(error, [])
    } finally {
      this.#checkpointing = undefined
    }
  }

  async #writeCheckpoint(): Promise<void> {
    this.#logs.save()
    if (this.state.dirtyBytes > 0) await this.state.write(this.#journal.last)
  }

  #refusal(ops: readonly Op[]): MillraceError | undefined {
    if (this.#phase === 'reopening') return new MillraceError('STORAGE_FAILED', this.#failure)
    if (this.#phase !== 'serving') return new MillraceError('CLOSED', 'the store is closed')
    if (this.#disk?.low === true && ops.some((op) => 'batch' in op)) {
      return new MillraceError('STORAGE_FULL', this.#fullText(this.#disk))
    }
    return undefined
  }

  #fullText(disk: DiskWatch): string {
    return `the disk has ${disk.freeBytes} bytes free, ${this.#parts.settings.freeBytesMin} are needed to publish`
  }

  /** Group commit: while one commit is written the next one gathers. */
  async #pump(): Promise<void> {
    // Requests that arrive in the same turn of the event loop, from any connection, share the commit.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (this.#queue.length > 0 && this.#phase === 'serving') {
      const requests = this.#queue.take(this.#parts.settings.commitBytesMax)
      const { logs, operations } = groupByLog(requests)
      let blocks: WrittenBlock[]
      try {
        blocks = await this.#journal.write(logs, operations)
      } catch (error) {
        this.#fail(error, requests)
        break
      }
      this.#commits++
      for (const block of blocks) this.#apply(block)
      this.#queue.release(requests)
      for (const request of requests) request.resolve()
      this.events.emit('writable')
      if (this.state.dirtyBytes > this.#parts.settings.checkpointBytesMax) void this.checkpoint()
    }
    this.#pumping = undefined
  }

  #apply(block: WrittenBlock): void {
    this.#logs.append(block, (log, header) => this.#parts.views.appended(log, header))
    for (const { kind, payload } of block.operations) {
      if (kind === opKinds.logsTrimmed)
        for (const [id, offset] of decodeTrims(payload)) this.#logs.trim(id, offset)
      else this.#parts.views.apply(kind, payload, block.position)
    }
    // Operations only, or batches of logs that were dropped while they were on their way.
    if (block.directory.every(({ logId }) => this.#logs.get(logId) === undefined))
      this.#reclaim.noteBlock(block.position, block.bytes.length)
  }

  async #replay(): Promise<void> {
    const { last, torn } = await replay(this.#journal, {
      block: (block) => this.#apply(block),
      damagedBlock: (head) => this.#logs.lost(head),
      problem: (text) => this.#note(text),
    })
    for (const log of this.#logs.values()) {
      if (log.problem !== undefined) this.#note(`partition log ${log.id}: ${log.problem}`)
    }
    if (torn.length > 0) {
      await this.#journalEngine.commit(torn.map((position) => ({ type: 'del', key: positionKey(position) })))
    }
    this.#journal = new Journal(this.#journalEngine, last)
  }

  /** A journal that ends before its checkpoint has lost its tail; the readers of these partitions are told as well. */
  async #checkNewestBlock(): Promise<void> {
    let newest = 0
    for (const log of this.#logs.values()) {
      if (log.endOffset > log.startOffset) newest = Math.max(newest, log.index.newestPosition)
    }
    if (newest === 0) return
    const [block] = await this.#journal.readRaw([newest])
    if (block === undefined) this.#note(`block ${newest} of the journal is missing: its end is lost`)
  }

  #note(problem: string): void {
    if (this.#problems.length < problemsMax) this.#problems.push(problem)
    this.events.emit('health', this.health)
  }

  async #startTimers(): Promise<void> {
    const { folder, settings } = this.#parts
    const repeat = (work: () => void, intervalMs: number) => {
      const timer = setInterval(work, intervalMs)
      timer.unref()
      this.#timers.push(timer)
    }
    repeat(() => void this.checkpoint(), settings.checkpointIntervalMs)
    repeat(() => void this.reclaim(), settings.reclaimIntervalMs)
    if (folder === undefined) return
    this.#disk = new DiskWatch(folder.path, settings.freeBytesMin, settings.diskWatchIntervalMs, () => {
      this.events.emit('health', this.health)
    })
    await this.#disk.look()
  }

  /** Gives back space of what retention dropped, when that is worth a round; a timer calls it. */
  reclaim(): Promise<void> {
    this.#reclaiming ??= this.#reclaimOnce()
    return this.#reclaiming
  }

  async #reclaimOnce(): Promise<void> {
    try {
      if (this.#phase === 'serving') await this.#reclaim.run()
    } catch (error) {
      this.#fail(error, [])
    } finally {
      this.#reclaiming = undefined
    }
  }

  /** A write was rejected: nothing that waits is acknowledged, and nothing is written until the log is verified. */
  #fail(error: unknown, requests: readonly CommitRequest[]): void {
    if (this.#phase !== 'serving') return
    this.#phase = 'reopening'
    this.#failure = `a write was rejected: ${textOf(error)}`
    const refused = [...requests, ...this.#queue.take(Number.POSITIVE_INFINITY)]
    this.#queue.release(refused)
    this.#logs.rollBack()
    this.#parts.views.rolledBack()
    for (const request of refused)
      request.reject(new MillraceError('STORAGE_FAILED', this.#failure, { cause: error }))
    this.events.emit('health', this.health)
    this.events.emit('writable')
    this.#reopening = this.#reopen()
  }

  async #reopen(): Promise<void> {
    const { settings, engines } = this.#parts
    for (
      let delayMs = settings.reopenDelayMs;
      this.#phase === 'reopening';
      delayMs = Math.min(delayMs * 2, reopenDelayMsMax)
    ) {
      await new Promise((resolve) => setTimeout(resolve, delayMs))
      try {
        await this.#closeEngines()
        this.#journalEngine = await engines.open('journal')
        this.#stateEngine = await engines.open('state')
        this.state.replaceEngine(this.#stateEngine)
        this.#journal = new Journal(this.#journalEngine, this.#journal.last)
        // The rejected commit may be there in spite of the error: then it is taken in, and its publishers learn so.
        await this.#replay()
        await this.#writeCheckpoint()
        this.#failure = undefined
        if (this.#phase === 'reopening') this.#phase = 'serving'
        this.events.emit('health', this.health)
      } catch (error) {
        this.#failure = `the log can't be reopened: ${textOf(error)}`
      }
    }
  }

  async #closeEngines(): Promise<void> {
    await this.#journalEngine.close()
    await this.#stateEngine.close()
  }
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}
