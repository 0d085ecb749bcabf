import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { startBroker } from '../../broker/index.js'
import { type Client, connect, defineTopic, json } from '../../client/index.js'
import { type SpawnedProcess, spawnNode } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/service')

const script = fileURLToPath(new URL('../../examples/service.js', import.meta.url))
const orders = defineTopic('orders', { value: json<{ id: number }>() })
const receipts = defineTopic('receipts', { value: json<{ order: number }>() })
const orderCount = 100

function numbersOf(process: SpawnedProcess, word: 'began' | 'ended'): number[] {
  const lines = process.output.stdout.matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'))
  return [...lines].map(([, id]) => Number(id)).sort((a, b) => a - b)
}

async function setUp(
  context: TestContext,
): Promise<{ client: Client; service: (env?: Readonly<Record<string, string>>) => SpawnedProcess }> {
  const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent' })
  context.defer(() => broker.close())
  const server = `127.0.0.1:${broker.address.port}`
  const client = await connect(server)
  context.defer(() => client.close({ timeoutMs: 0 }))
  await client.topics.ensure('orders')
  return { client, service: (env = {}) => spawnNode(context, script, [server], { env }) }
}

test(
  'the example of a service stops on SIGTERM without losing or repeating work',
  async (context) => {
    const { client, service } = await setUp(context)
    await client.publishMany(
      orders,
      Array.from({ length: orderCount }, (_, id) => ({ value: { id } })),
    )
    for (let round = 0; round < 2; round++) {
      const running = service()
      await running.waitForOutput('stdout', /^began/m)
      running.kill('SIGTERM')
      const { code, signal } = await running.exited
      assert.equal([code, signal], [0, null], running.output.stderr)
      assert.equal(numbersOf(running, 'began'), numbersOf(running, 'ended'))
      assert.match(running.output.stdout, /^stopped after \d+ receipts$/m)
    }
    const last = service()
    await waitFor(
      'all orders to be done',
      async () => {
        const { partitions } = await client.queues.describe('billing')
        return partitions.every(({ doneOffset, endOffset }) => doneOffset === endOffset)
      },
      { deadlineMs: 20_000 },
    )
    last.kill('SIGTERM')
    assert.is((await last.exited).code, 0)
    const all: number[] = []
    for await (const { value } of client.consume(receipts, { from: 'earliest', until: 'end' }))
      all.push(value.order)
    // Each order has one receipt: none was lost, none was billed twice.
    assert.equal(
      all.sort((a, b) => a - b),
      Array.from({ length: orderCount }, (_, id) => id),
    )
  },
  { deadlineMs: 60_000 },
)

test(
  'the example ends at once on a second signal',
  async (context) => {
    const { service } = await setUp(context)
    const running = service({ DRAIN_MS: '600000' })
    await running.waitForOutput('stdout', /^ready/m)
    running.kill('SIGTERM')
    await running.waitForOutput('stdout', /^stopping/m)
    running.kill('SIGTERM')
    assert.is((await running.exited).code, 1)
  },
  { deadlineMs: 30_000 },
)

test.run()
