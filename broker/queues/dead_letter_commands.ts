import { type commands, offsetsOf, type ReplyOf, type RequestOf, runsOf } from '../../protocol/index.js'
import { opKinds, type PartitionLog } from '../../storage/index.js'
import { hasMessage, readDeadLetter } from './dead_letters.js'
import type { QueueHost } from './host.js'
import { encodeQueueRedriven } from './ops.js'
import type { QueueRecord } from './queues_view.js'
import { readEach, readSome } from './read_records.js'

type Page = ReplyOf<typeof commands.queueDeadLetters>

/** Limit of the dead letters that one request examines: most of them may have been redriven. */
const examinedMax = 20_000

/**
 * Returns dead letters that were not redriven. A page may have fewer than `limit`, even none, while there are more.
 * @throws MillraceError STORAGE_FAILED
 */
export async function listDeadLetters(
  host: QueueHost,
  record: QueueRecord,
  { fromOffset, limit }: Pick<RequestOf<typeof commands.queueDeadLetters>, 'fromOffset' | 'limit'>,
): Promise<Page> {
  const log = logOf(host, record)
  const letters: Page['letters'][number][] = []
  if (log === undefined) return { letters }
  let examined = 0
  for (let offset = Math.max(fromOffset, log.startOffset); offset < log.endOffset; ) {
    if (examined >= examinedMax) return { letters, nextOffset: offset }
    const { records, nextOffset } = await readSome(host.reader, log, offset)
    for (const read of records) {
      if (letters.length === limit) return { letters, nextOffset: read.offset }
      if (!record.redriven.has(read.offset)) letters.push(readDeadLetter(read))
    }
    examined += records.length
    offset = nextOffset
  }
  return { letters }
}

/** Letters that are read at a time: each may have a message of some MiB. */
const checkedAtOnce = 64

/**
 * Delivers dead letters to their group again, each at most once. Skips letters without a message.
 * @param reopened receives their offsets once the commit is durable
 * @returns how many of these are redriven now, by this request or an earlier one, and the skipped ones
 * @throws MillraceError STORAGE_FAILED
 */
export async function redrive(
  host: QueueHost,
  record: QueueRecord,
  offsets: RequestOf<typeof commands.queueRedrive>['offsets'],
  reopened: (logId: number, offsets: readonly number[]) => Promise<void> | undefined,
): Promise<ReplyOf<typeof commands.queueRedrive>> {
  const log = logOf(host, record)
  if (log === undefined) return { redriven: 0 }
  const wanted = [...new Set(offsetsOf(offsets))]
    .filter((offset) => offset >= log.startOffset && offset < log.endOffset)
    .sort((a, b) => a - b)
  const skipped = await withoutMessage(
    host,
    log,
    wanted.filter((offset) => !record.redriven.has(offset)),
  )
  const letters = wanted.filter((offset) => !skipped.has(offset))
  const dead = letters.filter((offset) => !record.redriven.has(offset))
  if (dead.length > 0) {
    const payload = encodeQueueRedriven({ queueId: record.queueId, logId: log.id, offsets: runsOf(dead) })
    await host.commit([{ kind: opKinds.queueRedriven, payload }])
  }
  // Reopen all of them: an earlier request may have committed some, but failed before it read them.
  await reopened(log.id, letters)
  // Count letters that were redriven earlier too: the request may be a retry after a lost reply.
  return { redriven: letters.length, ...(skipped.size === 0 ? {} : { skipped: runsOf([...skipped]) }) }
}

/** The letters without a message, and those that can't be read. They stay as they are. */
async function withoutMessage(
  { reader }: QueueHost,
  log: PartitionLog,
  letters: readonly number[],
): Promise<ReadonlySet<number>> {
  const found = new Set<number>()
  for (let at = 0; at < letters.length; at += checkedAtOnce) {
    const some = letters.slice(at, at + checkedAtOnce)
    const records = await readEach(reader, log, some)
    for (const offset of some) {
      const letter = records.get(offset)
      if (letter === undefined || !hasMessage(letter)) found.add(offset)
    }
  }
  return found
}

function logOf({ catalog }: QueueHost, { deadTopicId }: QueueRecord): PartitionLog | undefined {
  return catalog.byId(deadTopicId)?.partitions[0]?.log
}
