import { readdir } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import type { Throughput } from '../../bench/lib/throughput.js'
import { runFanOut } from '../../bench/sdk/fan_out.js'
import { runIdle } from '../../bench/sdk/idle.js'
import { runManyClients } from '../../bench/sdk/many_clients.js'
import { restartAfterKill, restartCleanly } from '../../bench/sdk/restart.js'
import {
  createTopic,
  fill,
  randomValues,
  runEndToEnd,
  runLatency,
  runPublish,
  withBroker,
  withFilledTopic,
} from '../../bench/sdk/sdk.js'
import { runQueueWork } from '../../bench/sdk/work.js'
import { runWrittenBytes, tellsWrittenBytes } from '../../bench/sdk/written_bytes.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/sdk')

const interval = { warmUpMs: 300, measureMs: 600 }
const messageBytes = 100
const deadlineMs = 60_000

type Given = typeof interval & { readonly dataRoot: string }

/** On a busy machine there may be no acknowledgement for a while: then the test measures for longer. */
async function counted(run: (measureMs: number) => Promise<Throughput>): Promise<Throughput> {
  let { measureMs } = interval
  let throughput = await run(measureMs)
  while (throughput.messagesPerS === 0 && measureMs < 10_000) {
    measureMs *= 4
    throughput = await run(measureMs)
  }
  return throughput
}

for (const [name, run] of [
  ['published', (given: Given) => runPublish({ messageBytes, ...given })],
  [
    'published with keys, compressed, by several clients',
    (given: Given) =>
      runPublish({
        messageBytes,
        partitions: 50,
        data: { kind: 'repeated', messageBytes, keys: 1_000 },
        clients: 3,
        compression: 'lz4',
        ...given,
      }),
  ],
  [
    'received at the tail, without a group',
    (given: Given) => runEndToEnd({ messageBytes, publish: 'bulk', consume: 'tail', ...given }),
  ],
  [
    'read from the start, again and again',
    (given: Given) => withFilledTopic({ messageBytes, logBytes: 100_000, ...given }, (measure) => measure()),
  ],
  [
    'received by batch',
    (given: Given) => runEndToEnd({ messageBytes, publish: 'bulk', consume: 'batches', ...given }),
  ],
  [
    'published with a promise each and received one by one',
    (given: Given) => runEndToEnd({ messageBytes, publish: 'promises', consume: 'messages', ...given }),
  ],
] as const) {
  test(
    `counts messages that are ${name} and leaves nothing behind`,
    async ({ tempDir }) => {
      const dataRoot = await tempDir()
      const throughput = await counted((measureMs) => run({ ...interval, measureMs, dataRoot }))
      assert.ok(throughput.messagesPerS > 0)
      assert.ok(Math.abs(throughput.mbPerS / (throughput.messagesPerS / 1e4) - 1) < 0.01)
      const [memory] = throughput.series ?? []
      assert.is(memory?.name, 'resident memory of the broker')
      for (const [, megabytes] of memory?.points ?? []) assert.ok(megabytes > 20, `${megabytes} MB`)
      assert.ok((memory?.points.length ?? 0) >= 2)
      assert.equal(await readdir(dataRoot), [])
    },
    { deadlineMs },
  )
}

test(
  'measures latency from publish to receipt at a fixed rate',
  async ({ tempDir }) => {
    const { latency, receivedPerS } = await runLatency({
      messageBytes,
      messagesPerS: 500,
      dataRoot: await tempDir(),
      ...interval,
    })
    assert.ok(latency.count > 10, `${latency.count} messages`)
    assert.ok(receivedPerS > 0, `${receivedPerS} messages/s`)
    assert.ok(latency.p50Ms > 0 && latency.p50Ms <= latency.p99Ms && latency.p99Ms <= latency.maxMs)
  },
  { deadlineMs },
)

