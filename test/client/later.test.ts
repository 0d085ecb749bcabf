import * as assert from 'uvu/assert'
import {
  type Client,
  connect,
  defineTopic,
  isMillraceError,
  MillraceError,
  string,
} from '../../client/index.js'
import { startForgetfulRelay } from '../helpers/forgetful_relay.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/later')

const jobs = defineTopic('jobs', { value: string })

async function start(context: TestContext): Promise<{ harness: Harness; client: Client; dir: string }> {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  await harness.createTopic('jobs', 2)
  return { harness, client: harness.client, dir }
}

async function valuesOf(client: Client): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of client.consume(jobs, { from: 'earliest', until: 'end' })) values.push(value)
  return values
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

async function rejects(promise: Promise<unknown>, expected: RegExp): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.instance(error, MillraceError)
  assert.match((error as Error).message, expected)
}

test('a delayed message comes when it is due, not before, with its due time as its timestamp', async (context) => {
  const { client } = await start(context)
  const dueMs = Date.now() + 2_000
  const receipt = await client.publish(jobs, {
    key: 'k',
    value: 'later',
    deliverAt: dueMs,
    headers: { a: 'b' },
  })
  assert.is(receipt.status, 'delayed')
  assert.is(receipt.offset, -1)
  await client.publish(jobs, { key: 'k', value: 'now' })
  assert.equal(await valuesOf(client), ['now'])
  assert.is((await client.delayed.count('jobs')).count, 1)
  const consumer = client.consume(jobs, { from: 'earliest' })
  context.defer(() => consumer.close())
  const seen: string[] = []
  for await (const message of consumer) {
    seen.push(message.value)
    if (message.value !== 'later') continue
    assert.ok(Date.now() >= dueMs, `${Date.now()} is not before ${dueMs}`)
    assert.is(message.timestamp, dueMs)
    assert.is(message.key, 'k')
    assert.is(message.headerText('a'), 'b')
    break
  }
  assert.equal(seen, ['now', 'later'])
  assert.is((await client.delayed.count()).count, 0)
})

test('many delayed messages each come once, in bulk too, with and without ids', async (context) => {
  const { client } = await start(context)
  await client.publishMany(
    jobs,
    Array.from({ length: 3_000 }, (_, i) => ({ value: String(i), delay: 50 + (i % 100) })),
  )
  const all = (): Promise<boolean> => valuesOf(client).then((values) => values.length >= 3_000)
  await waitFor('all of them', all, { deadlineMs: 10_000 })
  const values = await valuesOf(client)
  assert.is(values.length, 3_000)
  assert.is(new Set(values).size, 3_000)
})

test('a cancelled message does not come, and its id is free again', async (context) => {
  const { client } = await start(context)
  await client.publish(jobs, { value: 'a', delay: '1h', id: 'one' })
  const again = await client.publish(jobs, { value: 'b', delay: '1h', id: 'one' })
  assert.is(again.status, 'duplicate')
  const [listed] = await collect(client.delayed.list('jobs'))
  assert.is(listed?.id, 'one')
  assert.is(await client.delayed.cancel('jobs', 'one'), true)
  assert.is(await client.delayed.cancel('jobs', 'one'), false)
  const third = await client.publish(jobs, { value: 'c', id: 'one' })
  assert.is(third.status, 'appended')
  assert.equal(await valuesOf(client), ['c'])
})

test('a delayed message whose reply was lost is delayed once, and is no duplicate of itself', async (context) => {
  const { harness, client } = await start(context)
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const away = await connect({ servers: `127.0.0.1:${relay.port}` })
  context.defer(() => away.close({ timeoutMs: 0 }))
  await away.publish(jobs, { value: 'first', delay: '1h' })
  relay.loseReplies()
  const publishing = away.publish(jobs, { value: 'second', delay: '1h' })
  await waitFor('it to be there', async () => (await client.delayed.count()).count === 2)
  relay.cut()
  assert.is((await publishing).status, 'delayed')
  assert.is((await client.delayed.count()).count, 2)
})

for (const [name, message] of [
  ['with an id', { id: 'one' }],
  ['that was delayed', { delay: 20 }],
  ['that was delayed, with an id,', { id: 'one', delay: 20 }],
] as const) {
  test(`a message ${name} whose receipt was lost is not appended twice if the topic forgets ids`, async (context) => {
    const { harness, client } = await start(context)
    await client.topics.alter('jobs', { dedupeWindow: 0 })
    const relay = await startForgetfulRelay(context, harness.broker.address.port)
    const away = await connect({ servers: `127.0.0.1:${relay.port}` })
    context.defer(() => away.close({ timeoutMs: 0 }))
    await away.publish(jobs, { value: 'first', delay: '1h' })
    relay.loseReplies()
    const publishing = away.publish(jobs, { value: 'second', ...message }).catch((error: unknown) => error)
    await waitFor('it to be there', async () => (await valuesOf(client)).length === 1)
    relay.cut()
    assert.ok(isMillraceError(await publishing, 'OUTCOME_UNKNOWN'), String(await publishing))
    assert.equal(await valuesOf(client), ['second'])
  })
}

