import * as assert from 'uvu/assert'
import { type Client, connect, defineTopic, string } from '../../client/index.js'
import { BrokerProcess } from '../faults/trial/broker_process.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/later_crash')

const rounds = 12
const delayMsMax = 400
const armedPerRound = 400
const jobs = defineTopic('jobs', { value: string })
const ticks = defineTopic('ticks', { value: string })

/** Schedules messages with short delays, a window at a time, and records the earliest time of each. */
async function armUntil(
  client: Client,
  random: { int(min: number, max: number): number },
  armed: Map<string, number>,
  stop: AbortSignal,
): Promise<void> {
  for (let next = 0; !stop.aborted; ) {
    const messages = Array.from({ length: 50 }, () => {
      const value = String(next++)
      return { value, id: `id-${value}`, deliverAt: Date.now() + random.int(0, delayMsMax) }
    })
    await client.publishMany(jobs, messages)
    for (const { value, deliverAt } of messages) armed.set(value, deliverAt)
  }
}

test(
  `after ${rounds} kills around their due times delayed messages and schedules came once each`,
  async (context) => {
    const random = context.random()
    const dir = await context.tempDir()
    let broker = await BrokerProcess.start(context, { dir })
    const client = await connect({ servers: broker.server, reconnect: { initialMs: 10, maxMs: 50 } })
    context.defer(() => client.close({ timeoutMs: 0 }))
    for (const topic of ['jobs', 'ticks']) await client.topics.create(topic, { partitions: 2 })
    const message = { key: 'k', value: 'tick' }
    await client.schedules.set('each-second', { topic: ticks, message, cron: '* * * * * *', missed: 'all' })
    const stop = new AbortController()
    const armed = new Map<string, number>()
    const arming = armUntil(client, random, armed, stop.signal)
    arming.catch(() => {})
    for (let round = 0; round < rounds; round++) {
      const goal = armed.size + random.int(1, armedPerRound)
      await waitFor('messages to be armed', () => armed.size >= goal, { deadlineMs: 20_000 })
      await broker.kill()
      broker = await BrokerProcess.start(context, { dir, port: broker.port })
    }
    stop.abort()
    await arming
    await client.schedules.delete('each-second')
    await waitFor('all to have come', async () => (await client.delayed.count('jobs')).count === 0, {
      deadlineMs: 20_000,
    })
    const seen = new Map<string, number>()
    for await (const { value, timestamp } of client.consume(jobs, { from: 'earliest', until: 'end' })) {
      assert.not(seen.has(value), `${value} came twice`)
      seen.set(value, timestamp)
    }
    for (const value of armed.keys()) assert.ok(seen.has(value), `${value} was confirmed and did not come`)
    assert.is(seen.size, armed.size)
    const times: number[] = []
    for await (const { timestamp } of client.consume(ticks, { from: 'earliest', until: 'end' }))
      times.push(timestamp)
    times.sort((a, b) => a - b)
    for (const [at, timeMs] of times.entries())
      assert.is(timeMs, (times[0] as number) + at * 1_000, 'each second once')
    assert.ok(times.length > 0)
  },
  { deadlineMs: 120_000 },
)

test.run()