test(
  'counts the acknowledgements of a worker of a queue group, also after a poisoned message',
  async ({ tempDir }) => {
    const work = {
      messageBytes,
      messages: 50_000,
      concurrency: 100,
      isPoisoned: true,
      dataRoot: await tempDir(),
    }
    for (const order of ['none', 'key'] as const) {
      const keyed = order === 'key' ? { keys: 1_000 } : {}
      const { messagesPerS, rssBytes } = await counted((measureMs) =>
        runQueueWork({ ...work, ...keyed, order, warmUpMs: 0, measureMs }),
      )
      assert.ok(messagesPerS > 0)
      assert.ok((rssBytes.worker ?? 0) > 1e6)
    }
  },
  { deadlineMs },
)

test(
  'counts the messages that every group receives, and waits until all have every message',
  async ({ tempDir }) => {
    const work = { groups: 3, messageBytes, messagesPerS: 1_000, dataRoot: await tempDir() }
    const fanOut = await runFanOut({ ...work, warmUpMs: 300, measureMs: 1_000 })
    assert.ok(fanOut.publishedPerS > 100, `${fanOut.publishedPerS} published/s`)
    assert.ok(fanOut.messagesPerS > fanOut.publishedPerS * 1.5, `${fanOut.messagesPerS} received/s`)
    assert.ok(fanOut.slowestBehind >= 0 && fanOut.caughtUpMs >= 0)
  },
  { deadlineMs },
)

test(
  'lets many clients publish one message at a time each',
  async ({ tempDir }) => {
    const work = { clients: 20, publishers: 15, messageBytes, dataRoot: await tempDir() }
    const { throughput, latency, connectMs } = await runManyClients({ ...work, ...interval })
    assert.ok(throughput.messagesPerS > 0)
    assert.ok(latency.count > 0 && latency.p50Ms <= latency.p99Ms)
    assert.ok(connectMs > 0)
  },
  { deadlineMs },
)

for (const kind of ['consumers', 'workers'] as const) {
  test(
    `measures the CPU of a broker and of clients with idle ${kind}`,
    async ({ tempDir }) => {
      const dataRoot = await tempDir()
      const shape = { topics: 3, partitions: 2, clients: 2, membersPerClient: 3 }
      const idle = await runIdle({ dataRoot, kind, ...shape, settleMs: 100, measureMs: 300 })
      for (const value of Object.values(idle)) assert.ok(Number.isFinite(value) && value >= 0, `${value}`)
      assert.ok(idle.brokerRssBytes > 0 && idle.clientRssBytes > 0)
      assert.equal(await readdir(dataRoot), [])
    },
    { deadlineMs },
  )
}

test(
  'reports how long a broker takes to start after a stop and after a kill',
  async ({ tempDir }) => {
    await withBroker(await tempDir(), async (running) => {
      await createTopic(running.port)
      await fill(running, { data: randomValues(1_000), logBytes: 100_000 })
      const clean = await restartCleanly(running, running.broker)
      const killed = await restartAfterKill(running, clean.broker, 100)
      for (const { listensMs, answersMs } of [clean.restart, killed.restart])
        assert.ok(listensMs > 0 && listensMs <= answersMs)
    })
  },
  { deadlineMs },
)

test(
  'counts the bytes that the broker writes for published messages',
  async ({ tempDir, skip }) => {
    if (!tellsWrittenBytes()) skip(`${process.platform} does not tell what a process has written`)
    const dataRoot = await tempDir()
    const common = { amount: { bytes: 4e6 }, idleMs: 500, dataRoot }
    const random = await runWrittenBytes({ data: randomValues(1_000), ...common })
    assert.is(random.publishedBytes, common.amount.bytes)
    // A folder in memory writes nothing.
    if (random.writtenBytes === 0) return
    assert.ok(random.writtenBytes >= random.publishedBytes, `${random.writtenBytes} bytes written`)
    const lines = { kind: 'lines', messageBytes: 200 } as const
    const packed = await runWrittenBytes({ data: lines, compression: 'brotli', ...common })
    assert.ok(packed.writtenBytes / packed.publishedBytes < random.writtenBytes / random.publishedBytes)
  },
  { deadlineMs },
)

test.run()
