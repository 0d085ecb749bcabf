import * as assert from 'uvu/assert'
import { type Command, commands, type MillraceError } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { UnreadableEngines } from '../harness.js'

const test = suite('broker/queues/standstill')

const group = 'crew'
const deadTopic = `${group}.dead-letters`

/** A worker that speaks the protocol itself and asks only when a test says so. */
class RawWorker {
  readonly #raw: RawClient
  readonly #workerId: string

  private constructor(raw: RawClient, workerId: string) {
    this.#raw = raw
    this.#workerId = workerId
  }

  static async open(
    context: TestContext,
    { broker }: Harness,
    workerId = 'w',
    settings = {},
  ): Promise<RawWorker> {
    const raw = await connectHello(broker.address)
    context.defer(() => raw.destroy())
    const worker = new RawWorker(raw, workerId)
    await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], settings, concurrency: 1 })
    return worker
  }

  async lease(messagesMax: number, waitMs = 5_000) {
    const request = {
      group,
      workerId: this.#workerId,
      messagesMax,
      bytesMax: 1e6,
      waitMs,
      leaseMs: 3_600_000,
    }
    return (await this.#raw.request(commands.queueLease, request)).body
  }

  async settle(
    { grantId, batches }: Awaited<ReturnType<RawWorker['lease']>>,
    outcome: Outcome,
    delayMs?: number,
  ) {
    const entries = batches.map(([topicId, partition, , offsets]) => ({
      topicId,
      partition,
      grantId,
      outcome,
      offsets,
      ...(delayMs === undefined ? {} : { delayMs }),
    }))
    return (await this.#raw.request(commands.queueSettle, { group, entries })).body
  }

  /** Reads no replies any more. */
  stopReading(): void {
    this.#raw.socket.pause()
  }

  destroy(): void {
    this.#raw.destroy()
  }
}

type Outcome = 'ack' | 'fail' | 'reject' | 'release'

async function withMessages(harness: Harness, count: number): Promise<number> {
  const topicId = await harness.createTopic('tasks')
  await harness.publish(
    topicId,
    0,
    Array.from({ length: count }, (_, i) => String(i)),
  )
  return topicId
}

/** Fills the cache of what was written last with other messages. */
async function fillCache(harness: Harness): Promise<void> {
  const topicId = await harness.createTopic('filler')
  for (let i = 0; i < 40; i++) await harness.publish(topicId, 0, ['x'.repeat(50_000)])
}

async function describe({ cluster }: Harness) {
  return await cluster.control(commands.queueDescribe, { group })
}

/** The reasons, one a line; there are some while messages wait. */
async function reasonsOf(harness: Harness): Promise<string> {
  const { partitions, reasons } = await describe(harness)
  const waiting = partitions.reduce((sum, { waiting, delayed }) => sum + waiting + delayed, 0)
  assert.ok(waiting === 0 || reasons.length > 0, 'messages wait without a reason')
  return reasons.join('\n')
}

async function untilReason(harness: Harness, pattern: RegExp): Promise<void> {
  await waitFor(`the reason ${pattern}`, async () => pattern.test(await reasonsOf(harness)))
}

test('a group that is paused', async (context) => {
  const harness = await Harness.start(context)
  await withMessages(harness, 3)
  const worker = await RawWorker.open(context, harness)
  await harness.cluster.call(commands.queueConfigure, { group, settings: { paused: true } })
  const asked = worker.lease(1, 200)
  assert.match(await reasonsOf(harness), /^the group is paused/)
  await asked
})

test('a group without workers, before and after a restart, and with leases of disconnected workers', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  await withMessages(harness, 3)
  const worker = await RawWorker.open(context, harness)
  await worker.lease(2)
  worker.destroy()
  await untilReason(harness, /no worker is connected/)
  const leased = /disconnected workers hold leases on 2 messages; the first lease ends at 20\d\d-/
  assert.match(await reasonsOf(harness), leased)
  await harness.restartBroker(dir)
  await untilReason(harness, /no worker is connected/)
  const other = await RawWorker.open(context, harness, 'other')
  assert.match(await reasonsOf(harness), leased)
  await other.settle(await other.lease(1), 'ack')
  assert.match(await reasonsOf(harness), leased, 'also when nothing else waits')
})

