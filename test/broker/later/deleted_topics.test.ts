import * as assert from 'uvu/assert'
import type { Broker } from '../../../broker/index.js'
import type { Shard } from '../../../broker/shard.js'
import { viewTables } from '../../../broker/state_keys.js'
import { commands, type ReplyOf } from '../../../protocol/index.js'
import { type EngineFactory, memoryEngines } from '../../../storage/index.js'
import type { RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { batchOf, createTopic, testBroker, testClient } from '../harness.js'

const test = suite('broker/later/deleted_topics')

/** More than the broker looks at, or removes, in one step. */
const many = 6_000
const perRequest = 1_000
const inAnHourMs = Date.now() + 3_600_000

/** Delays messages; `idOf` returns the id of a message, empty for none. */
async function delay(
  client: RawClient,
  topicId: number,
  count: number,
  idOf: (index: number) => string = () => '',
): Promise<readonly number[]> {
  const errors = new Set<number>()
  for (let sent = 0; sent < count; sent += perRequest) {
    const size = Math.min(perRequest, count - sent)
    const batch = batchOf(Array.from({ length: size }, (_, i) => `message ${sent + i}`))
    const messages = Array.from(
      { length: size },
      (_, i) => [inAnHourMs + sent + i, idOf(sent + i) || undefined] as const,
    )
    const request = { batches: [[topicId, 0, batch.length] as const], messages }
    const { body } = await client.request(commands.publishEach, request, batch)
    for (const [error] of body.results) errors.add(error)
  }
  return [...errors]
}

async function listed(client: RawClient, topic?: string): Promise<ReplyOf<typeof commands.delayedList>> {
  const { body } = await client.request(commands.delayedList, { ...(topic === undefined ? {} : { topic }) })
  return body
}

function delayedOnDisk(broker: Broker): Promise<number> {
  const { state } = (broker as unknown as { readonly shard: Shard }).shard.store
  return state
    .range({
      gte: Uint8Array.of(viewTables.delayed),
      lt: Uint8Array.of(viewTables.delayedId + 1),
      limit: 100,
    })
    .then((entries) => entries.filter(([key]) => key.length > 1).length)
}

async function start(
  context: TestContext,
  options: { engines?: EngineFactory; delayedMessagesMax?: number } = {},
): Promise<{ broker: Broker; client: RawClient }> {
  const broker = await testBroker(context, { engines: memoryEngines(), ...options })
  return { broker, client: await testClient(context, broker) }
}

/** Deletes "jobs" and waits until only the messages of other topics are left. */
async function expectOnly(client: RawClient, broker: Broker, count: number): Promise<void> {
  await waitFor(`${count} delayed messages on disk`, async () => (await delayedOnDisk(broker)) === count)
  await waitFor(`${count} delayed messages`, async () => (await listed(client)).count === count)
}

const kinds: Readonly<Record<string, (index: number) => string>> = {
  'without ids': () => '',
  'with ids': (index) => `id-${index}`,
  'with and without ids': (index) => (index % 2 === 0 ? `id-${index}` : ''),
}

for (const [what, idOf] of Object.entries(kinds)) {
  test(`delayed messages ${what} are gone soon after their topic`, async (context) => {
    const { broker, client } = await start(context)
    const jobs = await createTopic(client, 'jobs')
    const other = await createTopic(client, 'other')
    await delay(client, jobs, many, idOf)
    await delay(client, other, 5)
    assert.is((await listed(client)).count, many + 5)
    await client.request(commands.topicDelete, { topic: 'jobs' })
    assert.is((await listed(client)).count, 5, 'they are not counted from the deletion on')
    await expectOnly(client, broker, 5)
    assert.is((await listed(client, 'other')).messages.length, 5)
  })
}

test('delayed messages of a deleted topic count no longer towards delayedMessagesMax', async (context) => {
  const { client } = await start(context, { delayedMessagesMax: 1_000 })
  const jobs = await createTopic(client, 'jobs')
  const other = await createTopic(client, 'other')
  assert.equal(await delay(client, jobs, 1_000), [0])
  const [refused] = await delay(client, other, 1)
  assert.is.not(refused, 0)
  await client.request(commands.topicDelete, { topic: 'jobs' })
  await waitFor('room', async () => (await delay(client, other, 1))[0] === 0)
})

test('a topic of the same name starts without the delayed messages of the deleted one', async (context) => {
  const { broker, client } = await start(context)
  await delay(client, await createTopic(client, 'jobs'), many)
  await client.request(commands.topicDelete, { topic: 'jobs' })
  await delay(client, await createTopic(client, 'jobs'), 7)
  assert.is((await listed(client, 'jobs')).count, 7)
  await expectOnly(client, broker, 7)
  assert.is((await listed(client, 'jobs')).messages.length, 7)
})

test('a broker that stopped before it removed them removes them at its next start', async (context) => {
  const engines = memoryEngines()
  const before = await start(context, { engines })
  await delay(before.client, await createTopic(before.client, 'jobs'), many)
  await delay(before.client, await createTopic(before.client, 'other'), 5)
  await before.client.request(commands.topicDelete, { topic: 'jobs' })
  await before.broker.close()
  const { broker, client } = await start(context, { engines })
  assert.is((await listed(client)).count, 5)
  await expectOnly(client, broker, 5)
})

test('topics that are deleted while others are being removed go as well', async (context) => {
  const { broker, client } = await start(context)
  const names = ['a', 'b', 'c']
  for (const name of names) await delay(client, await createTopic(client, name), many / names.length)
  await delay(client, await createTopic(client, 'other'), 5)
  for (const topic of names) await client.request(commands.topicDelete, { topic })
  await expectOnly(client, broker, 5)
})

test.run()
