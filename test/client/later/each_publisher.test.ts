import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as assert from 'uvu/assert'
import { defineTopic } from '../../../client/index.js'
import { commands, type RequestOf } from '../../../protocol/index.js'
import type { FakeBroker } from '../../helpers/fake_broker.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { codeOf, fakePair } from '../fixtures.js'

const test = suite('client/later/each_publisher')

type Request = RequestOf<typeof commands.publishEach>

function isEach(name: string): boolean {
  return name === commands.publishEach.name
}

function idsOf(body: unknown): (string | undefined)[] {
  return (body as Request).messages.map(([, id]) => id)
}

/** The ids of each received request. */
function received(broker: FakeBroker): (string | undefined)[][] {
  return broker.requests(commands.publishEach.name).map(({ body }) => idsOf(body))
}

function appended(body: unknown): { kind: 'say'; body: unknown } {
  return { kind: 'say', body: { results: idsOf(body).map((_, index) => [0, 'appended', index]) } }
}

const bytes = (value: string): Buffer => Buffer.from(value)

test('a repeat says how long ago the request was first sent, and only if that had an unknown outcome', async (context) => {
  const { broker, client } = await fakePair(context)
  const { port } = broker
  const sent = (): (number | undefined)[] =>
    broker
      .requests(commands.publishEach.name)
      .map(({ body }) => (body as RequestOf<typeof commands.publishEach>).repeatedAfterMs)
  let cutMs = Number.POSITIVE_INFINITY
  let isBack = false
  broker.decide = (name) => {
    if (name !== commands.publishEach.name) return { kind: 'answer' }
    if (sent().length === 1) return { kind: 'refuse', code: 'OVERLOADED' }
    if (isBack) return { kind: 'say', body: { results: [[0, 'appended', 0]] } }
    cutMs = Math.min(cutMs, performance.now())
    return { kind: 'cut' }
  }
  let isWaiting = false
  client.on('reconnecting', () => {
    isWaiting = true
  })
  const publishing = client.publish('t', { value: Buffer.from('a'), id: 'one' })
  await waitFor('the second request', () => sent().length >= 2)
  await broker.stop()
  await waitFor('the client to wait for the broker', () => isWaiting && performance.now() > cutMs + 100)
  const backMs = performance.now()
  isBack = true
  await broker.listen(port)
  assert.is((await publishing).status, 'appended')
  const [refused, cut, ...repeats] = sent()
  assert.equal([refused, cut], [undefined, undefined])
  assert.ok(repeats.every((afterMs) => afterMs !== undefined))
  assert.ok((repeats.at(-1) ?? 0) >= backMs - cutMs, `${repeats.at(-1)}`)
})

for (const failure of ['cut', 'refuse'] as const) {
  test(`the messages of a partition stay in order while requests fail: ${failure}`, async (context) => {
    const { broker, client } = await fakePair(context)
    const log: (string | undefined)[] = []
    let failures = 0
    broker.decide = (name, body) => {
      if (!isEach(name)) return { kind: 'answer' }
      if (idsOf(body).includes('0') && failures < 4) {
        failures++
        return failure === 'cut' ? { kind: 'cut' } : { kind: 'refuse', code: 'OVERLOADED' }
      }
      log.push(...idsOf(body))
      return appended(body)
    }
    const receipts: Promise<unknown>[] = []
    for (let id = 0; id < 6; id++) {
      receipts.push(client.publish('t', { key: 'k', value: bytes('a'), id: `${id}` }))
      // Each message after a new failure of the first one, as long as there are failures.
      await waitFor('a failure', () => failures > Math.min(id, 3))
    }
    await Promise.all(receipts)
    assert.equal(log, ['0', '1', '2', '3', '4', '5'])
  })
}

test('a partition is in one request at a time, and does not hold up others', async (context) => {
  const { broker, client } = await fakePair(context, { partitions: 2 })
  broker.decide = (name, body) => (isEach(name) ? { ...appended(body), held: true } : { kind: 'answer' })
  const publish = (partition: number, id: string) =>
    client.publish('t', { partition, value: bytes('a'), id }).then(() => void done.push(id))
  const done: string[] = []
  const all = [publish(0, 'a0')]
  await waitFor('the first request', () => broker.heldCount === 1)
  all.push(publish(0, 'a1'), publish(1, 'b0'), publish(0, 'a2'))
  await waitFor('the request of the other partition', () => broker.heldCount === 2)
  broker.release([1])
  broker.decide = (name, body) => (isEach(name) ? appended(body) : { kind: 'answer' })
  await waitFor('the receipt of the other partition', () => done.length === 1)
  assert.equal(done, ['b0'])
  all.push(publish(1, 'b1'))
  await waitFor('its next receipt', () => done.length === 2)
  assert.equal(received(broker), [['a0'], ['b0'], ['b1']])
  broker.cut()
  await Promise.all(all)
  assert.equal(received(broker).slice(3), [['a0'], ['a1', 'a2']])
})

