import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { connect, defineTopic, string } from '../../client/index.js'
import { suspend, suspendUnavailable } from '../faults/machine/suspend.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/frozen_broker')

test(
  'a broker that is suspended for longer than a lease counts no attempt when it resumes',
  async (context) => {
    const missing = await suspendUnavailable()
    if (missing !== undefined) context.skip(missing)
    const args = ['serve', '--data', await context.tempDir(), '--port', '0']
    const broker = spawnMillrace(context, args)
    const [, port] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
    const client = await connect(`127.0.0.1:${port}`)
    context.defer(() => client.close({ timeoutMs: 0 }))
    const jobs = defineTopic('jobs', { value: string })
    await client.topics.create('jobs', { partitions: 1 })
    await client.publish(jobs, { value: 'a' })
    let finish = (): void => {}
    const finished = new Promise<void>((resolve) => {
      finish = resolve
    })
    const attempts: number[] = []
    const outcomes: string[] = []
    client.work(
      jobs,
      {
        group: 'crew',
        leaseMs: 2_000,
        settings: { attemptsMax: 1 },
        onSettled: (_, outcome) => outcomes.push(outcome),
        onError: () => {},
      },
      async ({ attempt }) => {
        attempts.push(attempt)
        await finished
      },
    )
    await waitFor('the handler to begin', () => attempts.length === 1)
    const resume = await suspend(context, broker.pid)
    await sleep(4_000)
    await resume()
    await waitFor('the broker to answer', async () => (await client.queues.describe('crew')) !== undefined)
    finish()
    await waitFor('the end of the message', () => outcomes.length > 0, { deadlineMs: 15_000 })
    assert.equal([attempts, outcomes], [[1], ['ack']])
    assert.is((await client.queues.describe('crew')).dead, 0)
  },
  { deadlineMs: 60_000 },
)

test.run()
