import { MillraceError } from '../protocol/index.js'
import { findLogBatches, type Journal } from './journal.js'
import type { IndexEntry } from './log_index.js'
import { cutBatches, type PartitionLog, skipBatchesBefore } from './partition_log.js'

export interface LogRead {
  readonly log: PartitionLog
  readonly offset: number
  readonly bytesMax: number
}

/** Whole batches from the one that holds `offset` on; empty at the end of the log. */
export interface LogReadResult {
  readonly chunks: readonly Uint8Array[]
  readonly bytes: number
  readonly error?: MillraceError
}

const nothing: LogReadResult = { chunks: [], bytes: 0 }

/** Answers from memory: the end of a log, or what the tail cache has of it; undefined when the journal must be read. */
export function readTail({ log, offset, bytesMax }: LogRead): LogReadResult | undefined {
  const problem = offsetProblem(log, offset)
  if (problem !== undefined) return { ...nothing, error: problem }
  if (offset === log.endOffset) return nothing
  const found = log.tail.from(offset, bytesMax)
  if (found === undefined) return undefined
  const chunks = found.map((chunk) => chunk.bytes)
  return trimChunks(chunks, offset, bytesMax)
}

/** Reads several logs with one request to the engine; what is wrong with one does not touch the others. */
export async function readLogs(journal: Journal, reads: readonly LogRead[]): Promise<LogReadResult[]> {
  const plans = await Promise.all(reads.map((read) => planRead(read)))
  const positions = new Set<number>()
  for (const plan of plans) for (const entry of plan.entries) positions.add(entry.position)
  const sorted = [...positions].sort((a, b) => a - b)
  const blocks = await journal.readRaw(sorted)
  const blockAt = new Map(sorted.map((position, index) => [position, blocks[index]]))
  return reads.map((read, index) => takeBatches(read, plans[index] as Plan, blockAt))
}

interface Plan {
  readonly entries: readonly IndexEntry[]
  readonly answer?: LogReadResult
}

async function planRead(read: LogRead): Promise<Plan> {
  const { log, bytesMax } = read
  try {
    const fromTail = readTail(read)
    if (fromTail !== undefined) return { entries: [], answer: fromTail }
    const entries: IndexEntry[] = []
    let bytes = 0
    let offset = read.offset
    while (bytes < bytesMax && offset < log.endOffset) {
      const page = await log.index.from(offset)
      if (page.length === 0) break
      for (const entry of page) {
        if (entry.firstOffset > offset || entry.position === 0) {
          if (entries.length > 0) return { entries }
          throw new MillraceError('CORRUPT', lostText(log, offset, entry))
        }
        if (bytes > 0 && bytes + entry.bytes > bytesMax) return { entries }
        entries.push(entry)
        bytes += entry.bytes
        offset = entry.firstOffset + entry.recordCount
      }
    }
    return { entries }
  } catch (error) {
    return { entries: [], answer: { ...nothing, error: asMillraceError(error) } }
  }
}

function takeBatches(read: LogRead, plan: Plan, blockAt: Map<number, Uint8Array | undefined>): LogReadResult {
  if (plan.answer !== undefined) return plan.answer
  const chunks: Uint8Array[] = []
  try {
    for (const { position } of plan.entries) {
      const block = blockAt.get(position)
      if (block === undefined)
        throw new MillraceError('CORRUPT', `block ${position} of the journal is missing`)
      chunks.push(findLogBatches(block, position, read.log.id))
    }
  } catch (error) {
    if (chunks.length === 0) {
      // Retention may have dropped the block between the look into the index and the read.
      const problem = offsetProblem(read.log, read.offset)
      return { ...nothing, error: problem ?? damage(read, asMillraceError(error)) }
    }
  }
  return trimChunks(chunks, read.offset, read.bytesMax)
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
    `offset ${offset} is outside of ${log.startOffset} to ${log.endOffset}`,
  )
}

function damage(read: LogRead, error: MillraceError): MillraceError {
  return new MillraceError(
    'CORRUPT',
    `partition log ${read.log.id} can't be read at offset ${read.offset}: ${error.message}`,
    {
      cause: error,
    },
  )
}

function lostText(log: PartitionLog, offset: number, entry: IndexEntry): string {
  const from = Math.min(offset, entry.firstOffset)
  const to = entry.position === 0 ? entry.firstOffset + entry.recordCount - 1 : entry.firstOffset - 1
  return `partition log ${log.id} has lost offsets ${from} to ${to}`
}

function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError(
    'STORAGE_FAILED',
    `reading failed: ${error instanceof Error ? error.message : String(error)}`,
    {
      cause: error,
    },
  )
}
