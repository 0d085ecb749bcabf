import { EventEmitter } from 'node:events'
import { type BatchHeader, MillraceError, readBatchHeader } from '../protocol/index.js'
import type { BlockHead, DirectoryEntry, Operation } from './block.js'
import { CommitQueue, type CommitRequest, groupByLog, type PendingAppend } from './commit_queue.js'
import { DiskWatch } from './disk_watch.js'
import type { Engine, EngineFactory } from './engine.js'
import { Journal, type WrittenBlock } from './journal.js'
import { stateTables, tableRange } from './keys.js'
import { PageCache } from './log_index.js'
import { type LogRead, type LogReadResult, readLogs, readTail } from './log_reader.js'
import { PartitionLog } from './partition_log.js'
import { replay } from './recovery.js'
import { State } from './state.js'
import { TailCache } from './tail_cache.js'

/** One operation of a commit: a record batch for a log, or anything else, which only the views understand. */
export type Op = { readonly log: PartitionLog; readonly batch: Uint8Array } | Operation

/** What the broker folds out of the journal. The same calls come live and in replay, in the order of the journal. */
export interface Views {
  /** Once, before replay: take up what the checkpoint holds. */
  load(state: State): Promise<void>
  apply(kind: number, payload: Uint8Array, position: number): void
  appended(log: PartitionLog, header: BatchHeader): void
  /** Writes failed: what was assigned and is not durable is void. */
  rolledBack(): void
}

export interface StoreHealth {
  readonly status: 'ok' | 'degraded' | 'failed'
  readonly reasons: readonly string[]
}

export interface StoreOptions {
  readonly engines: EngineFactory
  readonly views: Views
  /** Folder whose free space is watched; none for engines in memory. */
  readonly folder?: string
  readonly tailCacheBytes?: number
  readonly commitBytesMax?: number
  readonly checkpointIntervalMs?: number
  readonly checkpointBytesMax?: number
  readonly freeBytesMin?: number
  readonly reopenDelayMs?: number
}

const defaults = {
  tailCacheBytes: 64 * 1024 * 1024,
  commitBytesMax: 8 * 1024 * 1024,
  checkpointIntervalMs: 1_000,
  checkpointBytesMax: 8 * 1024 * 1024,
  freeBytesMin: 256 * 1024 * 1024,
  reopenDelayMs: 100,
}
const reopenDelayMsMax = 5_000
const problemsMax = 100

/** The durable heart of a shard: one journal, the logs of its partitions, and the state of the views over it. */
export class Store {
  readonly state: State
  readonly events = new EventEmitter<{ health: [StoreHealth]; writable: [] }>()
  readonly #options: StoreOptions & typeof defaults
  readonly #logs = new Map<number, PartitionLog>()
  readonly #dirty = new Set<PartitionLog>()
  readonly #queue = new CommitQueue()
  readonly #pages = new PageCache()
  readonly #tail: TailCache
  readonly #problems: string[] = []
  #journalEngine: Engine
  #stateEngine: Engine
  #journal: Journal
  #phase: 'serving' | 'reopening' | 'closed' = 'serving'
  #failure: string | undefined
  #pumping: Promise<void> | undefined
  #checkpointing: Promise<void> | undefined
  #checkpointTimer: NodeJS.Timeout | undefined
  #disk: DiskWatch | undefined
  #commits = 0

  private constructor(
    options: StoreOptions & typeof defaults,
    journal: Engine,
    stateEngine: Engine,
    state: State,
  ) {
    this.#options = options
    this.#journalEngine = journal
    this.#stateEngine = stateEngine
    this.state = state
    this.#journal = new Journal(journal, state.checkpoint)
    this.#tail = new TailCache(options.tailCacheBytes, (id) => this.#logs.get(id)?.tail)
  }

  /**
   * Opens the databases, loads the checkpoint and replays what follows it.
   * @throws MillraceError FOLDER_IN_USE, STORAGE_FAILED, CORRUPT
   */
  static async open(given: StoreOptions): Promise<Store> {
    const options = { ...defaults, ...given }
    const journal = await options.engines.open('journal')
    const stateEngine = await options.engines.open('state')
    const store = new Store(options, journal, stateEngine, await State.open(stateEngine))
    await store.#loadLogs()
    await options.views.load(store.state)
    await store.#replay()
    await store.#watch()
    return store
  }

  get commits(): number {
    return this.#commits
  }

  /** Bytes of commits that are not durable yet. */
  get pendingBytes(): number {
    return this.#queue.bytes
  }

