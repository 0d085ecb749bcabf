import { commands, RecordCursor, splitBatches } from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { type HistoryRecord, type HistoryWriter, monotonicUs } from '../history/history.js'
import { decodeValue } from '../workloads/values.js'

const fetchBytesMax = 4 * 1024 * 1024
const corrupt = 41

export interface DrainPlan {
  readonly address: { readonly host: string; readonly port: number }
  readonly topics: readonly { readonly name: string; readonly partitions: number }[]
  readonly drain: number
}

/**
 * Reads every partition from its start to its end, with the wire protocol alone, into the history.
 * @returns number of records
 * @throws MillraceError if the broker refuses anything but single damaged offsets
 */
export async function drainAll(
  history: HistoryWriter,
  { address, topics, drain }: DrainPlan,
): Promise<number> {
  const client = await connectHello(address)
  let count = 0
  try {
    const { body } = await client.request(commands.metadata, { topics: topics.map(({ name }) => name) })
    for (const { name, partitions } of topics) {
      const topicId = body.topics.find((topic) => topic.name === name)?.topicId ?? 0
      for (let partition = 0; partition < partitions; partition++) {
        const read = await drainPartition(client, topicId, partition)
        const at = monotonicUs()
        history.write({
          type: 'drained',
          at,
          process: `drain-${drain}`,
          drain,
          topic: name,
          partition,
          ...read,
        })
        count += read.records.length
      }
    }
  } finally {
    client.destroy()
  }
  return count
}

interface Drain {
  readonly startOffset: number
  readonly endOffset: number
  readonly records: HistoryRecord[]
  readonly corrupt: [from: number, to: number][]
}

async function drainPartition(client: RawClient, topicId: number, partition: number): Promise<Drain> {
  const [startOffset, endOffset] = [
    await offsetOf(client, topicId, partition, 'earliest'),
    await offsetOf(client, topicId, partition, 'latest'),
  ]
  const drain: Drain = { startOffset, endOffset, records: [], corrupt: [] }
  for (let offset = startOffset; offset < endOffset; ) {
    const { body, payload } = await client.request(commands.fetch, {
      waitMs: 0,
      bytesMin: 1,
      bytesMax: fetchBytesMax,
      partitions: [[topicId, partition, offset, fetchBytesMax]],
    })
    const [, , error = 0, , , , message] = body.partitions[0] ?? []
    if (error === corrupt) {
      noteCorrupt(drain, offset++)
      continue
    }
    if (error !== 0) throw new Error(`partition ${partition} answers error ${error} at ${offset}: ${message}`)
    const before = drain.records.length
    readRecords(payload, offset, endOffset, drain.records)
    const last = drain.records.at(-1)
    if (last === undefined || drain.records.length === before)
      throw new Error(`partition ${partition} gives nothing at ${offset}, below its end ${endOffset}`)
    offset = last[0] + 1
  }
  return drain
}

async function offsetOf(
  client: RawClient,
  topicId: number,
  partition: number,
  kind: 'earliest' | 'latest',
): Promise<number> {
  const wanted = kind === 'earliest' ? -2 : -1
  const { body } = await client.request(commands.offsetsList, { partitions: [[topicId, partition, wanted]] })
  const found = body.partitions[0]
  if (found?.offset === undefined) throw new Error(`partition ${partition} has no ${kind} offset`)
  return found.offset
}

function readRecords(run: Uint8Array, from: number, to: number, into: HistoryRecord[]): void {
  for (const batch of splitBatches(run)) {
    const cursor = new RecordCursor(batch)
    while (cursor.next()) {
      if (cursor.offset < from || cursor.offset >= to) continue
      into.push([cursor.offset, decodeValue(cursor.records.subarray(cursor.valueStart, cursor.valueEnd)).id])
    }
  }
}

function noteCorrupt({ corrupt }: Drain, offset: number): void {
  const last = corrupt.at(-1)
  if (last !== undefined && last[1] === offset) last[1] = offset + 1
  else corrupt.push([offset, offset + 1])
}
