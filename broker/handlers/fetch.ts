import {
  batchHeaderBytes,
  type commands,
  limits,
  type ReplyOf,
  type RequestOf,
} from '../../protocol/index.js'
import type { LogRead, LogReadResult, SharedBuffer } from '../../storage/index.js'
import type { BrokerContext } from '../context.js'
import { DataWait } from '../long_polls.js'
import type { Partition } from '../partition/partition.js'
import { EntryErrors } from './entry_errors.js'
import type { Handler, HandlerReply, RequestContext } from './handler.js'

type FetchRequest = RequestOf<typeof commands.fetch>
type FetchReply = ReplyOf<typeof commands.fetch>
type FetchEntry = FetchRequest['partitions'][number]
type PartitionReply = FetchReply['partitions'][number]

/** Minimum size of a read of a partition. */
const shareBytesMin = 64 * 1024
/** Share of a frame reserved for the body of a reply. */
const bodyShare = 1 / 16

/**
 * Answers from memory without a turn of the event loop if possible; otherwise it reads the journal, or waits for data.
 */
const fetch: Handler<typeof commands.fetch> = (context, request) => {
  const { broker, session } = context
  if (!session.hasRoom || broker.fetchTurns.isUsedUp) return fetchSlowly(context, request, undefined)
  const collector = new FetchCollector(broker, request, session.roomBytes)
  collector.collectFromMemory()
  if (collector.needsJournal) {
    collector.releaseMemory()
    return fetchSlowly(context, request, undefined)
  }
  broker.fetchTurns.add(collector.bytes)
  if (collector.isEnough || request.waitMs === 0) return collector.reply()
  return fetchSlowly(context, request, collector)
}

export const fetchHandlers = { fetch }

/** @param first already collected data, if it was not enough */
async function fetchSlowly(
  context: RequestContext,
  request: FetchRequest,
  first: FetchCollector | undefined,
): Promise<HandlerReply<FetchReply>> {
  const { broker, session } = context
  const untilMs = performance.now() + Math.min(request.waitMs, limits.fetchWaitMsMax)
  let collector = first ?? (await collect(context, request))
  for (;;) {
    const leftMs = untilMs - performance.now()
    if (collector.isEnough || leftMs <= 0 || broker.draining || !session.isOpen) return collector.reply()
    collector.releaseMemory()
    session.release(collector.acquiredBytes)
    const wait = new DataWait(broker.longPolls, collector.partitions, collector.missingBytes, leftMs)
    const unsubscribe = session.onClose(wait.end)
    // Changes between the collection and the start of the wait would go unnoticed.
    if (collector.isOutdated) wait.end()
    await wait.over
    unsubscribe()
    collector = await collect(context, request)
  }
}

/** Reserves the room at the moment of the read; otherwise all waiting requests would see the same room as free. */
async function collect({ broker, session }: RequestContext, request: FetchRequest): Promise<FetchCollector> {
  const { fetchTurns } = broker
  for (let isSmall = true; ; isSmall = false) {
    for (;;) {
      if (fetchTurns.isUsedUp) await fetchTurns.next()
      else if (isSmall ? session.roomBytes > 0 : session.hasRoom) break
      else await session.roomChange(isSmall ? 1 : Number.POSITIVE_INFINITY)
    }
    const { hasRoom, roomBytes } = session
    const collector = new FetchCollector(broker, request, roomBytes)
    collector.collectFromMemory()
    collector.noteEnds()
    collector.acquiredBytes = collector.needsJournal ? collector.bytesMax : collector.bytes
    fetchTurns.add(collector.acquiredBytes)
    await session.acquire(collector.acquiredBytes)
    if (!collector.needsJournal) return collector
    try {
      await collector.collectFromJournal()
    } catch (error) {
      collector.releaseMemory()
      session.release(collector.acquiredBytes)
      throw error
    }
    if (hasRoom || collector.bytes <= roomBytes) return collector
    // A single batch is larger than the available room: wait until there is room for it.
    collector.releaseMemory()
    session.release(collector.acquiredBytes)
  }
}

/** An entry whose data is not in memory. */
interface ColdEntry {
  readonly entry: FetchEntry
  readonly partition: Partition
}

/** One pass over the partitions of a fetch. */
class FetchCollector {
  readonly #broker: BrokerContext
  readonly #request: FetchRequest
  /** Limit of the bytes of batches in the reply, unless a single batch is larger. */
  readonly bytesMax: number
  /** Number of existing partitions. */
  readonly partitions: Partition[] = []
  /** Ends of the partitions at the time of the collection; unknown if no pause follows it. */
  #ends: readonly number[] | undefined
  /** Reserved room for the reply. */
  acquiredBytes = 0
  readonly #replies: PartitionReply[] = []
  readonly #payload: Uint8Array[] = []
  readonly #memory: SharedBuffer[] = []
  readonly #cold: ColdEntry[] = []
  readonly #errors: EntryErrors
  #bytes = 0
  #records = 0
  #hasError = false

  /** @param roomBytes number of bytes that the budget allows */
  constructor(broker: BrokerContext, request: FetchRequest, roomBytes: number) {
    this.#errors = new EntryErrors(broker.logger)
    this.#broker = broker
    this.#request = request
    this.bytesMax = Math.min(request.bytesMax, broker.settings.frameBytesMax / 2, roomBytes)
  }