test('workers that are busy, or request nothing', async (context) => {
  const harness = await Harness.start(context)
  await withMessages(harness, 3)
  const worker = await RawWorker.open(context, harness)
  await untilReason(harness, /^every worker has its maximum number of messages: 0 are in flight/)
  await worker.lease(1)
  await untilReason(harness, /^every worker has its maximum number of messages: 1 are in flight, 2 are ready/)
})

test('messages that wait for a retry, also after a restart', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  await withMessages(harness, 2)
  const worker = await RawWorker.open(context, harness)
  await worker.settle(await worker.lease(2), 'fail', 3_600_000)
  const reason = /2 messages wait for their next attempt, the first at 20\d\d-/
  assert.match(await reasonsOf(harness), reason)
  await harness.restartBroker(dir)
  await untilReason(harness, reason)
})

test('messages that wait behind one with the same key', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['0', '0', '0'])
  const worker = await RawWorker.open(context, harness, 'w', { order: 'key' })
  const head = await worker.lease(3)
  const asked = worker.lease(3)
  await untilReason(
    harness,
    /2 messages of topic "tasks" wait behind a message with the same key, offset 0 .* is leased, attempt 1/,
  )
  await worker.settle(head, 'fail', 300)
  await untilReason(harness, /wait behind a message with the same key, offset 0 .* is delayed, attempt 2/)
  assert.is((await asked).batches.length, 1)
})

test('a topic that is deleted, and created again', async (context) => {
  const harness = await Harness.start(context)
  await withMessages(harness, 2)
  const worker = await RawWorker.open(context, harness)
  await worker.lease(1)
  await harness.cluster.call(commands.topicDelete, { topic: 'tasks' })
  assert.match(await reasonsOf(harness), /the group read topic "tasks", which was deleted/)
  await withMessages(harness, 2)
  assert.match(await reasonsOf(harness), /topic "tasks" was deleted and created again, and no worker reads/)
  const next = await RawWorker.open(context, harness, 'next')
  await next.settle(await next.lease(2), 'ack')
  assert.is(await reasonsOf(harness), '')
})

