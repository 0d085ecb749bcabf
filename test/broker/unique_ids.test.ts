import * as assert from 'uvu/assert'
import { startBroker } from '../../broker/index.js'
import { UniqueIds } from '../../broker/unique_ids.js'
import { type Client, connect, defineTopic, isMillraceError, string } from '../../client/index.js'
import { restoreBackup, writeBackup } from '../../storage/index.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('broker/unique_ids')

test('ids continue with a new start before the counter is at its end', async () => {
  const starts = { count: 7 }
  const seen = new Set<number>()
  const ids = new UniqueIds(
    starts,
    async (ops) => {
      starts.count += ops.length
    },
    16,
  )
  for (let n = 0; n < 1_000; n++) {
    const id = ids.next()
    assert.not.ok(seen.has(id), `${id}`)
    seen.add(id)
    await undefined
  }
  assert.ok(starts.count > 7)
})

test('there is no id when the counter is at its end and no new start can be committed', async () => {
  let commits = 0
  const ids = new UniqueIds(
    { count: 1 },
    async () => {
      commits++
      throw new Error('the disk is gone')
    },
    16,
  )
  const seen = new Set<number>()
  for (let n = 1; n < 16; n++) {
    seen.add(ids.next())
    await undefined
    await undefined
  }
  assert.is(seen.size, 15)
  assert.ok(commits > 1, 'it tries again')
  assert.throws(() => ids.next(), /no unique ids left/)
})

async function connectTo(context: TestContext, port: number): Promise<Client> {
  const client = await connect({ servers: `127.0.0.1:${port}`, reconnect: { initialMs: 10, maxMs: 50 } })
  client.on('disconnected', () => {})
  context.defer(() => client.close({ timeoutMs: 0 }))
  return client
}

async function valuesOf(client: Client, name: string): Promise<string[]> {
  const values: string[] = []
  const topic = defineTopic(name, { value: string })
  for await (const { value } of client.consume(topic, { from: 'earliest', until: 'end' })) values.push(value)
  return values
}

const kept = defineTopic('kept', { value: string })
const made = defineTopic('made', { value: string })

for (const losses of [1, 2])
  test(`clients that outlive ${losses} lost brokers do not meet their ids again`, async (context) => {
    const dir = await context.tempDir()
    let broker = await startBroker({ dir: `${dir}/0`, port: 0, logLevel: 'silent' })
    context.defer(() => broker.close())
    const { port } = broker.address
    const restart = async (data: string): Promise<void> => {
      await broker.close()
      broker = await startBroker({ dir: `${dir}/${data}`, port, logLevel: 'silent' })
    }
    const survivor = await connectTo(context, port)
    await survivor.topics.create('kept', { partitions: 1 })
    const { chunks, bytes: _, ...about } = await survivor.backup()
    await writeBackup(`${dir}/backup`, about, chunks())
    for (let lost = 0; lost < losses; lost++) {
      await restart(`${lost}`)
      const client = lost === 0 ? survivor : await connectTo(context, port)
      await client.topics.create('made', { partitions: 1 })
      await client.publish(made, { value: 'lost' })
      await client.publish(kept, { value: 'lost' })
      await restoreBackup(`${dir}/backup`, `${dir}/${lost + 1}`)
    }
    await restart(`${losses}`)
    const other = await connectTo(context, port)
    for (const value of ['1', '2', '3']) await other.publish(kept, { value })
    await other.topics.create('other', { partitions: 1 })
    const error: unknown = await survivor.publish(made, { value: 'x' }).catch((reason: unknown) => reason)
    assert.ok(isMillraceError(error, 'UNKNOWN_TOPIC'), String(error))
    await other.topics.create('made', { partitions: 1 })
    await survivor.publish(made, { value: 'y' })
    await survivor.publish(kept, { value: '4' })
    assert.equal(await valuesOf(other, 'made'), ['y'])
    assert.equal(await valuesOf(other, 'other'), [])
    assert.equal(await valuesOf(other, 'kept'), ['1', '2', '3', '4'])
  })

test.run()
