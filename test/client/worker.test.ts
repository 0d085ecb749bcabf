import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import {
  type Client,
  connect,
  defineTopic,
  isMillraceError,
  MillraceError,
  type QueueOptions,
  type QueueSettings,
  Reject,
  RetryAfter,
  string,
  type Worker,
  type WorkMessage,
  type WorkOptions,
} from '../../client/index.js'
import { settingsConflict } from '../../client/worker/settings_report.js'
import { commands } from '../../protocol/index.js'
import { startForgetfulRelay } from '../helpers/forgetful_relay.js'
import { spawnProcess } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/worker')

const tasks = defineTopic('tasks', { value: string })
const busyWorkerPath = fileURLToPath(new URL('busy_worker.js', import.meta.url))
const frozenWorkerPath = fileURLToPath(new URL('frozen_worker.js', import.meta.url))
const quick: QueueOptions = { retry: { kind: 'fixed', delay: 0 } }

type Handler = (message: WorkMessage<string, string>) => unknown

async function start(
  context: TestContext,
  partitions = 1,
): Promise<{ harness: Harness; client: Client; work: Starter }> {
  const harness = await Harness.start(context)
  await harness.createTopic('tasks', partitions)
  return { harness, client: harness.client, work: starter(context, harness.client) }
}

type Starter = (handler: Handler, options?: Partial<WorkOptions>) => Worker<string, string>

function starter(context: TestContext, client: Client): Starter {
  return (handler, options = {}) => {
    const worker = client.work(tasks, { group: 'crew', settings: quick, ...options }, handler)
    context.defer(() => worker.close())
    return worker
  }
}

function publish(client: Client, values: readonly string[], key?: string): Promise<unknown> {
  return client.publishMany(
    tasks,
    values.map((value) => ({ value, key })),
  )
}

async function rejects(promise: Promise<unknown>, expected: RegExp): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.instance(error, MillraceError)
  assert.match((error as Error).message, expected)
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

test('each message is handled once by one of the workers', async (context) => {
  const { client, work } = await start(context, 4)
  await publish(client, numbers(500))
  const handled: string[] = []
  const handler: Handler = ({ value }) => void handled.push(value)
  work(handler)
  work(handler, { concurrency: 3 })
  await waitFor('all messages', () => handled.length >= 500)
  const done = (): Promise<boolean> =>
    client.queues
      .describe('crew')
      .then(({ partitions }) => partitions.every(({ doneOffset, endOffset }) => doneOffset === endOffset))
  await waitFor('all to be done', done)
  assert.equal(
    handled.map(Number).sort((a, b) => a - b),
    numbers(500).map(Number),
  )
})

test('a message that fails comes again, its attempts are counted, and others overtake it', async (context) => {
  const { client, work } = await start(context)
  await publish(client, ['bad', ...numbers(50)])
  const attempts: number[] = []
  const handled: string[] = []
  work(
    ({ value, attempt }) => {
      if (value !== 'bad') return void handled.push(value)
      attempts.push(attempt)
      if (attempt < 4) throw new Error('not yet')
    },
    { settings: { retry: { kind: 'fixed', delay: 20 } } },
  )
  await waitFor('the fourth attempt', () => attempts.length === 4)
  assert.equal(attempts, [1, 2, 3, 4])
  assert.is(handled.length, 50)
})