test("a dead-letter topic that can't be created", async (context) => {
  const harness = await Harness.start(context, { partitionsPerBrokerMax: 1 })
  await withMessages(harness, 2)
  const worker = await RawWorker.open(context, harness, 'w', { ttlMs: 1 })
  const asked = worker.lease(1, 1_000)
  await untilReason(harness, /can't write dead letters and tries again: .*partition/)
  await asked
})

test('a disk that has too little space for dead letters', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  await withMessages(harness, 2)
  await RawWorker.open(context, harness, 'w', { attemptsMax: 1 })
  await harness.broker.close()
  const next = await Harness.start(context, { engine: 'level', dir, diskFreeBytesMin: 2 ** 52 })
  const worker = await RawWorker.open(context, next)
  const error = await worker.settle(await worker.lease(1), 'fail').catch((reason: unknown) => reason)
  assert.is((error as MillraceError).code, 'STORAGE_FULL')
  assert.match(await reasonsOf(next), /can't write dead letters and tries again: .*\n(.*\n)*.*(disk|space)/)
})

test('a worker that sends requests and does not read the replies', async (context) => {
  const harness = await Harness.start(context, { connectionOutboundBytesMax: 2 ** 20 })
  const topicId = await harness.createTopic('tasks')
  const worker = await RawWorker.open(context, harness)
  const asked = Array.from({ length: 40 }, () => worker.lease(4, 60_000).catch(() => undefined))
  await waitFor('the requests', async () => (await describe(harness)).workers[0]?.asking === true)
  worker.stopReading()
  for (let i = 0; i < 80; i++) await harness.publish(topicId, 0, ['x'.repeat(256 * 1024)])
  await untilReason(harness, /the send buffers of their connections are full/)
  worker.destroy()
  await Promise.all(asked)
})

test('unreadable messages are a reason, and the group continues when it can read them', async (context) => {
  const engines = new UnreadableEngines()
  const harness = await Harness.start(context, { engine: 'memory', engines, tailCacheBytes: 2 ** 20 })
  await withMessages(harness, 2)
  await fillCache(harness)
  engines.unreadable = true
  const worker = await RawWorker.open(context, harness)
  const asked = worker.lease(2).catch((error: unknown) => error)
  await untilReason(harness, /the broker can't read messages and tries again: /)
  engines.unreadable = false
  await asked
  await worker.settle(await worker.lease(2, 500), 'ack')
})

test("messages that can't be loaded after a failure are loaded later", async (context) => {
  const engines = new UnreadableEngines()
  const harness = await Harness.start(context, { engine: 'memory', engines, tailCacheBytes: 2 ** 20 })
  await withMessages(harness, 2)
  const first = await RawWorker.open(context, harness)
  await first.settle(await first.lease(2), 'fail', 0)
  first.destroy()
  await untilReason(harness, /no worker is connected/)
  await fillCache(harness)
  engines.unreadable = true
  const refused = await RawWorker.open(context, harness, 'second').catch((error: unknown) => error)
  if (!(refused instanceof RawWorker)) {
    await untilReason(harness, /the broker can't load its messages and tries again: /)
    engines.unreadable = false
    await waitFor('the messages', async () => !/take up/.test(await reasonsOf(harness)))
  }
})

/** One step of the walk; what the broker refuses in the state that it has is part of the walk. */
async function refusable<Request, Reply>(
  { cluster }: Harness,
  command: Command<Request, Reply>,
  request: Request,
): Promise<void> {
  await cluster.call(command, request).catch((error: MillraceError) => {
    const expected = ['UNKNOWN_TOPIC', 'TOPIC_EXISTS', 'UNKNOWN_GROUP', 'GROUP_ACTIVE']
    assert.ok(expected.includes(error.code), String(error))
  })
}

for (let walk = 0; walk < 4; walk++)
  test(
    `messages never wait without a reason, whatever happens to the group (walk ${walk})`,
    async (context) => {
      const random = context.random()
      const dir = await context.tempDir()
      const harness = await Harness.start(context, { engine: 'level', dir })
      const settings = random.chance(0.5)
        ? { order: 'key', attemptsMax: 2 }
        : { priorities: true, attemptsMax: 2 }
      await withMessages(harness, 5)
      const workers = [await RawWorker.open(context, harness, 'w0', settings)]
      const step = async (): Promise<void> => {
        const worker = workers.length === 0 ? undefined : random.pick(workers)
        switch (random.int(0, 10)) {
          case 0:
          case 1: {
            const { topics } = await harness.cluster.call(commands.metadata, { topics: ['tasks'] })
            const [topic] = topics
            if (topic?.error === 0 && topic.topicId !== undefined)
              await harness.publish(
                topic.topicId,
                0,
                Array.from({ length: random.int(1, 9) }, (_, i) => String(i % 3)),
              )
            return
          }
          case 2:
          case 3:
          case 4: {
            const leased = await worker?.lease(random.int(1, 5), 50).catch(() => undefined)
            const outcome = random.pick(['ack', 'fail', 'reject', 'release'] as const)
            if (leased !== undefined && leased.grantId !== 0 && random.chance(0.7))
              await worker?.settle(leased, outcome, random.pick([0, 200, 3_600_000]))
            return
          }
          case 5: {
            worker?.destroy()
            if (worker !== undefined) workers.splice(workers.indexOf(worker), 1)
            return
          }
          case 6: {
            const opened = await RawWorker.open(context, harness, `w${random.int(0, 3)}`).catch(
              () => undefined,
            )
            if (opened !== undefined) workers.push(opened)
            return
          }
          case 7:
            return refusable(harness, commands.queueConfigure, {
              group,
              settings: { paused: random.chance(0.3) },
            })
          case 8:
            return random.chance(0.5)
              ? refusable(harness, commands.topicDelete, { topic: 'tasks' })
              : refusable(harness, commands.topicCreate, { topic: 'tasks', partitions: random.int(1, 2) })
          case 9:
            return random.chance(0.4)
              ? refusable(harness, commands.topicDelete, { topic: deadTopic })
              : refusable(harness, commands.queueRedrive, { group, offsets: [0, random.int(1, 5)] })
          default:
            if (random.chance(0.3)) await harness.restartBroker(dir)
        }
      }
      for (let steps = 0; steps < 120; steps++) {
        await step()
        await reasonsOf(harness)
      }
    },
    { deadlineMs: 60_000 },
  )

test.run()