  get bytes(): number {
    return this.#bytes
  }

  get needsJournal(): boolean {
    return this.#cold.length > 0
  }

  /** Whether the reply should go out now. */
  get isEnough(): boolean {
    return this.#hasError || this.#bytes >= Math.min(this.#request.bytesMin, this.bytesMax)
  }

  get missingBytes(): number {
    return Math.min(this.#request.bytesMin, this.bytesMax) - this.#bytes
  }

  /** Call it in the turn of `collectFromMemory`, if there is a pause before the call of `isOutdated`. */
  noteEnds(): void {
    this.#ends = this.partitions.map(({ endOffset }) => endOffset)
  }

  /** Whether partitions have new data, or were deleted, since they were read. */
  get isOutdated(): boolean {
    const ends = this.#ends
    return (
      ends !== undefined &&
      this.partitions.some(({ endOffset, log }, index) => endOffset !== ends[index] || log.dropped)
    )
  }

  /**
   * Collects data from memory. It begins at another partition each time, so that a busy one does not starve the others.
   */
  collectFromMemory(): void {
    const { partitions: entries } = this.#request
    const start = nextStart(entries.length)
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[(start + i) % entries.length] as FetchEntry
      const partition = this.#find(entry)
      if (partition === undefined) continue
      this.partitions.push(partition)
      if (this.#bytes >= this.bytesMax) continue
      const bytesMax = Math.min(entry[3], this.bytesMax - this.#bytes)
      const found = this.#broker.shard.readTail({ log: partition.log, offset: entry[2], bytesMax })
      if (found === undefined) this.#cold.push({ entry, partition })
      else this.#take(entry, partition, found)
    }
  }

  /**
   * Reads from the journal with one read for all partitions. They share the remaining limit
   * evenly: partitions of one reader often share blocks too.
   */
  async collectFromJournal(): Promise<void> {
    let leftBytes = this.bytesMax - this.#bytes
    const shareBytes = Math.max(shareBytesMin, Math.floor(leftBytes / this.#cold.length))
    const chosen: ColdEntry[] = []
    const reads: LogRead[] = []
    for (const cold of this.#cold) {
      if (leftBytes <= 0) break
      const bytesMax = Math.max(1, Math.min(cold.entry[3], shareBytes, leftBytes))
      leftBytes -= bytesMax
      chosen.push(cold)
      reads.push({ log: cold.partition.log, offset: cold.entry[2], bytesMax })
    }
    const results = await this.#broker.shard.read(reads)
    for (const [index, { entry, partition }] of chosen.entries()) {
      this.#take(entry, partition, results[index] as LogReadResult)
    }
  }

  reply(): HandlerReply<FetchReply> {
    const { metrics } = this.#broker
    metrics.fetchedBytes += this.#bytes
    metrics.fetchedRecords += this.#records
    const { acquiredBytes } = this
    const body = { partitions: this.#replies }
    return { body, payload: this.#payload, sent: () => this.releaseMemory(), acquiredBytes }
  }

  /** Call it when the collected data is no longer in use: its memory is then reused. */
  releaseMemory(): void {
    for (const memory of this.#memory.splice(0)) memory.release()
  }

  #find(entry: FetchEntry): Partition | undefined {
    try {
      return this.#broker.shard.partition(entry[0], entry[1])
    } catch (error) {
      this.#fail(entry, 0, 0, error)
      return undefined
    }
  }

  #take(entry: FetchEntry, partition: Partition, { chunks, bytes, memory, error }: LogReadResult): void {
    if (memory !== undefined) this.#memory.push(...memory)
    const { startOffset, endOffset } = partition
    if (error !== undefined) {
      this.#fail(entry, startOffset, endOffset, error)
      return
    }
    if (bytes === 0) return
    const frameRoomBytes = this.#broker.settings.frameBytesMax * (1 - bodyShare)
    if (this.#bytes > 0 && this.#bytes + bytes > frameRoomBytes) return
    for (const chunk of chunks) {
      this.#payload.push(chunk)
      this.#records += recordsIn(chunk)
    }
    this.#bytes += bytes
    this.#replies.push([entry[0], entry[1], 0, bytes, startOffset, endOffset, undefined])
  }

  #fail(entry: FetchEntry, startOffset: number, endOffset: number, error: unknown): void {
    this.#hasError = true
    const { error: number, message } = this.#errors.fields(error)
    this.#replies.push([entry[0], entry[1], number, 0, startOffset, endOffset, message])
  }
}

let starts = 0

function nextStart(count: number): number {
  starts = (starts + 1) % 0x4000_0000
  return count === 0 ? 0 : starts % count
}

/** Counts records in consecutive whole batches by their headers. */
function recordsIn(run: Uint8Array): number {
  const view = new DataView(run.buffer, run.byteOffset, run.length)
  let records = 0
  for (let at = 0; at + batchHeaderBytes <= run.length; at += view.getUint32(at, true)) {
    records += view.getUint32(at + 20, true)
  }
  return records
}
