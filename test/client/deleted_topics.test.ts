import * as assert from 'uvu/assert'
import { defineTopic, isMillraceError, string } from '../../client/index.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/deleted_topics')

const topic = defineTopic('t', { value: string })

async function recreate({ client }: Harness, partitions: number): Promise<void> {
  await client.topics.delete('t')
  await client.topics.create('t', { partitions })
}

/** All values of the topic as it is now, sorted. */
async function valuesOf({ client }: Harness): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of client.consume(topic, { from: 'earliest', until: 'end' })) values.push(value)
  return values.sort()
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'done',
    (error: unknown) => (isMillraceError(error) ? error.code : String(error)),
  )
}

for (const partitions of [2, 1, 4])
  test(`a producer continues with a topic that is created again with ${partitions} partitions`, async (context) => {
    const harness = await Harness.start(context)
    await harness.createTopic('t', 2)
    for (let i = 0; i < 5; i++) await harness.client.publish(topic, { value: `old-${i}`, key: String(i) })
    await recreate(harness, partitions)
    const codes: string[] = []
    const expected: string[] = []
    for (let i = 0; i < 5; i++) {
      const code = await codeOf(harness.client.publish(topic, { value: `new-${i}`, key: String(i) }))
      codes.push(code)
      if (code === 'done') expected.push(`new-${i}`)
    }
    // What the producer has counted on the partitions of before fails by name, once.
    const refused = codes.filter((code) => code !== 'done')
    assert.equal(refused, partitions === 2 ? [] : refused.slice(0, 1).map(() => 'UNKNOWN_TOPIC'))
    assert.equal(await valuesOf(harness), expected)
  })

test('a producer whose topic is deleted and not created again fails with UNKNOWN_TOPIC', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  await harness.client.publish(topic, { value: 'old' })
  await harness.client.topics.delete('t')
  assert.is(await codeOf(harness.client.publish(topic, { value: 'new' })), 'UNKNOWN_TOPIC')
})

test('delayed messages of a deleted topic do not come in the new one, those of the new one do', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  await harness.client.publish(topic, { value: 'old', delay: 400, id: 'a' })
  await harness.client.publish(topic, { value: 'old without id', delay: 400 })
  await recreate(harness, 1)
  await harness.client.publish(topic, { value: 'new', delay: 600, id: 'a' })
  await waitFor('the delayed message', async () => (await valuesOf(harness)).length > 0)
  assert.equal(await valuesOf(harness), ['new'])
})

test('schedules of a deleted topic are gone, and can be set for the new one', async (context) => {
  const harness = await Harness.start(context)
  const { client } = harness
  await harness.createTopic('t')
  const schedule = { topic, cron: '* * * * * *', message: { value: 'tick' } }
  await client.schedules.set('clock', schedule)
  await recreate(harness, 1)
  const names: string[] = []
  for await (const { name } of client.schedules.list()) names.push(name)
  assert.equal(names, [])
  await client.schedules.set('clock', schedule)
  await waitFor('a tick', async () => (await valuesOf(harness)).length > 0)
})

test('a transaction with a message of a deleted topic is refused with LEASE_LOST', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  const codes: string[] = []
  const worker = harness.client.work(topic, { group: 'g', onError: () => {} }, async (message) => {
    if (message.value !== 'old') return
    await recreate(harness, 1)
    codes.push(
      await codeOf(
        harness.client.transaction((tx) => {
          tx.ack(message)
          tx.publish(topic, { value: 'out' })
        }),
      ),
    )
  })
  context.defer(() => worker.close())
  await harness.client.publish(topic, { value: 'old' })
  await waitFor('the transaction', () => codes.length === 1)
  assert.ok(['LEASE_LOST', 'UNKNOWN_TOPIC'].includes(codes[0] ?? ''), codes[0])
  assert.equal(await valuesOf(harness), [])
})

test.run()