test('a message that the broker refuses for good does not hold up the next ones', async (context) => {
  const { broker, client } = await fakePair(context)
  let isFirst = true
  broker.decide = (name, body) => {
    if (!isEach(name)) return { kind: 'answer' }
    const deed = isFirst ? ({ kind: 'refuse', code: 'BAD_REQUEST' } as const) : appended(body)
    isFirst = false
    return deed
  }
  const first = client.publish('t', { value: bytes('a'), id: '0' }).catch(codeOf)
  await waitFor('the first request', () => received(broker).length === 1)
  const next = client.publish('t', { value: bytes('b'), id: '1' })
  assert.is(await first, 'BAD_REQUEST')
  assert.is((await next).status, 'appended')
})

test('a message with an id waits for earlier messages of its partition without one', async (context) => {
  const { broker, client } = await fakePair(context, { partitions: 2 })
  broker.decide = (name, body) => (isEach(name) ? appended(body) : { kind: 'answer' })
  await client.publish('t', { partition: 0, value: bytes('warm') })
  broker.decide = (name, body) =>
    isEach(name) ? appended(body) : { kind: name === commands.publish.name ? 'hold' : 'answer' }
  const all = [client.publish('t', { key: 'k', partition: 0, value: bytes('a') })]
  await waitFor('the publish', () => broker.heldCount === 1)
  all.push(
    client.publish('t', { key: 'k', partition: 0, value: bytes('a'), id: '1' }),
    client.publish('t', { key: 'k', partition: 0, value: bytes('a'), id: '2' }),
  )
  await client.publish('t', { key: 'k', partition: 1, value: bytes('a'), id: 'other' })
  assert.equal(received(broker), [['other']])
  broker.release()
  await Promise.all(all)
  assert.equal(received(broker), [['other'], ['1', '2']])
})

test('a message without an id waits for earlier messages of its key with one', async (context) => {
  const { broker, client, values } = await fakePair(context)
  broker.createTopic('other')
  await client.publish('t', { value: bytes('warm') })
  broker.decide = (name, body) => (isEach(name) ? { ...appended(body), held: true } : { kind: 'answer' })
  const first = client.publish('t', { key: 'k', value: bytes('a'), id: '0' })
  await waitFor('the request', () => broker.heldCount === 1)
  await client.publish('t', { key: 'other', value: bytes('other') })
  const next = client.publish('t', { key: 'k', value: bytes('next') })
  const bulk = client.publishMany('t', [{ key: 'k', value: bytes('bulk') }])
  const controller = new AbortController()
  const stopped = client
    .publish('t', { key: 'k', value: bytes('stopped') }, { signal: controller.signal })
    .catch(codeOf)
  controller.abort()
  assert.is(await stopped, 'AbortError')
  // What they would send is sent by then.
  await client.publish('other', { value: bytes('a') })
  assert.equal(values(), ['warm', 'other'])
  broker.release()
  await Promise.all<unknown>([first, next, bulk])
  assert.equal(values(), ['warm', 'other', 'next', 'bulk'])
})

test('a client that closes fails messages that wait for a message with an id', async (context) => {
  const { broker, client, values } = await fakePair(context)
  await client.publish('t', { value: bytes('warm') })
  broker.decide = (name) => ({ kind: isEach(name) ? 'drop' : 'answer' })
  const first = client.publish('t', { key: 'k', value: bytes('a'), id: '0' }).catch(codeOf)
  const next = client.publish('t', { key: 'k', value: bytes('b') }).catch(codeOf)
  await waitFor('the request', () => received(broker).length === 1)
  await client.close({ timeoutMs: 0 })
  assert.equal(await Promise.all([first, next]), ['CLOSED', 'CLOSED'])
  assert.equal(values(), ['warm'])
})

test('messages with an id stay in order behind one whose schema takes longer', async (context) => {
  const { broker, client } = await fakePair(context)
  broker.decide = (name, body) => (isEach(name) ? appended(body) : { kind: 'answer' })
  let encoded: (() => void) | undefined
  const schema: StandardSchemaV1<string> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate(value) {
        const result = { value: String(value) }
        if (value !== 'slow') return result
        return new Promise((resolve) => {
          encoded = () => resolve(result)
        })
      },
    },
  }
  const slow = defineTopic('t', { value: schema })
  await client.publish('t', { value: bytes('a'), id: 'warm' })
  const all = [
    client.publish(slow, { key: 'k', value: 'slow', id: '0' }),
    client.publish(slow, { key: 'k', value: 'fast', id: '1' }),
    client.publishMany('t', [{ key: 'k', value: bytes('bulk'), id: '2' }]),
  ]
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(received(broker).flat(), ['warm'])
  encoded?.()
  await Promise.all<unknown>(all)
  assert.equal(received(broker).flat(), ['warm', '0', '1', '2'])
})

test.run()
