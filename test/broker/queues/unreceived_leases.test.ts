import * as assert from 'uvu/assert'
import { Grants } from '../../../broker/queues/grants.js'
import type { QueueMessage } from '../../../broker/queues/queue_message.js'
import { type Client, defineTopic, string, type Worker, type WorkMessage } from '../../../client/index.js'
import { commands } from '../../../protocol/index.js'
import type { Engine, EngineFactory } from '../../../storage/index.js'
import { MemoryEngine } from '../../../storage/memory_engine.js'
import { Harness } from '../../client/consumer/harness.js'
import { startForgetfulRelay } from '../../helpers/forgetful_relay.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/unreceived_leases')

const group = 'crew'
const tasks = defineTopic('tasks', { value: string })
/** A counted attempt makes a dead letter. */
const settings = { attemptsMax: 1 } as const

interface RawWorker {
  readonly raw: RawClient
  lease(messagesMax?: number, waitMs?: number): Promise<Leased>
  settle(grantId: number, outcome: 'ack' | 'fail', offset?: number): Promise<number>
}

interface Leased {
  readonly grantId: number
  readonly offsets: readonly number[]
  readonly attempts: readonly number[]
}

/** A worker that speaks the wire protocol itself. With `held` it has reconnected. */
async function openRaw(
  context: TestContext,
  { broker }: Harness,
  topicId: number,
  { workerId = 'worker-1', held, order = 'none', leaseMs = 60_000 }: OpenOptions = {},
): Promise<RawWorker> {
  const raw = await connectHello(broker.address)
  context.defer(() => raw.destroy())
  const again = held === undefined ? {} : { again: true, held }
  await raw.request(commands.queueOpen, {
    group,
    workerId,
    topics: ['tasks'],
    settings: { ...settings, order },
    concurrency: 1,
    ...again,
  })
  return {
    raw,
    lease: async (messagesMax = 1, waitMs = 5_000) => {
      const request = { group, workerId, messagesMax, bytesMax: 1e6, waitMs, leaseMs }
      const { grantId, batches } = (await raw.request(commands.queueLease, request)).body
      return {
        grantId,
        offsets: batches.flatMap(([, , , offsets]) => offsets),
        attempts: batches.flatMap(([, , , , attempts]) => attempts),
      }
    },
    settle: async (grantId, outcome, offset = 0) => {
      const entry = { topicId, partition: 0, grantId, outcome, offsets: [offset, 1] }
      return (await raw.request(commands.queueSettle, { group, entries: [entry] })).body.refused.length
    },
  }
}

interface OpenOptions {
  readonly workerId?: string
  readonly held?: readonly number[]
  readonly order?: 'none' | 'key'
  readonly leaseMs?: number
}

async function start(context: TestContext, values: readonly string[], dir?: string) {
  const harness = await Harness.start(context, dir === undefined ? {} : { engine: 'level', dir })
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, values)
  return { harness, topicId }
}

async function inFlight(client: Client): Promise<number> {
  const { partitions } = await client.queues.describe(group)
  return partitions.reduce((sum, partition) => sum + partition.inFlight, 0)
}

test('a worker that comes back and does not name a lease gets the message again, and no attempt counts', async (context) => {
  const { harness, topicId } = await start(context, ['0'])
  const before = await openRaw(context, harness, topicId)
  const lost = await before.lease()
  before.raw.destroy()
  const after = await openRaw(context, harness, topicId, { held: [] })
  const leased = await after.lease()
  assert.equal([leased.offsets, leased.attempts], [[0, 1], []])
  assert.is.not(leased.grantId, lost.grantId)
  assert.is(await after.settle(lost.grantId, 'fail'), 1, 'the old lease settles nothing')
  assert.is(await after.settle(leased.grantId, 'ack'), 0)
  assert.is((await harness.client.queues.describe(group)).dead, 0)
})

test('a lease that its worker has received counts when the worker stops responding', async (context) => {
  const { harness, topicId } = await start(context, ['0'])
  const worker = await openRaw(context, harness, topicId, { leaseMs: 1_000 })
  const { grantId } = await worker.lease()
  await worker.raw.request(commands.queueExtend, { group, grants: [grantId] })
  worker.raw.destroy()
  const isDead = async (): Promise<boolean> => (await harness.client.queues.describe(group)).dead === 1
  await waitFor('the dead letter', isDead, { deadlineMs: 20_000 })
})