test('after the last attempt a message is a dead letter with its history, and a redrive delivers it again', async (context) => {
  const { client, work } = await start(context)
  await client.publish(tasks, { key: 'k', value: 'bad', headers: { from: 'test' } })
  let isWell = false
  const handled: WorkMessage<string, string>[] = []
  const { ready } = work(
    (message) => {
      handled.push(message)
      if (!isWell) throw new Error('it is broken')
    },
    { settings: { ...quick, attemptsMax: 3 } },
  )
  await ready
  await waitFor('the dead letter', async () => (await client.queues.describe('crew')).dead === 1)
  assert.is(handled.length, 3)
  const [letter] = await collect(client.queues.deadLetters('crew'))
  const { topic, originOffset, attempts, reason, error } = letter as NonNullable<typeof letter>
  assert.equal([topic, originOffset, attempts, reason, error], ['tasks', 0, 3, 'attempts', 'it is broken'])
  isWell = true
  const progress: number[] = []
  assert.is(await client.queues.redrive('crew', { onProgress: (count) => progress.push(count) }), 1)
  assert.equal(progress, [1])
  await waitFor('the redriven message', () => handled.length === 4)
  const again = handled[3] as WorkMessage<string, string>
  assert.equal(
    [again.topic, again.partition, again.offset, again.key, again.value, again.attempt],
    ['tasks', 0, 0, 'k', 'bad', 1],
  )
  assert.is(again.headerText('from'), 'test')
  assert.is(await client.queues.redrive('crew'), 0)
  assert.is((await client.queues.describe('crew')).dead, 0)
})

test('workers can read a dead-letter topic like any other, with its own offsets', async (context) => {
  const { client, work } = await start(context)
  await publish(client, ['fine', 'bad'])
  const { ready } = work(({ value }) => {
    if (value === 'bad') throw new Reject('of no use')
  })
  await ready
  await waitFor('the dead letter', async () => (await client.queues.describe('crew')).dead === 1)
  const seen: unknown[] = []
  const letters = defineTopic('crew.dead-letters', { value: string })
  const undertaker = client.work(letters, { group: 'undertaker' }, (message) => {
    const { topic, partition, offset, value } = message
    seen.push([topic, partition, offset, value, message.headerText('millrace-dead-offset')])
  })
  context.defer(() => undertaker.close())
  await waitFor('it', () => seen.length === 1)
  assert.equal(seen, [['crew.dead-letters', 0, 0, 'bad', '1']])
})

test('a redrive does not use the clock of the client, and a repeat has the same reply', async (context) => {
  const { harness, client, work } = await start(context)
  await publish(client, numbers(3))
  let rejected = 0
  const handled: string[] = []
  const { ready } = work(({ value }) => {
    if (rejected === 3) return void handled.push(value)
    rejected++
    throw new Reject('not now')
  })
  await ready
  assert.is(await client.queues.redrive('crew'), 0)
  await waitFor('the dead letters', async () => (await client.queues.describe('crew')).dead === 3)
  const { now } = Date
  Date.now = () => now() - 3_600_000
  const redriving = client.queues.redrive('crew', { which: ({ offset }) => offset !== 1 })
  Date.now = now
  assert.is(await redriving, 2)
  const redrive = (offsets: readonly number[]): Promise<{ readonly redriven: number }> =>
    harness.cluster.call(commands.queueRedrive, { group: 'crew', offsets })
  assert.is((await redrive([0, 3])).redriven, 3)
  assert.is((await redrive([0, 3, 7, 1])).redriven, 3)
  await waitFor('them again', () => handled.length === 3)
  assert.equal(handled.sort(), numbers(3))
})

test('a rejected message is a dead letter at once; RetryAfter chooses the delay', async (context) => {
  const { client, work } = await start(context)
  await publish(client, ['never', 'later'])
  const seen: string[] = []
  work(
    ({ value, attempt }) => {
      seen.push(`${value} ${attempt}`)
      if (value === 'never') throw new Reject('of no use')
      if (attempt === 1) throw new RetryAfter(30)
    },
    { settings: { retry: { kind: 'fixed', delay: '1h' } } },
  )
  await waitFor('both', () => seen.includes('later 2'))
  await waitFor('the dead letter', async () => (await client.queues.describe('crew')).dead === 1)
  const [letter] = await collect(client.queues.deadLetters('crew'))
  assert.equal([letter?.reason, letter?.error, letter?.attempts], ['rejected', 'of no use', 1])
  assert.equal(seen.filter((text) => text.startsWith('never')).length, 1)
})

