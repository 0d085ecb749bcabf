import * as assert from 'uvu/assert'
import { DeliveryState } from '../../../broker/queues/delivery_state.js'
import { Grants } from '../../../broker/queues/grants.js'
import { GroupMessages, type MessagesOwner } from '../../../broker/queues/group_messages.js'
import type { QueueHost } from '../../../broker/queues/host.js'
import type { Lane } from '../../../broker/queues/lane.js'
import type { QueueRecord } from '../../../broker/queues/queues_view.js'
import { readEach, readSome } from '../../../broker/queues/read_records.js'
import { queueSettingsDefault } from '../../../broker/queues/settings.js'
import {
  MillraceError,
  RecordBatchBuilder,
  readBatchHeader,
  stampBaseOffset,
  writeBatchHeader,
} from '../../../protocol/index.js'
import type { LogReadResult, PartitionLog } from '../../../storage/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/large_batch')

/** A small batch of many messages. */
function batchOf(count: number, key: string | null = null): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < count; i++) builder.append({ key, value: null, timestamp: 1_000 + i })
  return builder.finish('gzip')
}

/** A log with these batches, and the offsets of its reads. */
function logOf(...batches: Uint8Array[]) {
  let endOffset = 0
  const ends = batches.map((batch) => {
    stampBaseOffset(batch, 0, endOffset)
    endOffset += readBatchHeader(batch).recordCount
    return endOffset
  })
  const log = { id: 5, startOffset: 0, endOffset } as unknown as PartitionLog
  const reads: number[] = []
  const reader = {
    readTail: ({ offset }: { offset: number }) => {
      reads.push(offset)
      const chunks = batches.filter((_, i) => (ends[i] as number) > offset)
      return { chunks, bytes: 0 } as LogReadResult
    },
    read: () => Promise.reject(new Error('not asked')),
  }
  return { log, reads, reader }
}

/** The messages of a group that reads these batches ahead. */
async function readAhead(context: TestContext, order: 'none' | 'key', ...batches: Uint8Array[]) {
  const { log, reader } = logOf(...batches)
  const topic = { topicId: 1, name: 'tasks', partitions: [] as unknown[] }
  const { endOffset } = log
  topic.partitions.push({ topic, index: 0, log, endOffset, wait() {}, stopWaiting() {} })
  const state = new DeliveryState(0)
  const host = {
    catalog: { byId: (id: number) => (id === 1 ? topic : undefined), byLog: () => topic.partitions[0] },
    view: { stateOf: () => state },
    reader,
    nowMs: () => 0,
    latestMs: () => 0,
  } as unknown as QueueHost
  const record = {
    queueId: 1,
    group: 'crew',
    settings: { ...queueSettingsDefault, order },
    deadTopicId: 0,
    topics: new Map([[1, [0]]]),
  } as unknown as QueueRecord
  const owner: MessagesOwner = {
    hasWorkers: true,
    hasAskers: true,
    grants: new Grants(),
    pump: () => {},
    readFailed: (error) => assert.unreachable(String(error)),
    readOn: () => {},
    deadBatch: () => Promise.reject(new Error('no batch died')),
    busy: (work) => work(),
  }
  const messages = new GroupMessages(host, record, owner)
  context.defer(() => messages.close())
  await messages.open()
  messages.refill()
  return { messages, lane: messages.lane(1, 0) as Lane }
}

test('a group loads only a part of a batch with many messages', async (context) => {
  const { messages, lane } = await readAhead(context, 'none', batchOf(50_000))
  await waitFor('enough ready messages', () => messages.readyCount >= 4_000)
  assert.ok(lane.live.size <= 6_000, `${lane.live.size} messages are in memory`)
  const taken = messages.take(3_000, 1_000_000).messages
  assert.equal(
    taken.map(({ offset }) => offset),
    taken.map((_, i) => i),
  )
  messages.refill()
  await waitFor('the next part', () => lane.scanOffset > 4_000)
  assert.equal([...lane.live.keys()].at(-1), lane.scanOffset - 1)
})

test('at most 100,000 messages wait in memory behind a busy key', async (context) => {
  const { messages, lane } = await readAhead(context, 'key', batchOf(1_500, 'k'), batchOf(110_000, 'k'))
  await waitFor('the limit', () => !lane.hasRoom)
  assert.equal([lane.live.size, lane.scanOffset], [100_000, 100_000])
  assert.ok(lane.hasMore)
  const [first] = lane.live.values()
  assert.ok(first)
  messages.settled([{ message: first, ending: { kind: 'done' } }])
  assert.not(lane.hasRoom, 'a full lane was read for one message')
})

test('a batch is read in parts without a gap, and decompressed once', async () => {
  const count = 5_500
  const { log, reads, reader } = logOf(batchOf(count))
  const offsets: number[] = []
  const timestamps: number[] = []
  for (let offset = 0, parts = 0; offset < count; parts++) {
    const { records, nextOffset } = await readSome(reader, log, offset)
    assert.ok(records.length <= 2_000 && parts < 3)
    for (const record of records) {
      offsets.push(record.offset)
      timestamps.push(record.timestamp)
    }
    offset = nextOffset
  }
  assert.equal(
    offsets,
    Array.from({ length: count }, (_, i) => i),
  )
  assert.equal(
    timestamps,
    offsets.map((offset) => 1_000 + offset),
  )
  assert.equal(reads, [0])
})

test('parts of a batch are read in any order', async () => {
  const { log, reads, reader } = logOf(batchOf(5_500))
  for (const offset of [3_210, 0, 1_000, 999, 3_500]) {
    const { records } = await readSome(reader, log, offset)
    assert.equal([records[0]?.offset, records[0]?.timestamp], [offset, 1_000 + offset])
    assert.equal(records.length, 2_000)
  }
  assert.equal(reads, [3_210])
})

test('single messages of a batch are read without the others', async () => {
  const { log, reads, reader } = logOf(batchOf(5_500))
  for (const wanted of [[4_321], [0, 2_500, 5_000], [5_499]]) {
    const found = await readEach(reader, log, wanted)
    assert.equal(
      [...found.values()].map(({ offset, timestamp }) => [offset, timestamp]),
      wanted.map((offset) => [offset, 1_000 + offset]),
    )
  }
  assert.equal(reads, [4_321])
})

test('a batch with an error after its first part is unreadable as a whole', async () => {
  const batch = Buffer.from(batchOf(5_500))
  writeBatchHeader(batch, { ...readBatchHeader(batch), recordCount: 5_400 })
  const { log, reader } = logOf(batch)
  const { records, nextOffset, unreadable } = await readSome(reader, log, 10)
  assert.equal([records.length, nextOffset], [0, 5_400])
  assert.equal([unreadable?.first, unreadable?.end], [10, 5_400])
})

test('dropped messages of a batch that was read in part are lost', async () => {
  const { log, reader } = logOf(batchOf(5_500))
  await readSome(reader, log, 0)
  Object.assign(log, { startOffset: 5_500, endOffset: 6_000 })
  const error = new MillraceError('OFFSET_OUT_OF_RANGE', 'dropped')
  Object.assign(reader, { readTail: () => ({ chunks: [], bytes: 0, error }) })
  const { records, nextOffset, lost } = await readSome(reader, log, 2_000)
  assert.equal([records.length, nextOffset, lost], [0, 5_500, [2_000, 5_500]])
})

test.run()
