import { setTimeout as pause } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { defineTopic, string } from '../../../client/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { startForgetfulRelay } from '../../helpers/forgetful_relay.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/lost_replies')

const group = 'crew'
const tasks = defineTopic('tasks', { value: string })

for (const restarts of [false, true])
  test(
    `living workers are charged no attempt that they did not make, while replies are lost and connections cut${restarts ? ' and the broker restarts' : ''}`,
    async (context) => {
      const random = context.random()
      const dir = await context.tempDir()
      const harness = await Harness.start(context, { engine: 'level', dir })
      const topicId = await harness.createTopic('tasks', 2)
      const attempts = new Map<string, number[]>()
      const relays = [
        await startForgetfulRelay(context, harness.broker.address.port),
        await startForgetfulRelay(context, harness.broker.address.port),
      ]
      const workers = []
      for (const relay of relays) {
        const client = await harness.newClient(relay.port)
        const worker = client.work(
          tasks,
          { group, settings: { attemptsMax: 1 }, leaseMs: 10_000, concurrency: 3, onError: () => {} },
          async ({ value, attempt }) => {
            attempts.set(value, [...(attempts.get(value) ?? []), attempt])
            await pause(random.int(0, 20))
          },
        )
        workers.push(worker)
      }
      await Promise.all(workers.map((worker) => worker.ready))
      let published = 0
      for (let step = 0; step < 40; step++) {
        const values = Array.from({ length: random.int(1, 6) }, () => String(published++))
        const relay = random.pick(relays)
        const letGo = random.chance(0.3) ? relay.holdReplies() : undefined
        if (letGo === undefined && random.chance(0.6)) relay.loseReplies()
        await harness.publish(topicId, random.int(0, 1), values)
        await pause(random.int(0, 150))
        if (random.chance(0.2)) letGo?.()
        relay.cut()
        if (restarts && random.chance(0.15)) await harness.restartBroker(dir)
      }
      await waitFor(
        'all to be done',
        async () => {
          const { partitions } = await harness.client.queues.describe(group)
          return partitions.reduce((sum, { doneOffset }) => sum + doneOffset, 0) === published
        },
        { deadlineMs: 30_000 },
      )
      assert.is((await harness.client.queues.describe(group)).dead, 0)
      for (const made of attempts.values()) assert.ok(made.every((attempt) => attempt === 1))
      assert.is(attempts.size, published)
      await Promise.all(workers.map((worker) => worker.close()))
    },
    { deadlineMs: 60_000 },
  )

test.run()
