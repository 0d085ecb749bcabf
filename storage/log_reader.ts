import { MillraceError } from '../protocol/index.js'
import { findLogBatches, verifyBlock } from './block.js'
import type { SharedBuffer } from './buffer_pool.js'
import type { OffsetRange } from './damage.js'
import type { IndexEntry } from './index_page.js'
import { blocksInFlightMax, type Journal } from './journal.js'
import { cutBatches, type PartitionLog, skipBatchesBefore } from './partition_log.js'

export interface LogRead {
  readonly log: PartitionLog
  readonly offset: number
  readonly bytesMax: number
}

/** Whole batches from the one that holds `offset`; empty at the end of the log. */
export interface LogReadResult {
  readonly chunks: readonly Uint8Array[]
  readonly bytes: number
  /** Owns chunks from memory, which it retained: release it when they are no longer in use. */
  readonly memory?: readonly SharedBuffer[]
  readonly error?: MillraceError
  /** With `error`: all offsets that are unreadable for the same reason. */
  readonly damaged?: OffsetRange
}

/** Most index entries that one read of one log uses. */
const entriesMax = 1_024
/** A read of one log takes this many blocks at a time, */
const blocksPerRound = 64
/** and no more once these reach this size: small batches share their blocks with other logs. */
const blockBytesMax = 4 * 1024 * 1024

const nothing: LogReadResult = { chunks: [], bytes: 0 }

/** Answers from memory: the end of a log, or the part in the tail cache; undefined if a journal read is needed. */
export function readTail({ log, offset, bytesMax }: LogRead): LogReadResult | undefined {
  const problem = offsetProblem(log, offset)
  if (problem !== undefined) return { ...nothing, error: problem }
  if (offset === log.endOffset) return nothing
  const found = log.tail.from(offset, bytesMax)
  if (found === undefined) return undefined
  const memory: SharedBuffer[] = []
  for (const chunk of found) {
    if (chunk.memory === undefined) continue
    chunk.memory.retain()
    memory.push(chunk.memory)
  }
  const chunks = found.map(({ block, from, to }) => block.subarray(from, to))
  return { ...trimChunks(chunks, offset, bytesMax), memory }
}

/** Reads several logs, each block once; an error of one log does not affect the others. */
export async function readLogs(journal: Journal, reads: readonly LogRead[]): Promise<LogReadResult[]> {
  const runs = await Promise.all(reads.map((read) => planRead(read)))
  for (let open = runs.filter(hasMore); open.length > 0; open = open.filter(hasMore)) {
    await readRound(journal, open)
  }
  return runs.map((run) => (run instanceof JournalRead ? run.result() : run))
}

function hasMore(run: JournalRead | LogReadResult): run is JournalRead {
  return run instanceof JournalRead && run.hasMore
}

/** One round of all reads, by ascending position. */
async function readRound(journal: Journal, runs: readonly JournalRead[]): Promise<void> {
  const readersAt = new Map<number, JournalRead[]>()
  for (const run of runs) {
    for (const { position } of run.nextRound()) {
      const readers = readersAt.get(position)
      if (readers === undefined) readersAt.set(position, [run])
      else readers.push(run)
    }
  }
  const positions = [...readersAt.keys()].sort((a, b) => a - b)
  for (let at = 0; at < positions.length; at += blocksInFlightMax) {
    const some = positions.slice(at, at + blocksInFlightMax)
    const blocks = await readBlocks(journal, some)
    for (const [index, position] of some.entries()) {
      const block = blocks[index] as Buffer | MillraceError
      for (const run of readersAt.get(position) as JournalRead[]) run.take(position, block)
    }
  }
}

/** Blocks, or the error of their read. */
async function readBlocks(
  journal: Journal,
  positions: readonly number[],
): Promise<readonly (Buffer | MillraceError)[]> {
  try {
    const blocks = await journal.readRaw(positions)
    return positions.map((position, index) => verified(blocks[index], position))
  } catch (error) {
    const failure = asMillraceError(error)
    return positions.map(() => failure)
  }
}

function verified(bytes: Uint8Array | undefined, position: number): Buffer | MillraceError {
  if (bytes === undefined) return new MillraceError('CORRUPT', `block ${position} of the journal is missing`)
  try {
    return verifyBlock(bytes, position)
  } catch (error) {
    return asMillraceError(error)
  }
}

