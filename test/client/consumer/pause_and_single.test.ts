import * as assert from 'uvu/assert'
import { type Client, type Consumer, defineTopic, isMillraceError, string } from '../../../client/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness } from './harness.js'

const test = suite('client/consumer/pause_and_single')

const events = defineTopic('events', { value: string })

interface Reader {
  readonly consumer: Consumer<string, string>
  readonly values: string[]
  readonly ended: Promise<void>
}

function read(context: TestContext, client: Client, into: string[], singleActive = false): Reader {
  const consumer = client.consume(events, {
    group: 'readers',
    from: 'earliest',
    singleActive,
    sessionTimeoutMs: 2_000,
    commitIntervalMs: 0,
  })
  context.defer(() => consumer.close())
  const values: string[] = []
  const ended = (async () => {
    for await (const message of consumer) {
      values.push(message.value)
      into.push(message.value)
      message.ack()
    }
  })()
  ended.catch(() => {})
  return { consumer, values, ended }
}

function publish(client: Client, from: number, count: number): Promise<unknown> {
  return client.publishMany(
    events,
    Array.from({ length: count }, (_, i) => ({ value: String(from + i), partition: (from + i) % 4 })),
  )
}

const sorted = (values: readonly string[]): number[] => values.map(Number).sort((a, b) => a - b)
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

test('a paused group gets nothing, and then continues where it was, each message once', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  const { client } = harness
  await harness.createTopic('events', 4)
  const all: string[] = []
  read(context, await harness.newClient(), all)
  read(context, await harness.newClient(), all)
  await publish(client, 0, 100)
  await waitFor('the first hundred', () => all.length === 100)
  await client.groups.pause('readers')
  const isIdle = async (): Promise<boolean> => {
    const { paused, state, partitions } = await client.groups.describe('readers')
    return paused === true && state === 'stable' && partitions.every(({ memberId }) => memberId === undefined)
  }
  await waitFor('nobody to own anything', isIdle)
  await publish(client, 100, 100)
  await harness.restartBroker(dir)
  await waitFor(
    'the members to be back',
    async () => (await client.groups.describe('readers')).members.length === 2,
  )
  await waitFor('nobody to own anything still', isIdle)
  assert.is(all.length, 100)
  await client.groups.resume('readers')
  await waitFor('the second hundred', () => all.length >= 200, { deadlineMs: 10_000 })
  assert.equal(sorted(all), upTo(200))
  assert.is((await client.groups.describe('readers')).paused, undefined)
})

test('one member is active, and another takes over when it leaves, without loss and in order', async (context) => {
  const harness = await Harness.start(context)
  const { client } = harness
  await harness.createTopic('events', 4)
  const all: string[] = []
  const first = read(context, await harness.newClient(), all, true)
  await publish(client, 0, 50)
  await waitFor('the first fifty', () => all.length === 50)
  const second = read(context, await harness.newClient(), all, true)
  const third = read(context, await harness.newClient(), all, true)
  await waitFor('three members', async () => (await client.groups.describe('readers')).members.length === 3)
  await publish(client, 50, 50)
  await waitFor('the next fifty', () => all.length === 100)
  assert.is(first.values.length, 100)
  const { singleActive, members } = await client.groups.describe('readers')
  assert.is(singleActive, true)
  assert.equal(members.map(({ partitions }) => partitions).sort(), [0, 0, 4])
  await first.consumer.close()
  await publish(client, 100, 50)
  await waitFor('another to take over', () => all.length >= 150, { deadlineMs: 10_000 })
  assert.equal([second.values.length, third.values.length], [50, 0], 'the one that joined first follows')
  assert.equal(sorted(all), upTo(150))
  for (let partition = 0; partition < 4; partition++) {
    const order = all.map(Number).filter((value) => value % 4 === partition)
    assert.equal(
      order,
      [...order].sort((a, b) => a - b),
    )
  }
})

test('members must agree on singleActive', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('events', 2)
  const single = read(context, harness.client, [], true)
  await single.consumer.start()
  const other = read(context, await harness.newClient(), [])
  const error = await other.ended.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(isMillraceError(error, 'BAD_REQUEST'), String(error))
  assert.match((error as Error).message, /singleActive is false, expected true as for the other members/)
})

test.run()
