import * as assert from 'uvu/assert'
import { startBroker } from '../../broker/index.js'
import { commands, type MillraceError } from '../../protocol/index.js'
import { connectRaw } from '../helpers/raw_client.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import {
  batchOf,
  ControlledEngines,
  createTopic,
  fetchPartition,
  publish,
  testBroker,
  testClient,
  valuesOf,
} from './harness.js'

const test = suite('broker/drain')

test('close answers waiting requests, finishes accepted ones and refuses new publishes', async (context) => {
  const engines = new ControlledEngines()
  const broker = await testBroker(context, { engines })
  const publisher = await testClient(context, broker)
  const reader = await testClient(context, broker)
  const topicId = await createTopic(publisher, 'orders')
  const waiting = fetchPartition(reader, topicId, 0, 0, { waitMs: 60_000, bytesMin: 10_000 })
  await reader.request(commands.ping, {})
  engines.hold()
  const begun = engines.commits
  const accepted = publish(publisher, [topicId, 0, batchOf(['accepted'])])
  await waitFor('the commit to begin', () => engines.commits > begun)

  const closing = broker.close()
  assert.equal((await waiting).reply.partitions, [])
  const refused = await publish(publisher, [topicId, 0, batchOf(['late'])]).catch((error: unknown) => error)
  assert.is((refused as MillraceError).code, 'DRAINING')
  assert.ok((await connectRaw(broker.address).catch((error: unknown) => error)) instanceof Error)
  engines.release()
  assert.equal(await accepted, [{ error: 0, baseOffset: 0 }])
  await Promise.all([publisher.closed, reader.closed, closing])

  const again = await testClient(context, await testBroker(context, { engines }))
  assert.equal(await valuesOf(again, topicId), ['accepted'])
})

test('a repeat of a committed transaction is answered also while the broker shuts down', async (context) => {
  const engines = new ControlledEngines()
  const broker = await testBroker(context, { engines })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  const batch = batchOf(['once'])
  const transaction = (id: string): Promise<unknown> =>
    client
      .request(
        commands.transaction,
        { id, batches: [[topicId, 0, batch.length]], acks: [], offsets: [] },
        batch,
      )
      .then(
        ({ body }) => body.baseOffsets,
        (error: unknown) => (error as MillraceError).code,
      )
  assert.equal(await transaction('first'), [0])
  engines.hold()
  const begun = engines.commits
  const held = transaction('second')
  await waitFor('the commit to begin', () => engines.commits > begun)
  const closing = broker.close()
  const repeatOfHeld = transaction('second')
  assert.equal(await transaction('first'), [-1])
  assert.is(await transaction('third'), 'DRAINING')
  engines.release()
  assert.equal(await held, [1])
  assert.equal(await repeatOfHeld, [1])
  await closing
})

test('close ends by force after the drain timeout', async (context) => {
  const engines = new ControlledEngines()
  const broker = await testBroker(context, { engines, drainTimeoutMs: 100 })
  const client = await testClient(context, broker)
  const topicId = await createTopic(client, 'orders')
  engines.hold()
  const begun = engines.commits
  const publishing = publish(client, [topicId, 0, batchOf(['a'])]).catch((error: unknown) => error)
  await waitFor('the commit to begin', () => engines.commits > begun)
  const closing = broker.close()
  assert.is(((await publishing) as MillraceError).code, 'CONNECTION_LOST')
  engines.release()
  await closing
})

test('close can be called twice, and frees the port and the folder', async (context) => {
  const dir = await context.tempDir()
  const broker = await startBroker({ dir, port: 0, logLevel: 'silent' })
  await Promise.all([broker.close(), broker.close()])
  await using again = await startBroker({ dir, port: broker.address.port, logLevel: 'silent' })
  assert.is(again.address.port, broker.address.port)
})

test('a start on a port in use leaves nothing open', async (context) => {
  const dir = await context.tempDir()
  const broker = await testBroker(context)
  const { port } = broker.address
  const problem = await startBroker({ dir, port, logLevel: 'silent' }).catch((error: unknown) => error)
  assert.is((problem as NodeJS.ErrnoException).code, 'EADDRINUSE')
  await testBroker(context, { dir })
})

test('a folder in use is refused', async (context) => {
  const dir = await context.tempDir()
  await testBroker(context, { dir })
  const problem = await startBroker({ dir, port: 0, logLevel: 'silent' }).catch((error: unknown) => error)
  assert.is((problem as MillraceError).code, 'FOLDER_IN_USE')
})

test.run()
