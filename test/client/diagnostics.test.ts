import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import * as assert from 'uvu/assert'
import { defineTopic, type HandleTrace, type PublishTrace, Reject, string } from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/diagnostics')

const tasks = defineTopic('tasks', { value: string })

async function start(context: TestContext): Promise<Harness> {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  return harness
}

/** What a plain channel gets from now on. */
function listen<Event>({ defer }: TestContext, name: string): Event[] {
  const seen: Event[] = []
  const add = (event: unknown): void => void seen.push(event as Event)
  subscribe(name, add)
  defer(() => unsubscribe(name, add))
  return seen
}

/** The events of a tracing channel from now on: the name of each, and its trace. */
function listenTrace<Trace extends object>(
  { defer }: TestContext,
  name: string,
  onStart: (trace: Trace) => void = () => {},
): [event: string, trace: Trace][] {
  const seen: [string, Trace][] = []
  const add = (event: string) => (trace: object) => void seen.push([event, trace as Trace])
  const subscribers = {
    start: (trace: object) => {
      add('start')(trace)
      onStart(trace as Trace)
    },
    end: add('end'),
    asyncStart: add('asyncStart'),
    asyncEnd: add('asyncEnd'),
    error: add('error'),
  }
  const channel = tracingChannel<unknown, object>(name)
  channel.subscribe(subscribers)
  defer(() => channel.unsubscribe(subscribers))
  return seen
}

test('a publish is traced until it is durable, and a subscriber may add a header', async (context) => {
  const { client, consume } = await start(context).then((harness) => ({
    client: harness.client,
    consume: () => harness.consume('tasks')[Symbol.asyncIterator](),
  }))
  const seen = listenTrace<PublishTrace>(context, 'millrace:publish', (trace) => {
    if (trace.message === undefined) return
    trace.message = { ...trace.message, headers: { ...trace.message.headers, traceparent: 'it' } }
  })
  const input = { value: 'a', headers: { mine: 'kept' } }
  const receipt = await client.publish(tasks, input)
  assert.equal(
    seen.map(([event]) => event),
    ['start', 'end', 'asyncStart', 'asyncEnd'],
  )
  const trace = seen.at(-1)?.[1]
  assert.is(trace?.topic, 'tasks')
  assert.equal(trace?.result, receipt)
  assert.equal(input, { value: 'a', headers: { mine: 'kept' } })
  const { value: message } = await consume().next()
  assert.equal({ ...message?.headers }, { mine: 'kept', traceparent: 'it' })

  seen.length = 0
  const failed = await client.publish('nowhere', { value: Buffer.from('x') }).catch((error: unknown) => error)
  assert.equal(
    seen.map(([event]) => event),
    ['start', 'end', 'error', 'asyncStart', 'asyncEnd'],
  )
  assert.is(seen.at(-1)?.[1].error, failed)

  seen.length = 0
  await client.publishMany(tasks, [{ value: 'b' }, { value: 'c' }])
  assert.equal(seen.at(-1)?.[1].result, { topic: 'tasks', count: 2 })
  assert.is(seen.at(-1)?.[1].message, undefined)
})

interface Received {
  readonly group: string | undefined
  readonly message?: { readonly offset: number }
  readonly batch?: { readonly messages: readonly { readonly offset: number }[] }
}

interface Settled {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly outcome: string
  readonly error?: unknown
}

