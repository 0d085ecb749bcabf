import * as assert from 'uvu/assert'
import { startBroker } from '../../broker/index.js'
import { ClientEmitter, ConnectionStory } from '../../client/events.js'
import type { Client, ClientEvents } from '../../client/index.js'
import { MillraceError } from '../../protocol/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/events')

type Seen = { [Name in keyof ClientEvents]: readonly [Name, ClientEvents[Name]] }[keyof ClientEvents]

function listen(emitter: { on: Client['on'] } | ClientEmitter): Seen[] {
  const seen: Seen[] = []
  const add = <Name extends keyof ClientEvents>(name: Name): void => {
    const listener = (event: ClientEvents[Name]): void => {
      seen.push([name, event] as unknown as Seen)
    }
    if (emitter instanceof ClientEmitter) emitter.add(name, listener, false)
    else emitter.on(name, listener)
  }
  add('disconnected')
  add('reconnecting')
  add('connected')
  return seen
}

function warnings({ defer }: TestContext): string[] {
  const seen: string[] = []
  const add = ({ name, message }: Error): void => {
    if (name === 'MillraceWarning') seen.push(message)
  }
  process.on('warning', add)
  defer(() => process.off('warning', add))
  return seen
}

/** A turn of the event loop: process warnings come a tick late. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('events report a lost connection, each attempt to reconnect, and the new connection', async (context) => {
  const warned = warnings(context)
  const harness = await Harness.start(context)
  const { port } = harness.broker.address
  const address = `127.0.0.1:${port}`
  await harness.createTopic('events', 1)
  const { client } = harness
  const seen = listen(client)
  assert.is(client.isConnected, true)
  await harness.consume('events').start()
  await harness.broker.close()
  await waitFor('three attempts', () => seen.filter(([name]) => name === 'reconnecting').length >= 3)
  assert.is(client.isConnected, false)
  const broker = await startBroker({ engine: 'memory', port, logLevel: 'silent' })
  context.defer(() => broker.close())
  await waitFor('the connection', () => seen.at(-1)?.[0] === 'connected')
  assert.is(client.isConnected, true)
  const attempts: number[] = []
  for (const [at, [name, event]] of seen.entries()) {
    assert.is(event.address, address)
    if (name === 'disconnected') {
      assert.is(at, 0)
      assert.is(event.error.code, 'CONNECTION_LOST')
    } else if (name === 'reconnecting') {
      attempts.push(event.attempt)
      if (event.attempt === 1) assert.is(event.delayMs, 0)
      else assert.ok(event.delayMs > 0 && event.delayMs <= 200)
      assert.is(event.error.code, event.attempt === 1 ? 'CONNECTION_LOST' : 'NOT_CONNECTED')
    } else {
      assert.is(at, seen.length - 1)
      assert.is(event.attempt, attempts.length)
    }
  }
  assert.equal(
    attempts,
    Array.from(attempts, (_, n) => n + 1),
  )
  await client.close({ timeoutMs: 0 })
  await turn()
  assert.is(seen.at(-1)?.[0], 'connected')
  assert.equal(warned, [])
})

test('the loss of a broker without a listener is one warning, whatever was under way', async (context) => {
  const warned = warnings(context)
  const harness = await Harness.start(context)
  await harness.createTopic('events', 1)
  const { client } = harness
  for (const group of ['a', 'b', 'c']) await harness.consume('events', { group }).start()
  const worker = client.work('events', { group: 'crew' }, () => {})
  await worker.ready
  const published = client.publish('nowhere', { value: Buffer.from('x') }).catch((error: unknown) => error)
  await published
  await harness.broker.close()
  await waitFor('the warning', () => warned.length > 0)
  await waitFor('the client to notice', () => !client.isConnected)
  await client.close({ timeoutMs: 0 })
  await turn()
  assert.is(warned.length, 1)
  // The loss of a connection comes first, or the failure of a new one.
  assert.match(
    warned[0] ?? '',
    /"millrace" reconnects when it needs the broker: .*(was lost|no broker answers).*"disconnected"/,
  )
})

test('events are about the client: the loss of one of several sockets is no event', () => {
  const emitter = new ClientEmitter()
  const seen = listen(emitter)
  const story = new ConnectionStory(emitter, 'test')
  const address = { host: 'b', port: 1 }
  const lost = new MillraceError('CONNECTION_LOST')
  const control = {}
  const fetch = {}
  story.opened(control, address)
  story.opened(fetch, address)
  story.lost(fetch, address, lost)
  story.retries(fetch, address, 0, lost, false)
  story.opened(fetch, address)
  assert.equal(
    seen.map(([name]) => name),
    ['connected'],
  )
  story.lost(control, address, lost)
  story.lost(fetch, address, lost)
  for (const delayMs of [0, 10, 20])
    for (const link of [control, fetch]) story.retries(link, address, delayMs, lost, delayMs > 0)
  story.gaveUp(control)
  story.retries(fetch, address, 40, lost, true)
  story.opened(fetch, address)
  story.opened(control, address)
  const told = seen.map(([name, event]) => ('delayMs' in event ? `${event.attempt}/${event.delayMs}` : name))
  assert.equal(told, ['connected', 'disconnected', '1/0', '2/10', '3/20', '4/40', 'connected'])
  assert.is(seen.at(-1)?.[1].address, 'b:1')
})

test('a client whose new connections fail is disconnected, although an idle socket seems to live', () => {
  const emitter = new ClientEmitter()
  const seen = listen(emitter)
  const story = new ConnectionStory(emitter, 'test')
  const address = { host: 'b', port: 1 }
  story.opened({}, address)
  story.retries({}, address, 10, new MillraceError('NOT_CONNECTED'), true)
  assert.equal(
    seen.map(([name]) => name),
    ['connected', 'disconnected', 'reconnecting'],
  )
})

test('once listens once, off ends it, and an event that does not exist is refused with the nearest name', async (context) => {
  const { client } = await Harness.start(context)
  assert.throws(() => client.on('conected' as 'connected', () => {}), /no event "conected".*connected/)
  const emitter = new ClientEmitter()
  const seen: number[] = []
  const often = ({ attempt }: { attempt: number }): void => void seen.push(attempt)
  emitter.add('connected', ({ attempt }) => void seen.push(attempt + 100), true)
  emitter.add('connected', often, false)
  for (const attempt of [1, 2, 3]) {
    if (attempt === 3) emitter.remove('connected', often)
    emitter.emit('connected', { address: 'b:1', attempt })
  }
  assert.equal(seen, [101, 1, 2])
})

test.run()
