import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { defineService, isMillraceError, json } from '../../client/index.js'
import { requestHeaders } from '../../client/service/requests.js'
import { commands } from '../../protocol/index.js'
import { startForgetfulRelay } from '../helpers/forgetful_relay.js'
import { connectHello } from '../helpers/raw_client.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'
import { fakePair } from './fixtures.js'

const test = suite('client/service')

interface Question {
  readonly item: string
  readonly waitMs?: number
}

interface Price {
  readonly cents: number
}

const prices = defineService('prices', {
  request: json<Question>(),
  reply: json<Price>(),
})

async function start(context: TestContext): Promise<Harness> {
  const harness = await Harness.start(context)
  await harness.createTopic('prices', 2)
  return harness
}

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return isMillraceError(error) ? error.code : error
}

test('a request gets the reply of a responder, typed both ways', async (context) => {
  const { client } = await start(context)
  client.respond(prices, {}, ({ value, key }) => ({ cents: value.item.length * 100 + (key?.length ?? 0) }))
  assert.equal(await client.request(prices, { key: 'kk', value: { item: 'lamp' } }), { cents: 402 })
})

test('many requests at once are answered in any order, each by its own reply', async (context) => {
  const harness = await start(context)
  const responders = await Promise.all([harness.newClient(), harness.newClient()])
  for (const client of responders)
    client.respond(prices, { concurrency: 100 }, async ({ value: { item, waitMs = 0 } }) => {
      await sleep(waitMs)
      return { cents: Number(item) }
    })
  const askers = await Promise.all([harness.newClient(), harness.newClient()])
  const random = context.random()
  const replies = await Promise.all(
    Array.from({ length: 300 }, (_, i) =>
      askers[i % 2]?.request(prices, { value: { item: String(i), waitMs: random.int(0, 20) } }),
    ),
  )
  assert.equal(
    replies,
    replies.map((_, i) => ({ cents: i })),
  )
})

test('errors of the handler, a timeout and cancelling end the request', async (context) => {
  const { client } = await start(context)
  const handled: string[] = []
  client.respond(prices, {}, async ({ value: { item, waitMs } }) => {
    handled.push(item)
    if (item === 'bad') throw new Error('there is no such item')
    await sleep(waitMs ?? 0)
    return { cents: 1 }
  })
  const bad = await client.request(prices, { value: { item: 'bad' } }).catch((error: unknown) => error)
  assert.ok(isMillraceError(bad, 'REPLY_FAILED'))
  assert.match((bad as Error).message, /no such item/)
  const slow = client.request(prices, { value: { item: 'slow', waitMs: 400 } }, { timeoutMs: 50 })
  assert.is(await codeOf(slow), 'REQUEST_TIMEOUT')
  const stop = new AbortController()
  const cancelled = client.request(prices, { value: { item: 'other', waitMs: 400 } }, { signal: stop.signal })
  await waitFor('it to be handled', () => handled.includes('other'))
  stop.abort('changed my mind')
  assert.is(await codeOf(cancelled), 'changed my mind')
  assert.is(
    await codeOf(client.request(defineService('nowhere', { request: json(), reply: json() }), { value: 1 })),
    'UNKNOWN_TOPIC',
  )
})

test('a request that nobody waits for any more is not handled', async (context) => {
  const { client } = await start(context)
  const late = client.request(prices, { value: { item: 'late' } }, { timeoutMs: 30 })
  assert.is(await codeOf(late), 'REQUEST_TIMEOUT')
  const handled: string[] = []
  client.respond(prices, {}, ({ value }) => {
    handled.push(value.item)
    return { cents: 1 }
  })
  await client.request(prices, { value: { item: 'in time' } })
  assert.equal(handled, ['in time'])
})

test('a request whose responder dies is answered by another', async (context) => {
  const harness = await start(context)
  const dying = await harness.newClient()
  let isTaken = false
  dying.respond(prices, { leaseMs: 1_000 }, () => {
    isTaken = true
    return new Promise(() => {})
  })
  const reply = harness.client.request(prices, { value: { item: 'lamp' } }, { timeoutMs: 10_000 })
  await waitFor('it to be taken', () => isTaken)
  await dying.close({ timeoutMs: 0 })
  harness.client.respond(prices, {}, ({ attempt }) => ({ cents: attempt }))
  assert.equal(await reply, { cents: 2 })
})

