import * as assert from 'uvu/assert'
import { type Client, connect, defineTopic, Reject, string } from '../../client/index.js'
import { type SpawnedProcess, spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/queue_crash')

const rounds = 20
const workers = 4
const attemptsMax = 50
const settledPerRound = 300
const tasks = defineTopic('tasks', { value: string })
const results = defineTopic('results', { value: string })

async function serve(
  context: TestContext,
  data: string,
  port: number,
): Promise<{ broker: SpawnedProcess; port: number }> {
  const broker = spawnMillrace(context, ['serve', '--data', data, '--port', String(port)])
  const [, found] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
  return { broker, port: Number(found) }
}

/** What is known of the messages: which were published, and how the broker said that their deliveries ended. */
class Ledger {
  readonly published = new Set<string>()
  readonly acked = new Set<string>()
  readonly rejected = new Set<string>()
  readonly attempts = new Map<string, number>()
  readonly wrong: string[] = []

  get settled(): number {
    return this.acked.size + this.rejected.size
  }

  delivered(value: string, attempt: number): void {
    if (this.acked.has(value))
      this.wrong.push(`${value} was delivered after its acknowledgement was confirmed`)
    if (this.rejected.has(value)) this.wrong.push(`${value} was delivered after it was a dead letter`)
    const before = this.attempts.get(value) ?? 0
    if (attempt < before) this.wrong.push(`${value} had ${before} attempts, then ${attempt}`)
    if (attempt > attemptsMax) this.wrong.push(`${value} has attempt ${attempt}`)
    this.attempts.set(value, attempt)
  }
}

function startWorker(client: Client, ledger: Ledger): void {
  client.work(
    tasks,
    {
      group: 'crew',
      concurrency: 20,
      leaseMs: 2_000,
      settings: { attemptsMax, retry: { kind: 'fixed', delay: 5 } },
      onSettled: ({ valueBytes }, outcome) => {
        const value = Buffer.from(valueBytes ?? []).toString()
        if (outcome === 'ack') ledger.acked.add(value)
        if (outcome === 'reject') ledger.rejected.add(value)
      },
    },
    async (message) => {
      const { value, attempt } = message
      ledger.delivered(value, attempt)
      const number = Number(value)
      if (number % 13 === 0) throw new Reject('of no use')
      if (number % 7 === 0 && attempt < 3) throw new Error('not yet')
      if (number % 5 !== 0) return
      await client.transaction((transaction) => {
        transaction.publish(results, { key: value, value })
        transaction.ack(message)
      })
      ledger.acked.add(value)
    },
  )
}

async function publishUntil(client: Client, ledger: Ledger, stop: AbortSignal): Promise<void> {
  for (let next = 0; !stop.aborted; ) {
    const values = Array.from({ length: 20 }, () => String(next++))
    await client.publishMany(
      tasks,
      values.map((value) => ({ key: value, value })),
    )
    for (const value of values) ledger.published.add(value)
    await waitFor('the workers to keep up', () => next - ledger.settled < 2_000 || stop.aborted, {
      deadlineMs: 60_000,
    })
  }
}

test(
  `after ${rounds} kills under load every message is done or a dead letter, and none comes after its confirmed end`,
  async (context) => {
    const random = context.random()
    const data = await context.tempDir()
    let { broker, port } = await serve(context, data, 0)
    const newClient = async (): Promise<Client> => {
      const client = await connect({ servers: `127.0.0.1:${port}`, reconnect: { initialMs: 10, maxMs: 50 } })
      context.defer(() => client.close({ timeoutMs: 0 }))
      return client
    }
    const client = await newClient()
    for (const topic of ['tasks', 'results']) await client.topics.create(topic, { partitions: 3 })
    const ledger = new Ledger()
    for (let n = 0; n < workers; n++) startWorker(await newClient(), ledger)
    const stop = new AbortController()
    const publishing = publishUntil(client, ledger, stop.signal)
    publishing.catch(() => {})
    for (let round = 0; round < rounds; round++) {
      const goal = ledger.settled + random.int(1, settledPerRound)
      await waitFor('messages to be settled', () => ledger.settled >= goal, { deadlineMs: 30_000 })
      broker.kill('SIGKILL')
      await broker.exited
      ;({ broker, port } = await serve(context, data, port))
    }
    stop.abort()
    await publishing
    const isDone = async (): Promise<boolean> => {
      const { partitions } = await client.queues.describe('crew')
      return partitions.every((one) => one.waiting + one.inFlight + one.delayed === 0)
    }
    await waitFor('everything to be done', isDone, { deadlineMs: 30_000 }).catch(async (error: unknown) => {
      throw new Error(JSON.stringify(await client.queues.describe('crew')), { cause: error })
    })
    assert.equal(ledger.wrong, [])
    const dead = new Map<string, string>()
    const letters = client.consume(defineTopic('crew.dead-letters', { value: string }), {
      from: 'earliest',
      until: 'end',
    })
    for await (const { value, headers } of letters) {
      assert.not(dead.has(value), `${value} became a dead letter twice`)
      dead.set(value, Buffer.from(headers['millrace-dead-reason'] ?? []).toString())
    }
    const made = new Set<string>()
    for await (const { value } of client.consume(results, { from: 'earliest', until: 'end' })) {
      assert.not(made.has(value), `the transaction of ${value} was committed twice`)
      made.add(value)
    }
    for (const value of ledger.published) {
      const number = Number(value)
      assert.is(dead.has(value), number % 13 === 0, `${value} among the dead letters`)
      if (dead.has(value)) assert.is(dead.get(value), 'rejected')
      else assert.is(made.has(value), number % 5 === 0, `${value} among the results`)
      assert.not(dead.has(value) && ledger.acked.has(value), `${value} is acknowledged and dead`)
    }
    for (const value of ledger.rejected) assert.ok(dead.has(value))
    assert.is(ledger.attempts.size, ledger.published.size)
  },
  { deadlineMs: 150_000 },
)

test.run()
