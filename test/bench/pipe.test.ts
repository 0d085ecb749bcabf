import { readdir } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import { Worker } from '../../bench/lib/worker.js'
import { runPipe, runPipeLatency } from '../../bench/pipe/pipe.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/pipe')

const interval = { warmUpMs: 100, measureMs: 200 }

for (const [name, promises, consume] of [
  ['published', false, false],
  ['published with a promise each', true, false],
  ['received', false, true],
] as const) {
  test(
    `counts messages that are ${name} and leaves nothing behind`,
    async ({ tempDir }) => {
      const dataRoot = await tempDir()
      const throughput = await runPipe({ messageBytes: 100, promises, consume, dataRoot, ...interval })
      assert.ok(throughput.messagesPerS > 0, `${throughput.messagesPerS} messages/s`)
      assert.ok(Math.abs(throughput.mbPerS / (throughput.messagesPerS / 1e4) - 1) < 0.01)
      assert.equal(Object.keys(throughput.cpu).length, consume ? 3 : 2)
      assert.equal(await readdir(dataRoot), [])
    },
    { deadlineMs: 30_000 },
  )
}

test(
  'measures latency at a fixed rate',
  async ({ tempDir }) => {
    const rate = { messageBytes: 100, messagesPerS: 500, dataRoot: await tempDir() }
    const latency = await runPipeLatency({ ...rate, ...interval })
    assert.ok(latency.count > 0, `${latency.count} messages`)
    assert.ok(latency.p50Ms > 0 && latency.p50Ms <= latency.p99Ms && latency.p99Ms <= latency.maxMs)
  },
  { deadlineMs: 30_000 },
)

test('names the worker that fails', async () => {
  const script = new URL('../../bench/pipe/consumer.js', import.meta.url)
  try {
    await Worker.start('lonely consumer', script, { port: 1, latency: false, warmUpMs: 0 })
    assert.unreachable()
  } catch (error) {
    assert.match(String(error), /worker lonely consumer .*(ECONNREFUSED|exit code 1)/)
  }
})

test.run()