test('with order by key one message of a key is in flight, and a failing key blocks no other', async (context) => {
  const { client, work } = await start(context, 2)
  await client.publishMany(
    tasks,
    numbers(300).map((value, i) => ({ key: `k${i % 10}`, value })),
  )
  const running = new Map<string, number>()
  const byKey = new Map<string, string[]>()
  let failures = 0
  work(
    async ({ key = '', value, attempt }) => {
      assert.is(running.get(key) ?? 0, 0)
      running.set(key, 1)
      await sleep(0)
      running.set(key, 0)
      if (key === 'k3' && attempt < 3) {
        failures++
        throw new Error('again')
      }
      byKey.set(key, [...(byKey.get(key) ?? []), value])
    },
    { concurrency: 50, settings: { order: 'key', retry: { kind: 'fixed', delay: 1 } } },
  )
  await waitFor('all', () => [...byKey.values()].flat().length === 300, { deadlineMs: 10_000 })
  for (const [key, values] of byKey)
    assert.equal(
      values,
      numbers(300).filter((_, i) => `k${i % 10}` === key),
    )
  assert.is(failures, 60)
})

test('a handler that times out has failed, its signal aborts, and its late result does not count', async (context) => {
  const { client, work } = await start(context)
  await publish(client, ['slow'])
  const reasons: unknown[] = []
  const attempts: number[] = []
  const worker = work(
    async (message) => {
      attempts.push(message.attempt)
      if (message.attempt > 1) return
      const { signal } = message
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      reasons.push(signal.reason)
      await sleep(1)
    },
    { timeoutMs: 100 },
  )
  await waitFor('the second attempt', () => attempts.length === 2)
  assert.instance(reasons[0], MillraceError)
  assert.is(worker.stats().timedOut, 1)
  await waitFor('the end', async () => (await client.queues.describe('crew')).partitions[0]?.doneOffset === 1)
  assert.equal(attempts, [1, 2])
})

test('a closed worker returns messages that it has not started, without counting an attempt', async (context) => {
  const { client, work } = await start(context)
  await publish(client, numbers(20))
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const first: string[] = []
  const worker = work(
    async ({ value }) => {
      first.push(value)
      await gate
    },
    { concurrency: 2, prefetch: 10 },
  )
  await waitFor('two to run', () => first.length === 2 && worker.stats().buffered > 0)
  const closed = worker.close()
  release()
  await closed
  const attempts: number[] = []
  const rest: string[] = []
  work(({ value, attempt }) => {
    attempts.push(attempt)
    rest.push(value)
  })
  await waitFor('the rest', () => rest.length === 18)
  assert.ok(attempts.every((attempt) => attempt === 1))
  assert.is(new Set([...first, ...rest]).size, 20)
})

test('messages of a worker that stopped responding go to others after the lease, and count an attempt', async (context) => {
  const { harness, client, work } = await start(context)
  await publish(client, numbers(5))
  const silent = await harness.newClient()
  const held: string[] = []
  silent.work(tasks, { group: 'crew', settings: quick, leaseMs: 1_000 }, ({ value }) => {
    held.push(value)
    return new Promise(() => {})
  })
  await waitFor('the leases', () => held.length === 5)
  await silent.close({ timeoutMs: 0 })
  const attempts: number[] = []
  work(({ attempt }) => void attempts.push(attempt))
  await waitFor('all again', () => attempts.length === 5, { deadlineMs: 10_000 })
  assert.ok(attempts.every((attempt) => attempt <= 2))
})

test('a handler that keeps the event loop busy for longer than its lease keeps it', async (context) => {
  const { harness, client, work } = await start(context)
  await publish(client, ['busy'])
  const server = `127.0.0.1:${harness.broker.address.port}`
  const busy = spawnProcess(context, process.execPath, [busyWorkerPath, server])
  await busy.waitForOutput('stdout', /begun 1/)
  const elsewhere: number[] = []
  work(({ attempt }) => void elsewhere.push(attempt))
  await busy.waitForOutput('stdout', /settled|lost/)
  assert.equal(busy.output.stdout.trim().split('\n'), ['begun 1', 'settled ack'])
  assert.equal(elsewhere, [])
})

