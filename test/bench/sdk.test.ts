import { readdir } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import { runConsume, runEndToEnd, runLatency, runPublish } from '../../bench/sdk/sdk.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/sdk')

const interval = { warmUpMs: 200, measureMs: 400 }
const messageBytes = 100
const deadlineMs = 60_000

for (const [name, run] of [
  ['published', (dataRoot: string) => runPublish({ messageBytes, dataRoot, ...interval })],
  [
    'read from the start, again and again',
    (dataRoot: string) => runConsume({ messageBytes, logBytes: 100_000, dataRoot, ...interval }),
  ],
  [
    'received by batch',
    (dataRoot: string) =>
      runEndToEnd({ messageBytes, publish: 'bulk', consume: 'batches', dataRoot, ...interval }),
  ],
  [
    'published with a promise each and received one by one',
    (dataRoot: string) =>
      runEndToEnd({ messageBytes, publish: 'promises', consume: 'messages', dataRoot, ...interval }),
  ],
] as const) {
  test(
    `counts messages that are ${name} and leaves nothing behind`,
    async ({ tempDir }) => {
      const dataRoot = await tempDir()
      const throughput = await run(dataRoot)
      assert.ok(throughput.messagesPerS > 1_000, `${throughput.messagesPerS} messages/s`)
      assert.ok(Math.abs(throughput.mbPerS / (throughput.messagesPerS / 1e4) - 1) < 0.01)
      assert.equal(await readdir(dataRoot), [])
    },
    { deadlineMs },
  )
}

test(
  'measures latency from publish to receipt at a fixed rate',
  async ({ tempDir }) => {
    const latency = await runLatency({
      messageBytes,
      messagesPerS: 500,
      dataRoot: await tempDir(),
      ...interval,
    })
    assert.ok(latency.count > 10, `${latency.count} messages`)
    assert.ok(latency.p50Ms > 0 && latency.p50Ms <= latency.p99Ms && latency.p99Ms <= latency.maxMs)
  },
  { deadlineMs },
)

test.run()