test('requests that wait get their replies after a restart of the broker', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  await harness.createTopic('prices')
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  let isTaken = false
  const responder = await harness.newClient()
  responder.respond(prices, {}, async () => {
    isTaken = true
    await gate
    return { cents: 7 }
  })
  const reply = harness.client.request(prices, { value: { item: 'lamp' } }, { timeoutMs: 10_000 })
  await waitFor('it to be taken', () => isTaken)
  await harness.restartBroker(dir)
  release()
  assert.equal(await reply, { cents: 7 })
})

test('a reply that is on its way when the connection ends comes after the reconnect', async (context) => {
  const harness = await start(context)
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const asker = await harness.newClient(relay.port)
  const responder = await harness.newClient()
  let handled = 0
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  responder.respond(prices, {}, async () => {
    handled++
    await gate
    return { cents: handled }
  })
  const reply = asker.request(prices, { value: { item: 'lamp' } }, { timeoutMs: 10_000 })
  await waitFor('it to be taken', () => handled > 0)
  relay.loseReplies()
  release()
  await waitFor('the broker to have sent the reply', async () => {
    const { partitions } = await responder.queues.describe('respond.prices')
    return partitions.every(({ doneOffset, endOffset }) => doneOffset === endOffset)
  })
  relay.cut()
  assert.equal(await reply, { cents: 1 })
  assert.is(handled, 1)
  assert.equal(await asker.request(prices, { value: { item: 'desk' } }), { cents: 2 })
})

test('a reply that comes again changes nothing', async (context) => {
  const harness = await start(context)
  const responder = await connectHello(harness.broker.address)
  context.defer(() => responder.destroy())
  const sent: { to: string; requestId: string }[] = []
  const reply = (index: number, cents: number): Promise<unknown> =>
    responder.request(
      commands.replySend,
      sent[index] as (typeof sent)[number],
      Buffer.from(JSON.stringify({ cents })),
    )
  harness.client.work('prices', { group: 'manual' }, (message) => {
    sent.push({
      to: message.headerText(requestHeaders.replyTo) ?? '',
      requestId: message.headerText(requestHeaders.requestId) ?? '',
    })
  })
  const first = harness.client.request(prices, { value: { item: 'lamp' } })
  await waitFor('the first request', () => sent.length === 1)
  await reply(0, 1)
  await reply(0, 2)
  assert.equal(await first, { cents: 1 })
  const second = harness.client.request(prices, { value: { item: 'desk' } })
  await waitFor('the second request', () => sent.length === 2)
  await reply(0, 3)
  await reply(1, 4)
  assert.equal(await second, { cents: 4 })
})

test('requests work with a broker that numbers no answers', async (context) => {
  const { broker, client } = await fakePair(context)
  const service = defineService('t', { request: json<number>(), reply: json() })
  for (const id of ['0', '1']) {
    broker.decide = (name) =>
      name === 'reply.poll'
        ? { kind: 'say', body: { replies: [[id, 0, `reply ${id}`]] } }
        : { kind: 'answer' }
    const error = await client.request(service, { value: 1 }).catch((reason: unknown) => reason)
    assert.ok(isMillraceError(error, 'REPLY_FAILED'), String(error))
    assert.is((error as Error).message, `reply ${id}`)
  }
  const polls = broker.seen.filter(({ name }) => name === 'reply.poll')
  assert.ok(polls.length >= 2)
  assert.ok(polls.every(({ body }) => (body as { received?: number }).received === 0))
})

test('a reply that is too large is an error of the requester, and the request is handled once', async (context) => {
  const { client } = await start(context)
  const pages = defineService('prices', { request: json<number>(), reply: json<string>() })
  let handled = 0
  client.respond(pages, {}, ({ value }) => {
    handled++
    return 'x'.repeat(value)
  })
  assert.is((await client.request(pages, { value: 1_000 })).length, 1_000)
  const error = await client.request(pages, { value: 17 * 1024 * 1024 }).catch((reason: unknown) => reason)
  assert.ok(isMillraceError(error, 'REPLY_FAILED'), String(error))
  assert.match((error as Error).message, /a request has [\d,]+ bytes .*, the broker accepts at most/)
  assert.is(handled, 2)
})

test('a request may wait for longer than a timer can, and for parts of a millisecond', async (context) => {
  const { client } = await start(context)
  client.respond(prices, {}, () => ({ cents: 1 }))
  for (const timeoutMs of [2 ** 31, 5_000.5])
    assert.equal(await client.request(prices, { value: { item: 'lamp' } }, { timeoutMs }), { cents: 1 })
})

test.run()
