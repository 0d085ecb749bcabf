import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import {
  defineTopic,
  isMillraceError,
  Reject,
  RetryAfter,
  string,
  type WorkOptions,
} from '../../client/index.js'
import { LeaseHost } from '../../client/worker/lease_host.js'
import { LeaseKeeper } from '../../client/worker/lease_keeper.js'
import { monotonicMs } from '../../client/worker/loop_watch.js'
import { workerReports } from '../../client/worker/reports.js'
import { commands, MillraceError } from '../../protocol/index.js'
import { spawnProcess } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/worker_reports')

const tasks = defineTopic('tasks', { value: string })
const settings = { attemptsMax: 3, retry: { kind: 'fixed', delay: 0 } } as const
const options: WorkOptions = { group: 'crew', settings }

const linkOptions = {
  clientName: 'test',
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 5_000,
  reconnect: { initialMs: 20, maxMs: 200 },
}

async function start(context: TestContext, values: readonly string[]): Promise<Harness> {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks')
  await harness.client.publishMany(
    tasks,
    values.map((value) => ({ value })),
  )
  return harness
}

/** The process warnings of Millrace from now on. */
function warnings({ defer }: TestContext): Error[] {
  const seen: Error[] = []
  const add = (warning: Error): void => {
    if (warning.name === 'MillraceWarning') seen.push(warning)
  }
  process.on('warning', add)
  defer(() => process.off('warning', add))
  return seen
}

async function endsWith(ended: Promise<void>): Promise<void> {
  const error = await ended.catch((reason: unknown) => reason)
  assert.match((error as Error).message, /no topic "nowhere"/)
}

test('onFailed gets each error with its attempt, and onSettled gets it again', async (context) => {
  const { client } = await start(context, ['a'])
  const boom = [new Error('first'), new RetryAfter(0, 'second'), new Reject('third')]
  const failed: unknown[] = []
  const settled: unknown[] = []
  const worker = client.work(
    tasks,
    {
      ...options,
      onFailed: ({ offset }, error, attempt) => failed.push([offset, error, attempt]),
      onSettled: (_, outcome, error) => settled.push([outcome, error]),
    },
    ({ attempt }) => {
      throw boom[attempt - 1]
    },
  )
  context.defer(() => worker.close())
  await waitFor('the dead letter', () => settled.length === 3)
  assert.equal(failed, [
    [0, boom[0], 1],
    [0, boom[1], 2],
    [0, boom[2], 3],
  ])
  assert.equal(settled, [
    ['fail', boom[0]],
    ['fail', boom[1]],
    ['reject', boom[2]],
  ])
  // The very objects, not copies.
  assert.is((settled[2] as unknown[])[1], boom[2])
})

test('errors of one turn with the same text each reach the message that they belong to', async (context) => {
  const { client } = await start(context, ['a', 'b', 'c'])
  const thrown = new Map<number, Error>()
  const settled = new Map<number, unknown>()
  const worker = client.work(
    tasks,
    { ...options, onFailed: () => {}, onSettled: ({ offset }, _, error) => settled.set(offset, error) },
    ({ offset }) => {
      const error = new Reject('the same text')
      thrown.set(offset, error)
      throw error
    },
  )
  context.defer(() => worker.close())
  await waitFor('all of them', () => settled.size === 3)
  for (const [offset, error] of thrown) assert.is(settled.get(offset), error)
})

test('a handler that throws warns once for each kind of error, with the message that it failed for', async (context) => {
  const seen = warnings(context)
  const { client } = await start(context, ['a', 'b', 'c', 'd'])
  let settled = 0
  const worker = client.work(tasks, { ...options, onSettled: () => settled++ }, ({ value }) => {
    if (value === 'd') throw new TypeError('wrong')
    throw new Error(`no ${value}`)
  })
  context.defer(() => worker.close())
  await waitFor('all attempts', () => settled === 12)
  assert.is(seen.length, 2)
  assert.match(
    seen[0]?.message ?? '',
    /queue group "crew": a handler failed \(attempt 1, topic "tasks", partition 0, offset 0\): Error: no a\..*onFailed/,
  )
  assert.match(seen[1]?.message ?? '', /offset 3\): TypeError: wrong/)
  assert.match((seen[0] as Error & { detail?: string }).detail ?? '', /worker_reports\.test/)
})