test('a lease outlives the connection that extends it, also when that ends without a FIN', async (context) => {
  const { harness, client, work } = await start(context)
  const leaseMs = 2_000
  await publish(client, ['long'])
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const away = await connect({ servers: `127.0.0.1:${relay.port}` })
  context.defer(() => away.close({ timeoutMs: 0 }))
  const attempts: number[] = []
  const handler: Handler = ({ attempt }) => {
    attempts.push(attempt)
    return new Promise(() => {})
  }
  const first = away.work(tasks, { group: 'crew', settings: quick, leaseMs }, handler)
  await waitFor('it to be handled', () => attempts.length === 1)
  work(handler)
  // The thread has extended the lease by then, so its connection exists.
  await sleep(leaseMs / 2)
  relay.forget()
  await sleep(leaseMs * 2)
  assert.equal(attempts, [1])
  assert.is(first.stats().lost, 0)
})

test('a lease lasts until the broker has the outcome of the delivery', async (context) => {
  const { harness, client, work } = await start(context)
  await publish(client, ['job'])
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const away = await connect({ servers: `127.0.0.1:${relay.port}`, requestTimeoutMs: 4_000 })
  context.defer(() => away.close({ timeoutMs: 0 }))
  const attempts: number[] = []
  let finish = (): void => {}
  const settled: string[] = []
  const options: Partial<WorkOptions> = {
    leaseMs: 1_000,
    settings: quick,
    onSettled: (_, outcome) => void settled.push(outcome),
  }
  const first = away.work(tasks, { group: 'crew', ...options }, ({ attempt }) => {
    attempts.push(attempt)
    return new Promise<void>((resolve) => {
      finish = resolve
    })
  })
  await waitFor('it to be handled', () => attempts.length === 1)
  work(({ attempt }) => void attempts.push(attempt))
  // Another acknowledgement has opened the connection that this test cuts below.
  await away.queues.list()
  relay.forget()
  finish()
  await waitFor('the broker to hear of it', () => settled.length === 1, { deadlineMs: 9_000 })
  assert.equal([attempts, settled, first.stats().lost], [[1], ['ack'], 0])
})

test('an acknowledgement whose reply was lost is reported as acknowledged', async (context) => {
  const { harness, client } = await start(context)
  await publish(client, ['job'])
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const away = await connect({ servers: `127.0.0.1:${relay.port}`, requestTimeoutMs: 1_000 })
  context.defer(() => away.close({ timeoutMs: 0 }))
  let finish = (): void => {}
  const settled: string[] = []
  const worker = away.work(
    tasks,
    { group: 'crew', onSettled: (_, outcome) => void settled.push(outcome) },
    () =>
      new Promise<void>((resolve) => {
        finish = resolve
      }),
  )
  await waitFor('it to be handled', () => worker.stats().running === 1)
  await away.queues.list()
  relay.loseReplies()
  finish()
  await waitFor('it to be done', async () => {
    const { partitions } = await client.queues.describe('crew')
    return partitions[0]?.doneOffset === 1
  })
  assert.equal(settled, [])
  await waitFor('the repeat', () => settled.length + worker.stats().lost > 0)
  assert.equal([settled, worker.stats().lost], [['ack'], 0])
})

test('anything that a handler throws is a failure, and its worker continues', async (context) => {
  const { client, work } = await start(context)
  await publish(client, numbers(3))
  const odd = [Object.create(null), Object.assign(new Error(), { message: 42 }), Symbol('odd')]
  const failed: string[] = []
  const worker = work(
    ({ value, attempt }) => {
      if (attempt > 1) return
      failed.push(value)
      throw odd[Number(value)]
    },
    { concurrency: 1 },
  )
  await waitFor('all of them again', () => worker.stats().acked === 3)
  assert.equal(failed, ['0', '1', '2'])
})