test('channels report received and committed messages of a consumer, by message or by batch', async (context) => {
  const harness = await start(context)
  const received = listen<Received>(context, 'millrace:receive')
  const settled = listen<Settled>(context, 'millrace:settle')
  await harness.client.publishMany(tasks, [{ value: 'a' }, { value: 'b' }])
  let taken = 0
  for await (const message of harness.consume('tasks', { group: 'g' })) {
    message.ack()
    if (++taken === 2) break
  }
  assert.equal(
    received.map(({ group, message }) => [group, message?.offset]),
    [
      ['g', 0],
      ['g', 1],
    ],
  )
  // When a loop is left its acknowledgements are committed.
  const { group, topic, partition, offset, outcome } = settled.at(-1) as Settled
  assert.equal([group, topic, partition, offset, outcome], ['g', 'tasks', 0, 2, 'commit'])
  received.length = 0
  const handled = listenTrace<HandleTrace>(context, 'millrace:handle')
  const runner = harness.consume('tasks', { group: 'h', until: 'end' })
  await runner.run(() => {})
  assert.equal(
    received.map(({ group, message }) => [group, message?.offset]),
    [
      ['h', 0],
      ['h', 1],
    ],
  )
  const ends = handled.filter(([event]) => event === 'asyncEnd')
  assert.equal(
    ends.map(([, { group, message }]) => [group, message?.offset]),
    [
      ['h', 0],
      ['h', 1],
    ],
  )
  received.length = 0
  for await (const batch of harness.consume('tasks').batches()) {
    assert.is(received.length, 1)
    assert.is(received[0]?.batch, batch)
    assert.is(received[0]?.group, undefined)
    break
  }
})

test('channels report received, handled and settled messages of a worker', async (context) => {
  const { client } = await start(context)
  const received = listen<Received>(context, 'millrace:receive')
  const settled = listen<Settled>(context, 'millrace:settle')
  const handled = listenTrace<HandleTrace>(context, 'millrace:handle')
  await client.publishMany(tasks, [{ value: 'good' }, { value: 'bad' }, { value: 'both' }])
  const bad = new Reject('bad')
  const worker = client.work(
    tasks,
    { group: 'crew', concurrency: 1, onFailed: () => {} },
    async (message) => {
      if (message.value === 'bad') throw bad
      if (message.value === 'both') await client.transaction((tx) => tx.ack(message))
    },
  )
  context.defer(() => worker.close())
  await waitFor('the last to be settled', () => settled.length === 3)
  await waitFor('the last handler to end', () => handled.at(-1)?.[0] === 'asyncEnd')
  assert.equal(
    received.map(({ group, message }) => [group, message?.offset]),
    [
      ['crew', 0],
      ['crew', 1],
      ['crew', 2],
    ],
  )
  assert.equal(
    settled
      .map(({ offset, outcome, error }) => [offset, outcome, error])
      .sort(([a], [b]) => Number(a) - Number(b)),
    [
      [0, 'ack', undefined],
      [1, 'reject', bad],
      [2, 'ack', undefined],
    ],
  )
  const ended = handled
    .filter(([event]) => event === 'asyncEnd')
    .map(([, { message, error }]) => [message?.offset, error])
  assert.equal(ended, [
    [0, undefined],
    [1, bad],
    [2, undefined],
  ])
})

test('a handler of batches is one trace', async (context) => {
  const { client } = await start(context)
  const settled = listen<Settled>(context, 'millrace:settle')
  const handled = listenTrace<HandleTrace>(context, 'millrace:handle')
  await client.publishMany(tasks, [{ value: 'a' }, { value: 'b' }])
  const worker = client.workBatch(tasks, { group: 'crew', messagesMax: 2, waitMs: 600_000 }, () => {})
  context.defer(() => worker.close())
  await waitFor('both to be settled', () => settled.length === 2)
  const ends = handled.filter(([event]) => event === 'asyncEnd')
  assert.equal(
    ends.map(([, { group, message, batch }]) => [group, message, batch?.messages.length]),
    [['crew', undefined, 2]],
  )
})

test('without subscribers no channel does anything', async (context) => {
  const { client } = await start(context)
  const { channels } = await import('../../client/diagnostics.js')
  for (const channel of Object.values(channels)) {
    assert.is(channel.hasSubscribers, false)
    for (const method of ['publish', 'tracePromise'])
      if (method in channel)
        Object.defineProperty(channel, method, {
          configurable: true,
          value: () => assert.unreachable(`${method} was called`),
        })
    context.defer(() => {
      for (const method of ['publish', 'tracePromise']) Reflect.deleteProperty(channel, method)
    })
  }
  let settled = 0
  const options = { group: 'crew', onSettled: () => settled++ }
  const worker = client.work(tasks, options, () => {})
  context.defer(() => worker.close())
  await client.publish(tasks, { value: 'a' })
  await waitFor('it to be settled', () => settled === 1)
})

test.run()
