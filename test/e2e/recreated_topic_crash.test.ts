import * as assert from 'uvu/assert'
import { connect, defineTopic, string } from '../../client/index.js'
import { type SpawnedProcess, spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/recreated_topic_crash')

const topic = defineTopic('t', { value: string })
const rounds = 3

interface Serving {
  readonly broker: SpawnedProcess
  readonly port: number
}

async function serve(context: TestContext, dir: string, port: number): Promise<Serving> {
  const broker = spawnMillrace(context, ['serve', '--data', dir, '--port', String(port)])
  const [, found] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/, {
    deadlineMs: 30_000,
  })
  return { broker, port: Number(found) }
}

test(
  'a worker and a member of a group continue with a topic that was created again around a kill of the broker',
  async (context) => {
    const dir = await context.tempDir()
    let { broker, port } = await serve(context, dir, 0)
    const client = await connect({ servers: `127.0.0.1:${port}`, reconnect: { initialMs: 10, maxMs: 50 } })
    context.defer(() => client.close({ timeoutMs: 0 }))
    await client.topics.create('t', { partitions: 2 })
    const worked = new Set<string>()
    const read = new Set<string>()
    const ends: unknown[] = []
    const worker = client.work(
      topic,
      { group: 'crew', onError: () => {} },
      ({ value }) => void worked.add(value),
    )
    worker.closed.catch((error: unknown) => ends.push(error))
    const consumer = client.consume(topic, { group: 'readers', from: 'earliest', onError: () => {} })
    const reading = (async () => {
      for await (const message of consumer) {
        read.add(message.value)
        message.ack()
      }
    })().catch((error: unknown) => ends.push(error))
    await worker.ready
    for (let round = 0; round < rounds; round++) {
      await client.publish(topic, { value: `before-${round}` })
      await waitFor('the old message', () => worked.has(`before-${round}`) && read.has(`before-${round}`))
      await client.topics.delete('t')
      await client.topics.create('t', { partitions: 1 + round })
      broker.kill('SIGKILL')
      await broker.exited
      ;({ broker, port } = await serve(context, dir, port))
      await client.topics.ensure('t', { partitions: 1 + round })
      const other = await connect(`127.0.0.1:${port}`)
      await other.publish(topic, { value: `after-${round}` })
      await other.close()
      await waitFor(
        'the new message',
        () => ends.length > 0 || (worked.has(`after-${round}`) && read.has(`after-${round}`)),
        { deadlineMs: 20_000 },
      )
      assert.equal(ends, [])
      // The producer learns of the new partitions.
      await client.publish(topic, { value: 'once' }).catch(() => {})
    }
    await worker.close()
    await consumer.close()
    await reading
  },
  { deadlineMs: 90_000 },
)

test.run()