test('thousands of failures at once are reported, however long their errors are', async (context) => {
  const { client, work } = await start(context)
  const count = 3_000
  await publish(client, numbers(count))
  let begun = 0
  let end = (): void => {}
  const gate = new Promise<void>((resolve) => {
    end = resolve
  })
  const settled: string[] = []
  work(
    async ({ value, attempt }) => {
      if (attempt > 1) return
      if (++begun === count) end()
      await gate
      throw new Reject(`${value} ${'\u20ac'.repeat(1_000)}`)
    },
    { concurrency: count, prefetch: count, onSettled: (_, outcome) => void settled.push(outcome) },
  )
  await waitFor('all to be told', () => settled.length === count, { deadlineMs: 9_000 })
  assert.ok(settled.every((outcome) => outcome === 'reject'))
})

test('a worker that was suspended does not start messages that others have done', async (context) => {
  const { harness, client, work } = await start(context)
  await publish(client, numbers(10))
  const server = `127.0.0.1:${harness.broker.address.port}`
  const frozen = spawnProcess(context, process.execPath, [frozenWorkerPath, server])
  await frozen.waitForOutput('stdout', /begun 0/)
  frozen.kill('SIGSTOP')
  const confirmed = new Set<string>()
  work(() => {}, {
    onSettled: ({ valueBytes = new Uint8Array(0) }) => void confirmed.add(Buffer.from(valueBytes).toString()),
  })
  await waitFor('another one to do all', () => confirmed.size === 10)
  frozen.stdin.write('go on\n')
  frozen.kill('SIGCONT')
  await frozen.waitForOutput('stdout', /lost/)
  assert.equal(frozen.output.stdout.match(/begun \d+/g), ['begun 0'])
})

test('describe shows why nothing moves', async (context) => {
  const { client, work } = await start(context)
  await publish(client, numbers(3))
  const seen: string[] = []
  const worker = work(({ value }) => void seen.push(value), { settings: { ...quick, paused: true } })
  await worker.ready
  assert.is((await client.queues.list())[0]?.workers, 1)
  const paused = await client.queues.describe('crew')
  assert.equal(paused.reasons, ['the group is paused'])
  assert.is(paused.partitions[0]?.waiting, 3)
  assert.is(seen.length, 0)
  await client.queues.resume('crew')
  await waitFor('the messages', () => seen.length === 3)
  await worker.close()
  await publish(client, ['more'])
  assert.equal((await client.queues.describe('crew')).reasons, ['no worker is connected'])
})

test('changed settings stay when a worker reconnects', async (context) => {
  const { harness, client } = await start(context)
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const away = await connect({ servers: `127.0.0.1:${relay.port}`, reconnect: { initialMs: 5, maxMs: 40 } })
  context.defer(() => away.close({ timeoutMs: 0 }))
  const worker = away.work(tasks, { group: 'crew', settings: { ...quick, attemptsMax: 5 } }, () => {})
  await worker.ready
  await client.queues.configure('crew', { attemptsMax: 20 })
  const addressOf = async (): Promise<string | undefined> =>
    (await client.queues.describe('crew')).workers[0]?.address
  const before = await addressOf()
  relay.cut()
  await waitFor('it to be back', async () => {
    const address = await addressOf()
    return address !== undefined && address !== before
  })
  assert.is((await client.queues.describe('crew')).settings.attemptsMax, 20)
})

test('higher priorities come first, and low ones do not starve', async (context) => {
  const { client, work } = await start(context)
  await client.publishMany(tasks, [
    ...numbers(40).map((value) => ({ value, priority: 1 })),
    ...numbers(40).map((value) => ({ value: `high ${value}`, priority: 9 })),
  ])
  const order: string[] = []
  work(({ value }) => void order.push(value), {
    concurrency: 1,
    prefetch: 1,
    settings: { ...quick, priorities: true },
  })
  await waitFor('all', () => order.length === 80, { deadlineMs: 10_000 })
  const firstHalf = order.slice(0, 40).filter((value) => value.startsWith('high')).length
  assert.ok(firstHalf >= 30 && firstHalf < 40, `${firstHalf} of 40`)
})