  get tailCacheBytes(): number {
    return this.#tail.bytes
  }

  get health(): StoreHealth {
    if (this.#failure !== undefined) return { status: 'failed', reasons: [this.#failure, ...this.#problems] }
    const reasons = [...this.#problems]
    if (this.#disk?.low === true) {
      reasons.push(
        `the disk has ${this.#disk.freeBytes} bytes free, ${this.#options.freeBytesMin} are needed to publish`,
      )
    }
    return { status: reasons.length > 0 ? 'degraded' : 'ok', reasons }
  }

  log(id: number): PartitionLog | undefined {
    const log = this.#logs.get(id)
    return log?.dropped === true ? undefined : log
  }

  /** From a view, when the operation that creates a partition is applied. */
  createLog(id: number): PartitionLog {
    const log = new PartitionLog(id, this.state, this.#pages)
    this.#logs.set(id, log)
    this.#dirty.add(log)
    return log
  }

  /** From a view: the log ends; its space is given back in the background. */
  dropLog(id: number): void {
    const log = this.#logs.get(id)
    if (log === undefined) return
    log.dropped = true
    this.#dirty.add(log)
  }

  /** From a view: records before `offset` are no longer readable. */
  trimLog(id: number, offset: number): void {
    const log = this.#logs.get(id)
    if (log === undefined || offset <= log.startOffset) return
    log.startOffset = Math.min(offset, log.endOffset)
    this.#dirty.add(log)
  }

  /**
   * Commits operations together: all of them or none. Record batches get their base offsets in this call, in its order;
   * `onAssigned` is told each. Resolves when the commit would survive a power cut and the views have it.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED (both retryable), CLOSED
   */
  commit(ops: readonly Op[], onAssigned?: (index: number, baseOffset: number) => void): Promise<void> {
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
        onAssigned?.(index, baseOffset)
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

  readTail(read: LogRead): LogReadResult | undefined {
    return readTail(read)
  }

  read(reads: readonly LogRead[]): Promise<LogReadResult[]> {
    return readLogs(this.#journal, reads)
  }

  /** Waits for what is pending, writes a checkpoint and closes the databases. */
  async close(): Promise<void> {
    if (this.#phase === 'closed') return
    while (this.#pumping !== undefined) await this.#pumping
    clearInterval(this.#checkpointTimer)
    this.#disk?.stop()
    await this.checkpoint()
    this.#phase = 'closed'
    await this.#journalEngine.close()
    await this.#stateEngine.close()
  }

  /** Brings what the views changed to disk; returns once it is there. */
  async checkpoint(): Promise<void> {
    if (this.#checkpointing !== undefined) return this.#checkpointing
    this.#checkpointing = this.#writeCheckpoint().finally(() => {
      this.#checkpointing = undefined
    })
    return this.#checkpointing
  }

  async #writeCheckpoint(): Promise<void> {
    if (this.#phase !== 'serving') return
    for (const log of this.#dirty) log.save(this.state)
    this.#dirty.clear()
    if (this.state.dirtyBytes === 0) return
    await this.state.write(this.#journal.last)
  }

  #refusal(ops: readonly Op[]): MillraceError | undefined {
    if (this.#phase === 'closed') return new MillraceError('CLOSED', 'the store is closed')
    if (this.#phase === 'reopening') return new MillraceError('STORAGE_FAILED', this.#failure)
    if (this.#disk?.low === true && ops.some((op) => 'batch' in op)) {
      return new MillraceError('STORAGE_FULL', this.health.reasons.at(-1))
    }
    return undefined
  }

  /** Group commit: while one commit is written the next one gathers. */
  async #pump(): Promise<void> {
    // Requests that arrive in the same turn of the event loop, from any connection, share the commit.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (this.#queue.length > 0 && this.#phase === 'serving') {
      const requests = this.#queue.take(this.#options.commitBytesMax)
      const { logs, operations } = groupByLog(requests)
      try {
        const blocks = await this.#journal.write(logs, operations)
        this.#commits++
        for (const block of blocks) this.#applyBlock(block)
        for (const operation of operations) this.#applyOperation(operation, this.#journal.last.position)
      } catch (error) {
        this.#fail(error, requests)
        break
      }
      this.#queue.release(requests)
      for (const request of requests) request.resolve()
      this.events.emit('writable')
    }
    this.#pumping = undefined
    if (this.state.dirtyBytes > this.#options.checkpointBytesMax) this.#checkpointSoon()
  }

  #applyBlock(block: WrittenBlock): void {
    for (const entry of block.directory) this.#applyEntry(entry, block)
    this.#tail.add(block)
  }

  #applyEntry(entry: DirectoryEntry, block: { position: number; bytes: Uint8Array }): void {
    const log = this.#logs.get(entry.logId)
    if (log === undefined) return
    log.appended(entry, block.position)
    this.#dirty.add(log)
    let at = entry.from
    for (const end = entry.from + entry.bytes; at < end; ) {
      const header = readBatchHeader(block.bytes, at)
      this.#options.views.appended(log, header)
      at += header.batchBytes
    }
  }

  #applyOperation({ kind, payload }: Operation, position: number): void {
    this.#options.views.apply(kind, payload, position)
  }

  async #loadLogs(): Promise<void> {
    const { gte, lt } = tableRange(stateTables.log)
    let from = gte
    for (;;) {
      const entries = await this.state.range({ gte: from, lt, limit: 1000 })
      await Promise.all(
        entries.map(([key, meta]) => {
          const id = Buffer.from(key).readUInt32BE(1)
          const log = new PartitionLog(id, this.state, this.#pages)
          this.#logs.set(id, log)
          return log.load(meta)
        }),
      )
      const last = entries.at(-1)
      if (last === undefined || entries.length < 1000) return
      from = Buffer.concat([last[0], Buffer.of(0)])
    }
  }

  async #replay(): Promise<void> {
    const last = await replay(this.#journal, this.#journal.last, {
      block: (block) => {
        for (const entry of block.directory) this.#applyEntry(entry, block)
        for (const operation of block.operations) this.#applyOperation(operation, block.position)
      },
      damagedBlock: (head) => this.#applyDamaged(head),
      problem: (text) => this.#note(text),
    })
    this.#journal = new Journal(this.#journalEngine, last)
  }

  #applyDamaged(head: BlockHead): void {
    for (const entry of head.directory) {
      const log = this.#logs.get(entry.logId)
      if (log === undefined) continue
      log.lost(entry.firstOffset + entry.recordCount)
      this.#dirty.add(log)
    }
  }

  #note(problem: string): void {
    if (this.#problems.length < problemsMax) this.#problems.push(problem)
    this.events.emit('health', this.health)
  }

  async #watch(): Promise<void> {
    this.#checkpointTimer = setInterval(() => this.#checkpointSoon(), this.#options.checkpointIntervalMs)
    this.#checkpointTimer.unref()
    if (this.#options.folder === undefined) return
    this.#disk = new DiskWatch(this.#options.folder, this.#options.freeBytesMin, 1_000, () => {
      this.events.emit('health', this.health)
    })
    await this.#disk.look()
  }

  #checkpointSoon(): void {
    this.checkpoint().catch((error) => this.#fail(error, []))
  }

  /** A write was rejected: nothing that waits is acknowledged, and nothing is written until the log is verified. */
  #fail(error: unknown, requests: readonly CommitRequest[]): void {
    if (this.#phase !== 'serving') return
    this.#phase = 'reopening'
    this.#failure = `a write was rejected: ${error instanceof Error ? error.message : String(error)}`
    const refused = [...requests, ...this.#queue.take(Number.POSITIVE_INFINITY)]
    this.#queue.release(refused)
    for (const log of this.#logs.values()) log.rollBack()
    this.#options.views.rolledBack()
    for (const request of refused)
      request.reject(new MillraceError('STORAGE_FAILED', this.#failure, { cause: error }))
    this.events.emit('health', this.health)
    this.events.emit('writable')
    void this.#reopen()
  }

  async #reopen(): Promise<void> {
    for (let delayMs = this.#options.reopenDelayMs; ; delayMs = Math.min(delayMs * 2, reopenDelayMsMax)) {
      try {
        await this.#journalEngine.close()
        await this.#stateEngine.close()
        this.#journalEngine = await this.#options.engines.open('journal')
        this.#stateEngine = await this.#options.engines.open('state')
        this.state.replaceEngine(this.#stateEngine)
        // The rejected commit may be there in spite of the error: then it is taken in, and its publishers learn so.
        this.#journal = new Journal(this.#journalEngine, this.#journal.last)
        await this.#replay()
        this.#failure = undefined
        this.#phase = 'serving'
        this.events.emit('health', this.health)
        return
      } catch (error) {
        this.#failure = `the log can't be reopened: ${error instanceof Error ? error.message : String(error)}`
      }
      await new Promise((resolve) => setTimeout(resolve, delayMs))
    }
  }
}