test('a handler that exceeds its time is reported to onFailed', async (context) => {
  const { client } = await start(context, ['a'])
  const failed: unknown[] = []
  const worker = client.work(
    tasks,
    { ...options, timeoutMs: 50, closeTimeoutMs: 0, onFailed: (_, error) => failed.push(error) },
    () => new Promise(() => {}),
  )
  context.defer(() => worker.close())
  await waitFor('the report', () => failed.length > 0)
  assert.ok(isMillraceError(failed[0], 'REQUEST_TIMEOUT'))
})

test('a worker on an unknown topic ends the program that handles no rejection, with the error on stderr', async (context) => {
  const { broker } = await Harness.start(context)
  const path = fileURLToPath(new URL('unknown_topic_worker.js', import.meta.url))
  const child = spawnProcess(context, process.execPath, [path, `127.0.0.1:${broker.address.port}`])
  const { code } = await child.exited
  assert.is(code, 1)
  assert.match(child.output.stderr, /no topic "nowhere"/)
})

test('the end of a worker is reported in one place only', async (context) => {
  const { client } = await Harness.start(context)
  // An unhandled rejection would fail the test.
  const byReady = client.work('nowhere', { group: 'crew' }, () => {})
  await endsWith(byReady.ready)
  const byClosed = client.work('nowhere', { group: 'crew' }, () => {})
  await endsWith(byClosed.closed)
  const errors: unknown[] = []
  client.work('nowhere', { group: 'crew', onError: (error) => errors.push(error) }, () => {})
  await waitFor('the error', () => errors.length === 1)
  assert.ok(isMillraceError(errors[0], 'UNKNOWN_TOPIC'))
})

for (const [what, threadUrl] of [
  ['is missing', () => new URL('./missing_thread.js', import.meta.url)],
  ['cannot be named', () => new URL('./missing_thread.js')],
] as const) {
  test(`the main thread extends leases when the file of the lease thread ${what}, and says so once`, async (context) => {
    const { broker, cluster } = await start(context, ['a'])
    const group = 'crew'
    const workerId = 'one'
    const open = { group, workerId, topics: ['tasks'], settings: undefined, again: false, concurrency: 1 }
    await cluster.call(commands.queueOpen, { ...open, start: 'earliest' })
    const leaseMs = 1_000
    const lease = { group, workerId, messagesMax: 1, bytesMax: 1_000, waitMs: 0, leaseMs }
    const { grantId } = await cluster.call(commands.queueLease, lease)
    const errors: unknown[] = []
    let extended = 0
    const addresses = [{ host: '127.0.0.1', port: broker.address.port }]
    const keeper = new LeaseKeeper(
      { addresses, options: linkOptions, group, workerId, leaseMs, blockedMsMax: 60_000 },
      (lost) => assert.unreachable(`lost ${lost}`),
      () => extended++,
      (error) => errors.push(error),
      new LeaseHost(threadUrl),
    )
    context.defer(() => keeper.close())
    keeper.add(grantId, monotonicMs())
    // The second extension is after the first has shown that the broker knows the lease.
    await waitFor('two extensions', () => extended >= 2)
    assert.ok(keeper.holds(grantId))
    assert.is(errors.length, 1)
    assert.ok(isMillraceError(errors[0], 'LEASE_THREAD_FAILED'))
    assert.match((errors[0] as Error).message, /bundler/)
  })
}

test('a broker that shuts down is no warning of a worker: the client warns of the lost connection', async (context) => {
  const warned = warnings(context)
  const { onError } = workerReports({ group: 'crew', onError: undefined, onFailed: undefined })
  for (const code of ['DRAINING', 'CONNECTION_LOST', 'NOT_CONNECTED'] as const)
    onError(new MillraceError(code))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(warned, [])
  onError(new MillraceError('STORAGE_FAILED'))
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(warned.length, 1)
})

test.run()
