import * as assert from 'uvu/assert'
import { LeaseHost } from '../../client/worker/lease_host.js'
import { LeaseKeeper } from '../../client/worker/lease_keeper.js'
import { monotonicMs } from '../../client/worker/loop_watch.js'
import { commands } from '../../protocol/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/lease_host')

const threadUrl = new URL('../../client/worker/lease_thread.js', import.meta.url)
const leaseMs = 1_000

interface Kept {
  readonly keeper: LeaseKeeper
  readonly grantId: number
  readonly errors: unknown[]
  extended: number
}

/** A lease of a message of a topic of its own, kept through this host. */
async function keepOne(context: TestContext, harness: Harness, host: LeaseHost, name: string): Promise<Kept> {
  const { broker, client, cluster } = harness
  await harness.createTopic(name)
  await client.publish(name, { value: Buffer.from('x') })
  const worker = { group: name, workerId: `worker of ${name}` }
  const open = {
    topics: [name],
    settings: undefined,
    again: false,
    start: 'earliest',
    concurrency: 1,
  } as const
  await cluster.call(commands.queueOpen, { ...worker, ...open })
  const lease = { messagesMax: 1, bytesMax: 1_000, waitMs: 0, leaseMs }
  const { grantId } = await cluster.call(commands.queueLease, { ...worker, ...lease })
  const options = {
    clientName: 'test',
    connectTimeoutMs: 5_000,
    requestTimeoutMs: 5_000,
    reconnect: { initialMs: 20, maxMs: 200 },
  }
  const addresses = [{ host: '127.0.0.1', port: broker.address.port }]
  const errors: unknown[] = []
  const keeper = new LeaseKeeper(
    { addresses, options, ...worker, leaseMs, blockedMsMax: 60_000 },
    (lost) => errors.push(`lost ${lost}`),
    () => kept.extended++,
    (error) => errors.push(error),
    host,
  )
  const kept: Kept = { keeper, grantId, errors, extended: 0 }
  context.defer(() => keeper.close())
  await keeper.started
  keeper.add(grantId, monotonicMs())
  return kept
}

test('one thread with one connection extends the leases of all workers, and ends with the last worker', async (context) => {
  const harness = await Harness.start(context)
  let threads = 0
  const host = new LeaseHost(() => {
    threads++
    return threadUrl
  })
  const connections = async (): Promise<number> => (await harness.client.status()).connections
  const kept: Kept[] = []
  for (const name of ['a', 'b', 'c']) kept.push(await keepOne(context, harness, host, name))
  await waitFor('all to be extended twice', () => kept.every(({ extended }) => extended >= 2))
  assert.is(threads, 1)
  const before = await connections()
  for (const { keeper, grantId, errors } of kept) {
    assert.ok(keeper.holds(grantId))
    assert.equal(errors, [])
  }
  const [first, ...others] = kept as [Kept, ...Kept[]]
  await first.keeper.close()
  const counts = others.map(({ extended }) => extended)
  await waitFor('the others to be extended again', () =>
    others.every(({ extended }, n) => extended > (counts[n] ?? 0)),
  )
  assert.is(await connections(), before)
  for (const { keeper } of others) await keeper.close()
  await waitFor('the one connection to end', async () => (await connections()) === before - 1)
  const again = await keepOne(context, harness, host, 'd')
  await waitFor('an extension by another thread', () => again.extended >= 1)
  assert.is(threads, 2)
})

test('a thread that crashes is restarted and extends the current leases, and the worker gets the error', async (context) => {
  const harness = await Harness.start(context)
  const crashing = `import { parentPort } from 'node:worker_threads'
    parentPort.postMessage({ started: true })
    parentPort.on('message', ({ message }) => { if (message !== undefined) throw new Error('crashed') })`
  let threads = 0
  const host = new LeaseHost(() =>
    threads++ === 0 ? new URL(`data:text/javascript,${encodeURIComponent(crashing)}`) : threadUrl,
  )
  const kept = await keepOne(context, harness, host, 'a')
  await waitFor('the crash', () => kept.errors.length >= 1)
  assert.match(String(kept.errors[0]), /crashed/)
  await waitFor('an extension', () => kept.extended >= 1)
  assert.is(threads, 2)
})

test('closing resolves although the thread has crashed', async (context) => {
  const harness = await Harness.start(context)
  const crashing = `import { parentPort } from 'node:worker_threads'
    parentPort.postMessage({ started: true })
    parentPort.on('message', ({ close }) => { if (close) throw new Error('crashed') })`
  const host = new LeaseHost(() => new URL(`data:text/javascript,${encodeURIComponent(crashing)}`))
  const kept = await keepOne(context, harness, host, 'a')
  await kept.keeper.close()
})

test.run()
