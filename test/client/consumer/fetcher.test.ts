import * as assert from 'uvu/assert'
import { Fetcher } from '../../../client/consumer/fetcher.js'
import { PartitionStream } from '../../../client/consumer/partition_stream.js'
import {
  type commands,
  MillraceError,
  RecordBatchBuilder,
  type ReplyOf,
  type RequestOf,
  stampBaseOffset,
} from '../../../protocol/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('client/consumer/fetcher')

type Reply = { body: ReplyOf<typeof commands.fetch>; payload: Uint8Array }

interface Sent {
  readonly owner: number
  readonly request: RequestOf<typeof commands.fetch>
  readonly partitions: number[]
  readonly answer: (
    entries: { partition: number; offset: number; count: number; valueBytes?: number }[],
  ) => Promise<void>
  readonly refuse: (partition: number, error: number) => Promise<void>
  readonly fail: (error: Error) => Promise<void>
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

class Bench {
  readonly streams: PartitionStream<string, string>[]
  readonly sent: Sent[] = []
  readonly failures: unknown[] = []
  readonly refused: string[] = []
  readonly fetcher: Fetcher<string, string>
  handleRefusals: () => void = () => {}

  constructor(context: TestContext, partitions: number, bufferBytesMax = 1024 * 1024, owners = 1) {
    this.streams = Array.from({ length: partitions }, (_, partition) => {
      const decoder = { ahead: false, key: String, value: String }
      const stream = new PartitionStream<string, string>({
        topic: 't',
        topicId: 1,
        partition,
        epoch: 0,
        decoder,
        committer: undefined,
        onAck: undefined,
      })
      stream.restart(0)
      stream.state = 'active'
      return stream
    })
    const refusalsHandled = new Promise<void>((resolve) => {
      this.handleRefusals = resolve
    })
    this.fetcher = new Fetcher({
      bufferBytesMax,
      fetchBytesMax: 1024 * 1024,
      fetchWaitMs: 10_000,
      streams: () => this.streams,
      ownerOf: ({ partition }) => partition % owners,
      send: (owner, request) =>
        new Promise<Reply>((resolve, reject) => {
          this.sent.push({
            owner,
            request,
            partitions: request.partitions.map(([, partition]) => partition),
            answer: (entries) => {
              resolve(replyOf(entries))
              return settled()
            },
            refuse: (partition, error) => {
              const body = { partitions: [[1, partition, error, 0, 0, 0, undefined] as const] }
              resolve({ body, payload: new Uint8Array() })
              return settled()
            },
            fail: (error) => {
              reject(error)
              return settled()
            },
          })
        }),
      onMessages: () => {},
      onRefused: (_stream, error) => {
        this.refused.push(error.code)
        return refusalsHandled
      },
      onFailed: (error) => this.failures.push(error),
    })
    context.defer(() => this.fetcher.close())
  }

  get last(): Sent {
    const last = this.sent.at(-1)
    if (last === undefined) throw new Error('no fetch was sent')
    return last
  }
}

function replyOf(
  entries: readonly { partition: number; offset: number; count: number; valueBytes?: number }[],
): Reply {
  const batches = entries.map(({ offset, count, valueBytes = 10 }) => batchOf(offset, count, valueBytes))
  const partitions = entries.map(
    ({ partition, offset, count }, index) =>
      [1, partition, 0, batches[index]?.length ?? 0, 0, offset + count, undefined] as const,
  )
  return { body: { partitions }, payload: Buffer.concat(batches) }
}

function batchOf(offset: number, count: number, valueBytes: number): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < count; i++) builder.append({ value: new Uint8Array(valueBytes), timestamp: 1 })
  const batch = builder.finish()
  stampBaseOffset(batch, 0, offset)
  return batch
}

test('partitions that are hungry together share one fetch', async (context) => {
  const bench = new Bench(context, 5)
  bench.fetcher.streamsChanged()
  await settled()
  assert.is(bench.sent.length, 1)
  assert.equal(bench.last.partitions, [0, 1, 2, 3, 4])
})

test('each broker gets a fetch for its own partitions', async (context) => {
  const bench = new Bench(context, 4, undefined, 2)
  bench.fetcher.streamsChanged()
  await settled()
  assert.equal(
    bench.sent.map(({ owner, partitions }) => [owner, partitions]),
    [
      [0, [0, 2]],
      [1, [1, 3]],
    ],
  )
})

test('a partition that gets hungry during the long poll of others gets a fetch of its own, and is in only one', async (context) => {
  const bench = new Bench(context, 2, 128 * 1024)
  bench.fetcher.streamsChanged()
  await settled()
  // More than half of its share: partition 0 is not hungry, partition 1 is asked for again.
  await bench.last.answer([{ partition: 0, offset: 0, count: 10, valueBytes: 5_000 }])
  assert.is(bench.sent.length, 2)
  assert.equal(bench.last.partitions, [1])
  const [busy] = bench.streams
  busy?.openRun()
  busy?.closeRun()
  if (busy !== undefined) bench.fetcher.consider(busy)
  await settled()
  assert.is(bench.sent.length, 3)
  assert.equal(bench.last.request.partitions[0]?.slice(0, 3), [1, 0, 10])
  bench.fetcher.streamsChanged()
  await settled()
  assert.is(bench.sent.length, 3)
})