for (const [some, idOf] of [
  ['messages of a key with ids', (value: string) => value],
  [
    'messages of a key, of which some have ids,',
    (value: string) => (/[1346]$/.test(value) ? value : undefined),
  ],
] as const) {
  test(`${some} keep the order of the calls when requests and replies are lost`, async (context) => {
    const { harness, client } = await start(context)
    const relay = await startForgetfulRelay(context, harness.broker.address.port)
    const away = await connect({
      servers: `127.0.0.1:${relay.port}`,
      reconnect: { initialMs: 20, maxMs: 40 },
    })
    context.defer(() => away.close({ timeoutMs: 0 }))
    const values: string[] = []
    const publish = (value: string): Promise<unknown> => {
      values.push(value)
      return away.publish(jobs, { key: 'k', value, id: idOf(value) })
    }
    for (let round = 0; round < 5; round++) {
      await publish(`${round}-warm`)
      const losesAll = round % 2 === 0
      if (losesAll) relay.forget()
      else relay.loseReplies()
      const receipts: Promise<unknown>[] = []
      for (let n = 0; n < 6; n++) {
        if (n === 3) relay.cut()
        receipts.push(publish(`${round}-${n}`))
        // One turn of the event loop for each message, so that they could leave in separate requests.
        await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all(receipts)
    }
    assert.equal(await valuesOf(client), values)
  })
}

test('messages are recognized by their ids, also after a restart', async (context) => {
  const { harness, client, dir } = await start(context)
  const first = await client.publish(jobs, { key: 'k', value: 'a', id: 'order-1' })
  assert.is(first.status, 'appended')
  const second = await client.publish(jobs, { key: 'k', value: 'a', id: 'order-1' })
  assert.equal([second.status, second.offset, second.partition], ['duplicate', first.offset, first.partition])
  await harness.restartBroker(dir)
  const third = await client.publish(jobs, { key: 'k', value: 'a', id: 'order-1' })
  assert.equal([third.status, third.offset], ['duplicate', first.offset])
  await client.topics.create('forgetful', { dedupeWindow: 0 })
  const forgetful = defineTopic('forgetful', { value: string })
  for (let n = 0; n < 2; n++)
    assert.is((await client.publish(forgetful, { value: 'x', id: 'same' })).status, 'appended')
  assert.equal(await valuesOf(client), ['a'])
})

test('messages that were due while the broker was down come once after its start', async (context) => {
  const { harness, client, dir } = await start(context)
  const dueMs = Date.now() + 150
  await client.publishMany(
    jobs,
    Array.from({ length: 100 }, (_, i) => ({ value: String(i), deliverAt: dueMs })),
  )
  await client.publish(jobs, { value: 'far', delay: '1h' })
  await harness.restartBroker(dir)
  await waitFor('them', async () => (await valuesOf(client)).length >= 100)
  await harness.restartBroker(dir)
  assert.is((await valuesOf(client)).length, 100)
  assert.is((await client.delayed.count()).count, 1)
})

test('a schedule publishes at its times until it is deleted', async (context) => {
  const { client } = await start(context)
  const nextDueMs = await client.schedules.set('every-second', {
    topic: jobs,
    message: { key: 'k', value: 'tick' },
    cron: '* * * * * *',
    timeZone: 'Europe/Berlin',
  })
  assert.ok(nextDueMs > Date.now() - 1_000)
  await waitFor('two ticks', async () => (await valuesOf(client)).length >= 2)
  const [schedule] = await collect(client.schedules.list())
  assert.equal(
    [schedule?.name, schedule?.topic, schedule?.timeZone, schedule?.missed],
    ['every-second', 'jobs', 'Europe/Berlin', 'once'],
  )
  assert.ok((schedule?.firedCount ?? 0) >= 2)
  await client.schedules.delete('every-second')
  assert.equal(await collect(client.schedules.list()), [])
  const consumer = client.consume(jobs, { from: 'earliest', until: 'end' })
  const times: number[] = []
  for await (const { timestamp, value } of consumer) {
    assert.is(value, 'tick')
    times.push(timestamp)
  }
  assert.is(new Set(times).size, times.length)
  assert.ok(times.every((timeMs) => timeMs % 1_000 === 0))
})

test('bad times, ids, patterns and zones are named', async (context) => {
  const { client } = await start(context)
  const value = 'x'
  await rejects(
    client.publish(jobs, { value, delay: '2s', deliverAt: 5 }),
    /"delay" or "deliverAt", not both/,
  )
  await rejects(client.publish(jobs, { value, deliverAt: Number.NaN }), /"deliverAt" is NaN/)
  await rejects(client.publish(jobs, { value, delay: '400d' }), /more than .* ahead of the broker's clock/)
  await rejects(client.publish(jobs, { value, id: '' }), /id of a message must have 1 to 200 bytes/)
  await rejects(client.publish('nowhere', { value: new Uint8Array(1), id: 'a' }), /no topic "nowhere"/)
  const set = (cron: string, timeZone?: string): Promise<number> =>
    client.schedules.set('s', { topic: jobs, message: { value }, cron, timeZone })
  await rejects(set('not a pattern'), /cron pattern "not a pattern"/)
  await rejects(set('* * * * *', 'Mars/Olympus'), /time zone "Mars\/Olympus"/)
  await rejects(client.schedules.delete('nothing'), /nothing/)
})

test.run()
