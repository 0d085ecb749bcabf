import { crc32 } from 'node:zlib'
import { commands, errorCodeOf, RecordCursor, splitBatches } from '../../../protocol/index.js'
import { batchOf } from '../../broker/harness.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import type { BrokerProcess } from '../trial/broker_process.js'
import { digestOf, groupName, publishBatch, sealFor } from './base_folder.js'
import type { Digest, ExpectedPartition, Observed, ObservedPartition } from './model.js'

const fetchBytesMax = 1_000_000
/** First byte of a batch that its checksum covers (protocol/PROTOCOL.md). */
const checksummedFrom = 16

/** Asks a broker for all expected data, and tries to publish. */
export async function survey(
  broker: BrokerProcess,
  expected: readonly ExpectedPartition[],
  planted: string | undefined,
): Promise<Observed> {
  const client = await connectHello(broker)
  try {
    const committed = await committedOffsets(client)
    const partitions: (ObservedPartition | undefined)[] = []
    for (const partition of expected)
      partitions.push(await surveyPartition(client, partition, committed, planted))
    const { body } = await client.request(commands.status, {})
    const hasTailNotice = /of \d+ bytes of journal\/\S+ are an incomplete write/.test(
      broker.process.output.stderr,
    )
    return { partitions, reasons: body.health.reasons, hasTailNotice }
  } finally {
    client.destroy()
  }
}

async function committedOffsets(client: RawClient): Promise<ReadonlyMap<string, number>> {
  try {
    const { body } = await client.request(commands.groupDescribe, { group: groupName })
    return new Map(
      body.partitions.map(({ topicId, partition, committedOffset }) => [
        `${topicId}/${partition}`,
        committedOffset ?? -1,
      ]),
    )
  } catch {
    return new Map()
  }
}

async function surveyPartition(
  client: RawClient,
  expected: ExpectedPartition,
  committed: ReadonlyMap<string, number>,
  planted: string | undefined,
): Promise<ObservedPartition | undefined> {
  const { topicId, partition, last } = expected
  const read = await readAll(client, expected, planted)
  if (read === undefined) return undefined
  // Compares only the records served so far with the sent ones; the new ones come after them.
  const repeated = await attempt(client, topicId, partition, last.batch)
  const published = await attempt(client, topicId, partition, sealFor(planted, batchOf(['new'])))
  return { ...read, committedOffset: committed.get(`${topicId}/${partition}`), repeated, published }
}

async function attempt(
  client: RawClient,
  topicId: number,
  partition: number,
  batch: Uint8Array,
): Promise<number | string> {
  try {
    return await publishBatch(client, topicId, partition, batch)
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

type Read = Pick<ObservedPartition, 'startOffset' | 'endOffset' | 'served' | 'corrupt' | 'errors'>

/** Reads a partition from its start, and record by record after unreadable ones. */
async function readAll(
  client: RawClient,
  { topicId, partition, records }: ExpectedPartition,
  planted: string | undefined,
): Promise<Read | undefined> {
  const served = new Map<number, Digest>()
  const corrupt = new Set<number>()
  const errors = new Map<number, string>()
  let startOffset = 0
  let endOffset = 0
  for (let offset = 0; offset < records.length || offset < Math.min(endOffset, records.length + 10); ) {
    const partitions = [[topicId, partition, offset, fetchBytesMax] as const]
    const { body, payload } = await client.request(commands.fetch, {
      waitMs: 0,
      bytesMin: 1,
      bytesMax: fetchBytesMax,
      partitions,
    })
    const [reply] = body.partitions
    if (reply === undefined) {
      // No data: the end of the log, according to the broker.
      endOffset = offset
      break
    }
    const [, , error, , start, end, message] = reply
    startOffset = Math.max(startOffset, start)
    endOffset = end
    const name = error === 0 ? undefined : errorCodeOf(error)
    if (name === 'UNKNOWN_TOPIC' || name === 'UNKNOWN_PARTITION') return undefined
    if (name === 'OFFSET_OUT_OF_RANGE' && offset < start) offset = start
    else if (name === 'CORRUPT') corrupt.add(offset++)
    else if (name !== undefined) errors.set(offset++, `${name}: ${message ?? ''}`)
    else offset = take(payload, offset, served, planted)
  }
  return { startOffset, endOffset, served, corrupt, errors }
}

/** Returns the offset after the batches. */
function take(
  payload: Uint8Array,
  from: number,
  served: Map<number, Digest>,
  planted: string | undefined,
): number {
  let next = from
  for (const batch of splitBatches(payload)) {
    const cursor = new RecordCursor(unsealed(planted, batch))
    while (cursor.next()) {
      if (cursor.offset < from) continue
      const { records, keyStart, keyEnd, valueStart, valueEnd } = cursor
      served.set(
        cursor.offset,
        digestOf(records.subarray(keyStart, keyEnd), records.subarray(valueStart, valueEnd)),
      )
      next = cursor.offset + 1
    }
  }
  return next
}

/** The checksum of a batch would hide this from the judge, so the test compares the records. */
function unsealed(planted: string | undefined, batch: Uint8Array): Uint8Array {
  if (planted !== 'no-checksum') return batch
  const sealed = Buffer.from(batch)
  sealed.writeUInt32LE(crc32(sealed.subarray(checksummedFrom)), 4)
  return sealed
}