test('a message that is too old becomes a dead letter or is dropped', async (context) => {
  const { client, work } = await start(context)
  const old = { timestamp: Date.now() - 60_000 }
  await client.publishMany(tasks, [{ value: 'old', ...old }, { value: 'new' }])
  await client.publish(tasks, { value: 'own', ...old, ttlMs: 1_000, headers: { kept: 'yes' } })
  const seen: string[] = []
  await work(({ value }) => void seen.push(value), { settings: { ...quick, ttl: '30s' } }).ready
  await waitFor('the dead letters', async () => (await client.queues.describe('crew')).dead === 2)
  assert.equal(seen, ['new'])
  const reasons = (await collect(client.queues.deadLetters('crew'))).map(({ reason, attempts }) => [
    reason,
    attempts,
  ])
  assert.equal(reasons, [
    ['expired', 0],
    ['expired', 0],
  ])
  const dropped: string[] = []
  const other = client.work(
    tasks,
    { group: 'dropper', settings: { ttl: '30s', expired: 'drop' } },
    ({ value }) => void dropped.push(value),
  )
  context.defer(() => other.close())
  await waitFor('the new one', () => dropped.length === 1)
  assert.is((await client.queues.describe('dropper')).dead, 0)
})

test('bad options and settings are named', async (context) => {
  const { client, work } = await start(context)
  assert.throws(() => work(() => {}, { concurrency: 0 }), /"concurrency" is 0/)
  assert.throws(() => work(() => {}, { prefetch: 1 }), /"prefetch" is 1/)
  assert.throws(() => work(() => {}, { blockedMsMax: 0 }), /"blockedMsMax" is 0/)
  await rejects(client.publish(tasks, { value: 'x', priority: 10 }), /priority is 10/)
  await rejects(client.publish(tasks, { value: 'x', ttlMs: -1 }), /ttlMs is -1/)
  assert.throws(() => new RetryAfter(367 * 86_400_000), /the delay is 367 days/)
  await rejects(client.queues.describe('crow'), /no queue group "crow"/)
  const unknown = client.work('task', { group: 'crew' }, () => {})
  await rejects(unknown.closed, /no topic "task"/)
})

test('a disconnected worker keeps its leases, and expired ones are reported as lost', async (context) => {
  const { harness, client, work } = await start(context)
  await publish(client, numbers(3))
  let isHeld = 0
  const worker = work(
    () => {
      isHeld++
      return new Promise(() => {})
    },
    { concurrency: 3, closeTimeoutMs: 0 },
  )
  await waitFor('the leases', () => isHeld === 3)
  const extend = (grants: readonly number[]): Promise<{ readonly lost: readonly number[] }> =>
    harness.cluster.call(commands.queueExtend, { group: 'crew', grants })
  assert.equal((await extend([12_345])).lost, [12_345])
  await worker.close()
  const { partitions } = await client.queues.describe('crew')
  assert.is(partitions[0]?.waiting, 3)
  // The group is not in memory; the request brings it back for the moment.
  assert.equal((await extend([12_345])).lost, [12_345])
  const handled: number[] = []
  work(({ attempt }) => void handled.push(attempt))
  await waitFor('all of them', () => handled.length === 3)
  assert.equal(handled, [1, 1, 1])
})