test('a lease that the worker names stays, and so does one that it has named before', async (context) => {
  const { harness, topicId } = await start(context, ['0', '1', '2'])
  const before = await openRaw(context, harness, topicId)
  const held = await before.lease()
  const known = await before.lease()
  await before.raw.request(commands.queueExtend, { group, grants: [known.grantId] })
  before.raw.destroy()
  const after = await openRaw(context, harness, topicId, { held: [held.grantId] })
  assert.equal((await after.lease(10)).offsets, [2, 1])
  assert.is(await after.settle(held.grantId, 'ack', 0), 0)
  assert.is(await after.settle(known.grantId, 'ack', 1), 0)
})

test('leases on the current connection of a worker are not released', async (context) => {
  const { harness, topicId } = await start(context, ['0'])
  const worker = await openRaw(context, harness, topicId)
  const { grantId } = await worker.lease()
  const open = { group, workerId: 'worker-1', topics: ['tasks'], concurrency: 1, again: true, held: [] }
  await worker.raw.request(commands.queueOpen, open)
  assert.is(await worker.settle(grantId, 'ack'), 0)
})

test('a lease that is committed after its worker has opened another connection is released', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  for (let round = 0; round < 20; round++) {
    const before = await openRaw(context, harness, topicId, { held: [] })
    const answer = before.lease().catch(() => undefined)
    const [after] = await Promise.all([
      openRaw(context, harness, topicId, { held: [] }),
      harness.publish(topicId, 0, [String(round)]),
    ])
    const leased = await after.lease()
    assert.equal([leased.offsets, leased.attempts], [[round, 1], []])
    assert.is(await after.settle(leased.grantId, 'ack', round), 0)
    before.raw.destroy()
    await answer
    after.raw.destroy()
  }
  assert.is((await harness.client.queues.describe(group)).dead, 0)
})

test('messages of a key stay in order when a lease of theirs is released', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  for (const value of ['a', 'b', 'c']) await harness.client.publish(tasks, { key: 'k', value })
  let worker = await openRaw(context, harness, topicId, { order: 'key' })
  for (const offset of [0, 1, 2]) {
    assert.equal((await worker.lease(10)).offsets, [offset, 1])
    worker.raw.destroy()
    worker = await openRaw(context, harness, topicId, { order: 'key', held: [] })
    const { grantId, offsets, attempts } = await worker.lease(10)
    assert.equal([offsets, attempts], [[offset, 1], []])
    assert.is(await worker.settle(grantId, 'ack', offset), 0)
  }
})

test('a restarted broker knows the workers of its leases', async (context) => {
  const dir = await context.tempDir()
  const { harness, topicId } = await start(context, ['0', '1', '2'], dir)
  const before = await openRaw(context, harness, topicId)
  const held = await before.lease()
  await before.lease()
  const other = await openRaw(context, harness, topicId, { workerId: 'worker-2' })
  await other.lease()
  await harness.restartBroker(dir)
  const after = await openRaw(context, harness, topicId, { held: [held.grantId] })
  const leased = await after.lease(10)
  // The leases of worker-2 stay: the broker does not know yet whether it is alive.
  assert.equal([leased.offsets, leased.attempts], [[1, 1], []])
  assert.is(await after.settle(held.grantId, 'ack', 0), 0)
})

test('a worker that never reconnects is charged the attempt', async (context) => {
  const { harness, topicId } = await start(context, ['0'])
  const dead = await openRaw(context, harness, topicId, { leaseMs: 1_000 })
  await dead.lease()
  dead.raw.destroy()
  await openRaw(context, harness, topicId, { workerId: 'worker-2', held: [] })
  await waitFor('the dead letter', async () => (await harness.client.queues.describe(group)).dead === 1)
})

test('a worker that leaves lists the leases that it has not received', async (context) => {
  const { harness, topicId } = await start(context, ['0'])
  const before = await openRaw(context, harness, topicId)
  await before.lease()
  before.raw.destroy()
  const other = await openRaw(context, harness, topicId, { workerId: 'worker-2' })
  const leave = { group, workerId: 'worker-1', held: [] }
  await other.raw.request(commands.queueLeave, leave)
  const leased = await other.lease()
  assert.equal([leased.offsets, leased.attempts], [[0, 1], []])
})

interface Running {
  readonly worker: Worker<string, string>
  readonly handled: WorkMessage<string, string>[]
}

