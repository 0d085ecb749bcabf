import * as assert from 'uvu/assert'
import { type Client, connect, defineTopic, type Receipt, string } from '../../client/index.js'
import { type SpawnedProcess, spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/crash')

const rounds = 20
const publishers = 4
const windowSize = 50
const acksPerRound = 500
const topic = defineTopic('events', { value: string })

async function serve(
  context: TestContext,
  data: string,
  port: number,
): Promise<{ broker: SpawnedProcess; port: number }> {
  const broker = spawnMillrace(context, ['serve', '--data', data, '--port', String(port)])
  const [, found] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
  return { broker, port: Number(found) }
}

/** Publishes messages one after the other under its own key, a window at a time, until it is told to stop. */
async function publishUntil(
  client: Client,
  name: string,
  acked: [string, Receipt][],
  stop: AbortSignal,
): Promise<void> {
  for (let number = 0; !stop.aborted; ) {
    const values = Array.from({ length: windowSize }, () => `${name}-${number++}`)
    await Promise.all(
      values.map(async (value) => acked.push([value, await client.publish(topic, { key: name, value })])),
    )
  }
}

test(
  `every acknowledged message is there after ${rounds} kills under load: once, in order, at its offset`,
  async (context) => {
    const random = context.random()
    const data = await context.tempDir()
    let { broker, port } = await serve(context, data, 0)
    const client = await connect({ servers: `127.0.0.1:${port}`, reconnect: { initialMs: 10, maxMs: 50 } })
    context.defer(() => client.close({ timeoutMs: 0 }))
    await client.topics.create('events', { partitions: 4 })
    const stop = new AbortController()
    const acked: [string, Receipt][] = []
    const publishing = Promise.all(
      Array.from({ length: publishers }, (_, index) => publishUntil(client, `p${index}`, acked, stop.signal)),
    )
    publishing.catch(() => {})
    for (let round = 0; round < rounds; round++) {
      const goal = acked.length + random.int(1, acksPerRound * 2)
      await waitFor('messages to be acknowledged', () => acked.length >= goal, { deadlineMs: 20_000 })
      broker.kill('SIGKILL')
      await broker.exited
      ;({ broker, port } = await serve(context, data, port))
    }
    stop.abort()
    await publishing
    const read = new Map<string, string[]>()
    const places = new Map<string, string>()
    for await (const batch of client.consume(topic, { from: 'earliest', until: 'end' }).batches()) {
      for (const { value, partition, offset } of batch.messages) {
        const [publisher = ''] = value.split('-')
        const values = read.get(publisher) ?? []
        values.push(value)
        read.set(publisher, values)
        assert.not(places.has(value), `${value} was appended twice`)
        places.set(value, `${partition}@${offset}`)
      }
    }
    for (const [value, { partition, offset }] of acked) {
      // A retry that the broker recognizes much later is acknowledged without an offset.
      const place = offset < 0 ? places.get(value) : `${partition}@${offset}`
      assert.is(places.get(value) ?? 'nowhere', place, `${value} was acknowledged`)
    }
    for (const [publisher, values] of read) {
      assert.equal(
        values,
        values.map((_, number) => `${publisher}-${number}`),
        'in the order in which they were published',
      )
    }
    assert.is(places.size, acked.length, 'nothing but what was acknowledged, since every publish was')
    const { health } = await client.status()
    assert.equal(health, { status: 'ok', reasons: [] })
  },
  { deadlineMs: 120_000 },
)

test.run()
