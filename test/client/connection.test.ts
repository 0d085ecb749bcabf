import { getEventListeners } from 'node:events'
import { createServer } from 'node:net'
import * as assert from 'uvu/assert'
import { parseAddress } from '../../client/address.js'
import { Connection } from '../../client/connection.js'
import { connect } from '../../client/index.js'
import { Link } from '../../client/link.js'
import { commands } from '../../protocol/index.js'
import { FakeBroker } from '../helpers/fake_broker.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { codeOf, outcome, quickClient } from './fixtures.js'

const test = suite('client/connection')

const options = {
  clientName: 'test',
  connectTimeoutMs: 1_000,
  requestTimeoutMs: 5_000,
  reconnect: { initialMs: 5, maxMs: 40 },
}

async function open(
  context: TestContext,
  broker: FakeBroker,
  changed: Partial<typeof options> = {},
): Promise<Connection> {
  const connection = await Connection.open(parseAddress(broker.address), { ...options, ...changed })
  context.defer(() => connection.close())
  return connection
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
  } catch (error) {
    return String(error)
  }
  throw new Error('it did not fail')
}

/** A port on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

test('sends no more requests at a time than the broker accepts', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.limits.inFlightRequestsMax = 2
  const connection = await open(context, broker)
  broker.decide = () => ({ kind: 'hold' })
  const timedOut = outcome(connection.request(commands.ping, {}, { timeoutMs: 100 }))
  const abort = new AbortController()
  const rest = Array.from({ length: 4 }, () => connection.request(commands.ping, {}))
  const aborted = outcome(connection.request(commands.ping, {}, { signal: abort.signal }))
  const unsent = outcome(connection.request(commands.ping, {}, { timeoutMs: 100 }))
  assert.is(await timedOut, 'REQUEST_TIMEOUT')
  assert.is(await unsent, 'REQUEST_TIMEOUT')
  assert.is(broker.requests('ping').length, 2, 'also when nobody waits for a reply any more')
  abort.abort()
  assert.is(await aborted, 'AbortError')
  broker.decide = () => ({ kind: 'answer' })
  broker.release()
  await Promise.all(rest)
  assert.is(broker.requests('ping').length, 5, 'what was not sent in time is not sent at all')
})

test('writes nothing while the broker does not read, and drops requests that timed out', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker)
  broker.pause()
  const payload = [Buffer.alloc(4 * 1024 * 1024)]
  const body = { batches: [[1, 0, 4 * 1024 * 1024] as const] }
  const sent = Array.from({ length: 12 }, () =>
    outcome(connection.request(commands.publish, body, { payload, timeoutMs: 100 })),
  )
  assert.equal(new Set(await Promise.all(sent)), new Set(['REQUEST_TIMEOUT']))
  broker.resume()
  await connection.request(commands.ping, {})
  const arrived = broker.requests('publish').length
  assert.ok(arrived > 0 && arrived < 6, `${arrived} of 12 were written`)
})

test('a reply that comes after its timeout is ignored', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker)
  broker.decide = () => ({ kind: 'hold' })
  assert.is(await outcome(connection.request(commands.ping, {}, { timeoutMs: 60 })), 'REQUEST_TIMEOUT')
  broker.decide = () => ({ kind: 'answer' })
  broker.release()
  assert.equal((await connection.request(commands.ping, {})).body, {})
})

test('a reply of another form is an error of its request only', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker)
  broker.decide = () => ({ kind: 'say', body: { producerId: 'seven' } })
  const text = await messageOf(connection.request(commands.producerInit, {}))
  assert.match(text, /answered "producer.init" with a malformed reply: producerId: expected a whole number/)
  broker.decide = () => ({ kind: 'answer' })
  await connection.request(commands.ping, {})
})

test('a request that is larger than the limit of the broker is not sent', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.limits.frameBytesMax = 10_000
  const connection = await open(context, broker)
  const payload = [Buffer.alloc(10_000)]
  const sent = connection.request(commands.publish, { batches: [[1, 0, 10_000]] }, { payload })
  assert.match(await messageOf(sent), /the broker accepts at most 10 kB/)
  await connection.request(commands.ping, {})
})

test('a lost connection fails all waiting requests, and later ones too', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker)
  broker.decide = () => ({ kind: 'drop' })
  const sent = [connection.request(commands.ping, {}), connection.request(commands.ping, {})].map(outcome)
  await waitFor('the requests', () => broker.requests('ping').length === 2)
  broker.cut()
  assert.equal(await Promise.all(sent), ['CONNECTION_LOST', 'CONNECTION_LOST'])
  assert.is(await outcome(connection.request(commands.ping, {})), 'CONNECTION_LOST')
  assert.is(connection.pending, 0)
})

test('signals keep no listeners of requests that have ended', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker)
  const { signal } = new AbortController()
  for (let n = 0; n < 20; n++) await connection.request(commands.ping, {}, { signal })
  broker.decide = () => ({ kind: 'refuse', code: 'OVERLOADED' })
  await outcome(connection.request(commands.ping, {}, { signal }))
  assert.is(getEventListeners(signal, 'abort').length, 0)
})

test('a client keeps no listeners on signals that outlive its calls', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  const { signal } = new AbortController()
  const client = await connect({ servers: broker.address, signal })
  await client.publish('t', { value: Buffer.from('a') }, { signal })
  await client.publishMany('t', [{ value: Buffer.from('b') }], { signal })
  assert.is(getEventListeners(signal, 'abort').length, 1, 'that of the client itself')
  await client.close()
  assert.is(getEventListeners(signal, 'abort').length, 0)
})

test('names every address that was tried, and why it failed', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.hello = { kind: 'cut' }
  const dead = `127.0.0.1:${await deadPort()}`
  const text = await messageOf(connect([dead, broker.address]))
  assert.match(text, `${dead}: connect ECONNREFUSED`)
  assert.match(text, `${broker.address} was lost`)
})

test('connecting to a broker that does not answer hello times out', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.hello = { kind: 'drop' }
  const connecting = connect({ servers: broker.address, connectTimeoutMs: 100 })
  assert.is(codeOf(await connecting.catch((error: unknown) => error)), 'NOT_CONNECTED')
  await waitFor('the socket to be closed', () => broker.openSockets === 0)
})

test('a broker of another version is not tried again', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.hello = { kind: 'refuse', code: 'UNSUPPORTED_VERSION' }
  assert.is(await outcome(connect(broker.address)), 'UNSUPPORTED_VERSION')
})

test('uses the next address when one does not answer', async (context) => {
  const first = await FakeBroker.start(context)
  const second = await FakeBroker.start(context)
  for (const broker of [first, second]) broker.createTopic('t')
  const dead = `127.0.0.1:${await deadPort()}`
  const client = await quickClient(context, [dead, first.address, second.address])
  await client.publish('t', { value: Buffer.from('a') })
  assert.is(first.topics.get('t')?.partitions[0]?.values.length, 1)
  await first.stop()
  await client.publish('t', { value: Buffer.from('b') })
  assert.is(second.topics.get('t')?.partitions[0]?.values.length, 1)
})

test('a broker that stops responding counts as lost, and the client uses the next address', async (context) => {
  const first = await FakeBroker.start(context)
  const second = await FakeBroker.start(context)
  for (const broker of [first, second]) broker.createTopic('t')
  const client = await quickClient(context, [first.address, second.address], { requestTimeoutMs: 150 })
  await client.publish('t', { value: Buffer.from('a') })
  first.pause()
  await client.publish('t', { value: Buffer.from('b') })
  assert.equal(second.topics.get('t')?.partitions[0]?.values, ['b'])
})

test('a broker that delays one reply but sends others does not count as lost', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker, { requestTimeoutMs: 200 })
  broker.decide = (name) => ({ kind: name === 'ping' ? 'drop' : 'answer' })
  const unanswered = outcome(connection.request(commands.ping, {}))
  let over = false
  void unanswered.then(() => (over = true))
  while (!over) await connection.request(commands.metadata, {})
  assert.is(await unanswered, 'REQUEST_TIMEOUT')
  await connection.request(commands.metadata, {})
})

test('a broker may send nothing for as long as a request waits', async (context) => {
  const broker = await FakeBroker.start(context)
  const connection = await open(context, broker, { requestTimeoutMs: 100 })
  broker.decide = () => ({ kind: 'hold' })
  const patient = connection.request(commands.ping, {}, { timeoutMs: 5_000 })
  assert.is(await outcome(connection.request(commands.ping, {})), 'REQUEST_TIMEOUT')
  assert.is(await outcome(connection.request(commands.ping, {})), 'REQUEST_TIMEOUT')
  broker.release()
  assert.equal((await patient).body, {})
})

test('connecting can be aborted', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.hello = { kind: 'drop' }
  const abort = new AbortController()
  const connecting = outcome(connect({ servers: broker.address, signal: abort.signal }))
  await waitFor('hello', () => broker.seen.length === 1)
  abort.abort()
  assert.is(await connecting, 'AbortError')
  await waitFor('the socket to be closed', () => broker.openSockets === 0)
})

test('a request with a short timeout does not end the attempts of others', async (context) => {
  const broker = await FakeBroker.start(context)
  const { port } = broker
  await broker.stop()
  const link = new Link([parseAddress(`127.0.0.1:${port}`)], options)
  context.defer(() => link.close())
  const short = outcome(link.request(commands.ping, {}, { timeoutMs: 50 }))
  const long = link.request(commands.ping, {}, { timeoutMs: 5_000 })
  assert.is(await short, 'NOT_CONNECTED')
  await broker.listen(port)
  assert.equal((await long).body, {})
})

test('each connection names its client and lane in hello, under a number that grows', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  const [client, other] = [
    await quickClient(context, broker.address),
    await quickClient(context, broker.address),
  ]
  client.on('disconnected', () => {})
  await client.publish('t', { value: Buffer.from('a') })
  broker.cut()
  await client.publish('t', { value: Buffer.from('b') })
  await other.close()
  const connections = broker
    .requests('hello')
    .map(({ body }) => commands.hello.request.read(body, '').connection)
  const [first, second] = connections
  assert.not.equal(first?.client, second?.client)
  const ofClient = connections.filter((connection) => connection?.client === first?.client)
  const numbers = (lane: string) =>
    ofClient.filter((connection) => connection?.lane === lane).map((connection) => connection?.number)
  assert.is(numbers('control')[0], 1)
  const published = numbers('publish') as number[]
  assert.ok(published.length >= 2)
  assert.equal(
    published,
    published.toSorted((a, b) => a - b),
  )
  assert.is(new Set(published).size, published.length)
})

test('a closed link fails waiting requests', async (context) => {
  const link = new Link([parseAddress(`127.0.0.1:${await deadPort()}`)], options)
  const waiting = outcome(link.request(commands.ping, {}))
  await new Promise((resolve) => setImmediate(resolve))
  link.close()
  assert.is(await waiting, 'CLOSED')
  assert.is(await outcome(link.request(commands.ping, {})), 'CLOSED')
  context.signal.throwIfAborted()
})

test('aborting the signal of a client closes it', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  const abort = new AbortController()
  const client = await connect({ servers: broker.address, signal: abort.signal })
  broker.decide = (name) => ({ kind: name === 'publish' ? 'drop' : 'answer' })
  const sent = outcome(client.publish('t', { value: Buffer.from('a') }))
  await waitFor('the request', () => broker.requests('publish').length === 1)
  abort.abort()
  assert.is(await sent, 'CLOSED')
  await waitFor('the sockets to be closed', () => broker.openSockets === 0)
})

test('closing lets messages finish, and a second call may end the wait', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  const client = await connect(broker.address)
  const sent = client.publish('t', { value: Buffer.from('a') })
  await client.close()
  assert.is((await sent).offset, 0)

  const other = await connect(broker.address)
  broker.decide = (name) => ({ kind: name === 'publish' ? 'drop' : 'answer' })
  const lost = outcome(other.publish('t', { value: Buffer.from('b') }))
  const closing = other.close()
  assert.is(await outcome(other.publish('t', { value: Buffer.from('c') })), 'CLOSED')
  await other.close({ timeoutMs: 0 })
  assert.is(await lost, 'CLOSED')
  await closing
})

test.run()