async function work(context: TestContext, harness: Harness, port: number, leaseMs: number): Promise<Running> {
  const client = await harness.newClient(port)
  const handled: WorkMessage<string, string>[] = []
  const worker = client.work(tasks, { group, settings, leaseMs }, (message) => void handled.push(message))
  context.defer(() => worker.close())
  await worker.ready
  await waitFor('the worker to ask', async () => {
    const { workers } = await harness.client.queues.describe(group)
    return workers.some(({ asking }) => asking)
  })
  return { worker, handled }
}

test('a connection that is cut between grant and receipt costs no attempt', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const { handled } = await work(context, harness, relay.port, 60_000)
  relay.loseReplies()
  await harness.publish(topicId, 0, ['0'])
  await waitFor('the lease', async () => (await inFlight(harness.client)) === 1)
  relay.cut()
  await waitFor('the message', () => handled.length === 1)
  assert.is(handled[0]?.attempt, 1)
  assert.is((await harness.client.queues.describe(group)).dead, 0)
})

test('a restart of the broker between grant and receipt costs no attempt', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  const topicId = await harness.createTopic('tasks')
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const { worker, handled } = await work(context, harness, relay.port, 60_000)
  relay.loseReplies()
  await harness.publish(topicId, 0, ['0'])
  await waitFor('the lease', async () => (await inFlight(harness.client)) === 1)
  await harness.restartBroker(dir)
  relay.cut()
  await waitFor('the message', () => handled.length === 1)
  assert.is(handled[0]?.attempt, 1)
  assert.is((await harness.client.queues.describe(group)).dead, 0)
  await worker.close()
})

test(
  'a worker that comes back to a restarted broker after its lease costs no attempt',
  async (context) => {
    const dir = await context.tempDir()
    const { harness, topicId } = await start(context, ['0'], dir)
    const before = await openRaw(context, harness, topicId, { leaseMs: 1_000 })
    await before.lease()
    await harness.restartBroker(dir)
    const other = await openRaw(context, harness, topicId, { workerId: 'worker-2', leaseMs: 1_000 })
    // The lease of the first worker outlives this request, which is longer than the lease.
    assert.is((await other.lease(1, 2_500)).grantId, 0)
    const again = await openRaw(context, harness, topicId, { leaseMs: 1_000, held: [] })
    const leased = await again.lease(1, 5_000)
    assert.equal([leased.offsets, leased.attempts], [[0, 1], []])
  },
  { deadlineMs: 40_000 },
)

test('a reply that is held back for longer than its lease costs no attempt', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  const relay = await startForgetfulRelay(context, harness.broker.address.port)
  const { worker, handled } = await work(context, harness, relay.port, 4_000)
  const letGo = relay.holdReplies()
  await harness.publish(topicId, 0, ['0'])
  await waitFor('the lease', async () => (await inFlight(harness.client)) === 1)
  await waitFor('its end', async () => (await inFlight(harness.client)) === 0, { deadlineMs: 20_000 })
  assert.is((await harness.client.queues.describe(group)).dead, 0)
  assert.is(handled.length, 0)
  letGo()
  await waitFor('the message', () => handled.length === 1)
  assert.is(handled[0]?.attempt, 1)
  await waitFor('its acknowledgement', async () => (await inFlight(harness.client)) === 0)
  assert.is(worker.stats().acked, 1)
})

test(
  'a reply that is held back on each connection for longer than its lease costs no attempt',
  async (context) => {
    const harness = await Harness.start(context)
    const topicId = await harness.createTopic('tasks')
    const relay = await startForgetfulRelay(context, harness.broker.address.port)
    const { handled } = await work(context, harness, relay.port, 4_000)
    const letGo = relay.holdAllReplies()
    await harness.publish(topicId, 0, ['0'])
    await waitFor('the lease', async () => (await inFlight(harness.client)) === 1)
    await waitFor('its end', async () => (await inFlight(harness.client)) === 0, { deadlineMs: 20_000 })
    assert.is((await harness.client.queues.describe(group)).dead, 0)
    letGo()
    await waitFor('the message', () => handled.length === 1)
    assert.is(handled[0]?.attempt, 1)
  },
  { deadlineMs: 40_000 },
)

test(
  'the second of two restarts does not renew a lease',
  async (context) => {
    const dir = await context.tempDir()
    const { harness, topicId } = await start(context, ['0'], dir)
    const before = await openRaw(context, harness, topicId, { leaseMs: 4_000 })
    await before.lease()
    const startedMs = performance.now()
    let isBack = false
    while (!isBack) {
      // Each run of the broker is shorter than the lease: with a renewal at each start, the lease would never end.
      assert.ok(performance.now() - startedMs < 30_000, 'the lease still lasts')
      await harness.restartBroker(dir)
      const other = await openRaw(context, harness, topicId, { workerId: 'worker-2', leaseMs: 4_000 })
      isBack =
        (await other.lease(1, 1_000)).grantId !== 0 ||
        (await harness.client.queues.describe(group)).dead === 1
    }
  },
  { deadlineMs: 40_000 },
)