test('no more than six fetches are open, and partitions that get hungry wait for the next one', async (context) => {
  const bench = new Bench(context, 0, 64 * 1024 * 1024)
  const all = new Bench(context, 8).streams
  for (const stream of all) {
    bench.streams.push(stream)
    bench.fetcher.streamsChanged()
    await settled()
  }
  assert.equal(
    bench.sent.map(({ partitions }) => partitions),
    [[0], [1], [2], [3], [4], [5]],
  )
  assert.is(bench.last.request.waitMs, 20)
  await bench.sent[1]?.answer([])
  assert.equal(bench.last.partitions.sort(), [1, 6, 7])
})

test('a reply for an old position is dropped, and the new position is fetched at once', async (context) => {
  const bench = new Bench(context, 1)
  const stream = bench.streams[0] as PartitionStream<string, string>
  stream.restart(100)
  bench.fetcher.streamsChanged()
  await settled()
  stream.restart(0)
  bench.fetcher.consider(stream)
  await settled()
  assert.is(bench.sent.length, 2)
  assert.is(bench.last.request.partitions[0]?.[2], 0)
  await bench.sent[0]?.answer([{ partition: 0, offset: 100, count: 5 }])
  assert.is(stream.hasMessages, false)
  assert.is(stream.fetchOffset, 0)
  assert.is(bench.sent.length, 2)
})

test('paused partitions are not fetched', async (context) => {
  const bench = new Bench(context, 2)
  const [first] = bench.streams
  if (first !== undefined) first.paused = true
  bench.fetcher.streamsChanged()
  await settled()
  assert.equal(bench.last.partitions, [1])
})

test('a refused partition is fetched again only after its refusal was handled; the others continue', async (context) => {
  const bench = new Bench(context, 2)
  bench.fetcher.streamsChanged()
  await settled()
  await bench.last.refuse(0, 40)
  assert.equal(bench.refused, ['OFFSET_OUT_OF_RANGE'])
  assert.equal(bench.last.partitions, [1])
  bench.handleRefusals()
  await settled()
  assert.equal(bench.last.partitions, [0])
})

test('an error that is not retryable is reported, a retryable one is waited out', async (context) => {
  const bench = new Bench(context, 1)
  bench.fetcher.streamsChanged()
  await settled()
  await bench.last.fail(new MillraceError('CONNECTION_LOST'))
  assert.is(bench.sent.length, 1)
  assert.equal(bench.failures, [])
  assert.ok((bench.streams[0]?.retryAtMs ?? 0) > performance.now())
  const other = new Bench(context, 1)
  other.fetcher.streamsChanged()
  await settled()
  await other.last.fail(new MillraceError('BAD_REQUEST'))
  assert.is(other.failures.length, 1)
})

test('after a final error nothing is fetched, even while the consumer is slow to close', async (context) => {
  const bench = new Bench(context, 2)
  bench.fetcher.streamsChanged()
  await settled()
  await bench.last.fail(new MillraceError('CLOSED'))
  bench.fetcher.streamsChanged()
  await settled()
  assert.is(bench.sent.length, 1)
  assert.is(bench.failures.length, 1)
})

test('an idle consumer sends few fetches: their waits double up to the maximum, and a message resets them', async (context) => {
  const bench = new Bench(context, 100)
  bench.fetcher.streamsChanged()
  await settled()
  const waits: number[] = []
  // Two minutes without a message, all partitions in one fetch.
  for (let passedMs = 0; passedMs < 120_000; passedMs += bench.last.request.waitMs) {
    assert.is(bench.sent.length, waits.length + 1)
    assert.is(bench.last.partitions.length, 100)
    waits.push(bench.last.request.waitMs)
    await bench.last.answer([])
  }
  assert.equal(waits.slice(0, 6), [500, 1_000, 2_000, 4_000, 8_000, 10_000])
  assert.ok(waits.length <= 18, `${waits.length} fetches`)
  await bench.last.answer([{ partition: 7, offset: 0, count: 1 }])
  assert.is(bench.last.request.waitMs, 500)
  assert.is(bench.sent.length, waits.length + 2)
})

test('a partition that finds no memory is fetched after a while, although a fetch waits for messages', async (context) => {
  const bufferBytesMax = 128 * 1024
  const bench = new Bench(context, 3, bufferBytesMax)
  const [idle, full, busy] = bench.streams as [
    PartitionStream<string, string>,
    PartitionStream<string, string>,
    PartitionStream<string, string>,
  ]
  full.paused = true
  busy.paused = true
  bench.fetcher.streamsChanged()
  await settled()
  assert.equal(bench.last.partitions, [idle.partition])
  // The application has paused it since: its messages stay where they are.
  full.push(batchOf(0, 1, 100 * 1024))
  busy.paused = false
  bench.fetcher.consider(busy)
  await waitFor('a fetch of the busy partition', () => bench.last.partitions.includes(busy.partition))
  assert.is(bench.sent.length, 2)
  assert.ok(bench.last.request.bytesMax <= 32 * 1024)
})

test.run()