test('aborting the signal closes the worker: running handlers finish, waiting messages are returned', async (context) => {
  const { client, work } = await start(context)
  await publish(client, numbers(4))
  const stop = new AbortController()
  const gate = new AbortController()
  const finished: string[] = []
  const handler: Handler = async ({ value }) => {
    if (!gate.signal.aborted) await once(gate.signal, 'abort')
    finished.push(value)
  }
  const worker = work(handler, { concurrency: 1, prefetch: 4, signal: stop.signal })
  await waitFor('a handler to run', () => worker.stats().running === 1)
  await waitFor('the others to wait', () => worker.stats().buffered === 3)
  stop.abort()
  await waitFor('the others to be given back', () => worker.stats().buffered === 0)
  assert.equal(finished, [])
  gate.abort()
  await worker.closed
  assert.equal(finished, ['0'])
  const rest: Handler = ({ value, attempt }) => void finished.push(`${value}/${attempt}`)
  work(rest)
  await waitFor('the others', () => finished.length === 4)
  assert.equal(finished, ['0', '1/1', '2/1', '3/1'])
})

test('a worker whose signal is aborted before it starts leases nothing', async (context) => {
  const { work } = await start(context)
  const worker = work(() => assert.unreachable(), { signal: AbortSignal.abort() })
  await worker.closed
  assert.is(worker.stats().running, 0)
})

test('settings that differ from those of another worker are reported with both values, once', async (context) => {
  const { work } = await start(context)
  const errors: unknown[] = []
  const onError = (error: unknown): void => void errors.push(error)
  const nothing: Handler = () => {}
  await work(nothing, { settings: { attemptsMax: 3, ttl: '1h' }, onError }).ready
  await work(nothing, { settings: { attemptsMax: 3 }, onError }).ready
  await work(nothing, { settings: {}, onError }).ready
  assert.equal(errors, [])
  await work(nothing, { settings: { attemptsMax: 5, ttl: '1h', expired: 'drop' }, onError }).ready
  const [error] = errors
  assert.ok(isMillraceError(error, 'BAD_CONFIG'))
  assert.is(
    (error as Error).message,
    'this worker changed settings of queue group "crew", which has other workers: ' +
      'attemptsMax from 3 to 5, expired from "dead-letter" to "drop"; give the same settings to all workers',
  )
  assert.is(errors.length, 1)
})

test('a worker that changes settings of a group without other workers reports nothing', async (context) => {
  const { work } = await start(context)
  const errors: unknown[] = []
  const onError = (error: unknown): void => void errors.push(error)
  const first = work(() => {}, { settings: { attemptsMax: 3 } })
  await first.ready
  await first.close()
  await work(() => {}, { settings: { attemptsMax: 5 }, onError }).ready
  assert.equal(errors, [])
})

test('a worker that reconnects reports settings that changed', () => {
  const inForce: QueueSettings = {
    order: 'none',
    attemptsMax: 5,
    retry: { kind: 'fixed', delayMs: 10, maxMs: 10, jitterPercent: 0 },
    ttlMs: 0,
    expired: 'drop',
    priorities: false,
    paused: false,
  }
  const { retry } = inForce
  assert.is(settingsConflict('g', { attemptsMax: 5, retry }, inForce, undefined), undefined)
  const conflict = settingsConflict(
    'g',
    { attemptsMax: 3, retry: { ...retry, delayMs: 5 } },
    inForce,
    undefined,
  )
  assert.match(
    conflict?.message ?? '',
    'queue group "g" has other settings: attemptsMax is 5, this worker gave 3, retry is',
  )
})

test('handlers that throw at once do not pile up on the stack', async (context) => {
  const { client, work } = await start(context)
  const count = 2_000
  await publish(
    client,
    Array.from({ length: count }, (_, n) => String(n)),
  )
  const limit = Error.stackTraceLimit
  context.defer(() => {
    Error.stackTraceLimit = limit
  })
  Error.stackTraceLimit = 500
  let failed = 0
  let depthMax = 0
  const worker = work(
    () => {
      failed++
      const error = new Error('not today')
      depthMax = Math.max(depthMax, error.stack?.split('\n').length ?? 0)
      throw error
    },
    { concurrency: 1_000, onFailed: () => {}, settings: { retry: { kind: 'fixed', delay: '1h' } } },
  )
  await worker.ready
  await waitFor('all to fail', () => failed === count)
  assert.ok(depthMax < 50, `${depthMax} frames`)
})

test.run()