test('the end of a renewed lease is kept, and cleared by a worker that names it', async (context) => {
  const dir = await context.tempDir()
  const { harness, topicId } = await start(context, ['0'], dir)
  const before = await openRaw(context, harness, topicId)
  const { grantId } = await before.lease()
  for (let restarts = 0; restarts < 3; restarts++) {
    await harness.restartBroker(dir)
    await openRaw(context, harness, topicId, { held: [grantId] })
  }
  const last = await openRaw(context, harness, topicId, { held: [grantId] })
  assert.is(await last.settle(grantId, 'ack'), 0)
})

/** Engines whose journal holds commits back, and then refuses the next one without writing it. */
class HeldEngines implements EngineFactory {
  #held: Promise<void> | undefined
  #refuses = false
  readonly #engines = { journal: new MemoryEngine(), state: new MemoryEngine() }

  /** Holds commits back until the returned function is called, and refuses the one that follows those. */
  hold(): () => void {
    let letGo = (): void => {}
    this.#held = new Promise((resolve) => {
      letGo = resolve
    })
    return () => {
      this.#held = undefined
      letGo()
    }
  }

  async open(name: 'journal' | 'state'): Promise<Engine> {
    const engine = this.#engines[name]
    if (name === 'state') return engine
    return {
      get: (key) => engine.get(key),
      getMany: (keys) => engine.getMany(keys),
      range: (options) => engine.range(options),
      compact: () => engine.compact(),
      close: () => engine.close(),
      commit: async (ops) => {
        if (this.#held !== undefined) {
          await this.#held
          this.#refuses = true
        } else if (this.#refuses) {
          this.#refuses = false
          throw new Error('the disk is gone')
        }
        await engine.commit(ops)
      },
    }
  }
}

test('a lease whose reply cannot be sent does not count, even if it cannot be released', async (context) => {
  const engines = new HeldEngines()
  const harness = await Harness.start(context, { engine: 'memory', engines })
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['0'])
  const before = await openRaw(context, harness, topicId, { leaseMs: 1_000 })
  await waitFor('the message in line', async () =>
    /1 are ready/.test((await harness.client.queues.describe(group)).reasons.join()),
  )
  const letGo = engines.hold()
  const answer = before.lease().catch(() => undefined)
  await waitFor('the lease', async () => {
    const { reasons } = await harness.client.queues.describe(group)
    return /0 are ready/.test(reasons.join())
  })
  before.raw.destroy()
  await waitFor('the end of the connection', async () => {
    const { workers } = await harness.client.queues.describe(group)
    return workers.length === 0
  })
  letGo()
  await answer
  const other = await openRaw(context, harness, topicId, { workerId: 'worker-2' })
  const leased = await other.lease(1, 5_000)
  assert.equal([leased.offsets, leased.attempts], [[0, 1], []])
  assert.is((await harness.client.queues.describe(group)).dead, 0)
})

test('a lease that ended while the broker was down ends without an attempt', () => {
  const grants = new Grants()
  const open = { attempts: 0, dueAtMs: 0, workerId: 'w' }
  const cases = [
    [30_000, 0, true, 30_000],
    [30_000, 120_000, true, 20_000],
    [30_000, 109_000, false, 9_000],
    [30_000, 90_000, false, 0],
    [30_000, 900_000, true, 30_000],
    // A worker has 10 s to come back, even if its lease is shorter.
    [1_000, 0, true, 10_000],
    [1_000, 105_000, false, 5_000],
  ] as const
  for (const [index, [leaseMs, endsAtMs, isCounted, leftMs]] of cases.entries()) {
    const message = {} as QueueMessage
    const nowMs = performance.now()
    grants.inherit(message, { ...open, leaseMs, grantId: index + 1, endsAtMs }, 100_000)
    assert.is(message.grant?.isCounted, isCounted)
    assert.is(Math.round(((message.grant?.deadlineMs ?? 0) - nowMs) / 1_000) * 1_000, leftMs)
  }
  assert.equal(
    grants.takeRenewed().map(({ id }) => id),
    [1, 6],
  )
})

test.run()