/** Finds the blocks to read in the index, and answers from memory if possible. */
async function planRead(read: LogRead): Promise<JournalRead | LogReadResult> {
  const { log, bytesMax } = read
  try {
    const fromTail = readTail(read)
    if (fromTail !== undefined) return fromTail
    const entries: IndexEntry[] = []
    let bytes = 0
    let offset = read.offset
    while (bytes < bytesMax && offset < log.endOffset && entries.length < entriesMax) {
      const page = await log.index.from(offset)
      if (page.length === 0) break
      for (const entry of page) {
        if (entry.firstOffset > offset || entry.position === 0) {
          if (entries.length > 0) return new JournalRead(read, entries)
          // Retention or a deletion may have dropped these offsets while the index was read.
          const problem = goneSince(log, offset)
          return problem === undefined ? lost(log, offset, entry) : { ...nothing, error: problem }
        }
        if (bytes > 0 && bytes + entry.bytes > bytesMax) return new JournalRead(read, entries)
        entries.push(entry)
        bytes += entry.bytes
        offset = entry.firstOffset + entry.recordCount
      }
    }
    return new JournalRead(read, entries)
  } catch (error) {
    return { ...nothing, error: goneSince(log, read.offset) ?? asMillraceError(error) }
  }
}

/** The read of one log in progress. */
class JournalRead {
  readonly #read: LogRead
  readonly #entries: readonly IndexEntry[]
  readonly #chunks: Uint8Array[] = []
  #next = 0
  #blockBytes = 0
  #error: MillraceError | undefined

  constructor(read: LogRead, entries: readonly IndexEntry[]) {
    this.#read = read
    this.#entries = entries
  }

  get hasMore(): boolean {
    return this.#error === undefined && this.#next < this.#entries.length && this.#blockBytes < blockBytesMax
  }

  nextRound(): readonly IndexEntry[] {
    const from = this.#next
    this.#next += blocksPerRound
    return this.#entries.slice(from, this.#next)
  }

  take(position: number, block: Buffer | MillraceError): void {
    if (this.#error !== undefined) return
    try {
      if (block instanceof MillraceError) throw block
      const found = findLogBatches(block, position, this.#read.log.id)
      this.#blockBytes += block.length
      // A small part must not keep a large block in memory until it is sent.
      this.#chunks.push(found.length * 2 < block.length ? Buffer.from(found) : found)
    } catch (error) {
      this.#error = asMillraceError(error)
    }
  }

  /** Batches before damage are served; the next read, which begins at the damage, gets the error. */
  result(): LogReadResult {
    const { log, offset, bytesMax } = this.#read
    if (this.#chunks.length > 0) return trimChunks(this.#chunks, offset, bytesMax)
    // Retention or a deletion may have freed the block between the index lookup and the read, or pages of the index.
    const problem = goneSince(log, offset) ?? this.#error
    if (problem === undefined) return nothing
    if (problem !== this.#error || problem.code !== 'CORRUPT') return { ...nothing, error: problem }
    const entry = this.#entries[0] as IndexEntry
    const damaged = { from: entry.firstOffset, to: entry.firstOffset + entry.recordCount }
    return { ...nothing, error: damage(this.#read, damaged, this.#error), damaged }
  }
}

function trimChunks(chunks: Uint8Array[], offset: number, bytesMax: number): LogReadResult {
  const first = chunks[0]
  if (first === undefined) return nothing
  chunks[0] = cutBatches(skipBatchesBefore(first, offset), bytesMax)
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.length
  return { chunks, bytes }
}

function offsetProblem(log: PartitionLog, offset: number): MillraceError | undefined {
  if (offset >= log.startOffset && offset <= log.endOffset) return undefined
  return new MillraceError(
    'OFFSET_OUT_OF_RANGE',
    `offset ${offset} is out of range, expected ${log.startOffset} to ${log.endOffset}`,
  )
}

/**
 * The reason why a read found nothing, if its records were dropped after it began: their space may have been freed, which
 * looks like damage.
 */
function goneSince(log: PartitionLog, offset: number): MillraceError | undefined {
  if (!log.dropped) return offsetProblem(log, offset)
  return new MillraceError('UNKNOWN_TOPIC', 'the topic was deleted while it was read')
}

function damage({ log }: LogRead, { from, to }: OffsetRange, error: MillraceError): MillraceError {
  return new MillraceError(
    'CORRUPT',
    `can't read offsets ${from} to ${to - 1} of partition log ${log.id}: ${error.message}`,
    { cause: error },
  )
}

function lost(log: PartitionLog, offset: number, entry: IndexEntry): LogReadResult {
  const isHole = entry.position !== 0
  const from = Math.min(offset, entry.firstOffset)
  const to = isHole ? entry.firstOffset : entry.firstOffset + entry.recordCount
  const text = `offsets ${from} to ${to - 1} of partition log ${log.id} are lost`
  return { ...nothing, error: new MillraceError('CORRUPT', text), damaged: { from, to } }
}

function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError(
    'STORAGE_FAILED',
    `a read failed: ${error instanceof Error ? error.message : String(error)}`,
    {
      cause: error,
    },
  )
}
