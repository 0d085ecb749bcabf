import * as assert from 'uvu/assert'
import { type Client, defineTopic, isMillraceError, string } from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/close')

const tasks = defineTopic('tasks', { value: string })
const results = defineTopic('results', { value: string })

interface Gate {
  readonly opened: Promise<void>
  readonly open: () => void
}

function gate(): Gate {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** A client of its own, and another that sees what becomes of it. */
async function start(context: TestContext): Promise<{ client: Client; observer: Client }> {
  const harness = await Harness.start(context)
  for (const topic of ['tasks', 'results']) await harness.createTopic(topic)
  await harness.client.publish(tasks, { value: 'one' })
  return { client: await harness.newClient(), observer: harness.client }
}

async function resultsOf(client: Client): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of client.consume(results, { from: 'earliest', until: 'end' }))
    values.push(value)
  return values
}

test('a handler of a worker may publish while the client closes', async (context) => {
  const { client, observer } = await start(context)
  const { opened, open } = gate()
  let started = false
  const outcomes: string[] = []
  client.work(
    tasks,
    { group: 'g', onSettled: (_message, outcome) => void outcomes.push(outcome) },
    async () => {
      started = true
      await opened
      await client.publish(results, { value: 'published' })
      await client.transaction((tx) => tx.publish(results, { value: 'in a transaction' }))
    },
  )
  await waitFor('the handler', () => started)
  const closed = client.close()
  open()
  await closed
  assert.equal(outcomes, ['ack'])
  assert.equal(await resultsOf(observer), ['published', 'in a transaction'])
})

test('a handler of a consumer may publish while the client closes', async (context) => {
  const { client, observer } = await start(context)
  const { opened, open } = gate()
  let started = false
  const done = client.consume(tasks, { group: 'g', from: 'earliest' }).run(async ({ value }) => {
    started = true
    await opened
    await client.publish(results, { value })
  })
  await waitFor('the handler', () => started)
  const closed = client.close()
  open()
  await Promise.all([closed, done])
  assert.equal(await resultsOf(observer), ['one'])
  const [partition] = (await observer.groups.describe('g')).partitions
  assert.is(partition?.committedOffset, 1)
})

test('a client that closes takes no new workers and consumers, and afterwards no messages', async (context) => {
  const { client } = await start(context)
  const { opened, open } = gate()
  let started = false
  client.work(tasks, { group: 'g' }, () => {
    started = true
    return opened
  })
  await waitFor('the handler', () => started)
  const closed = client.close()
  const isClosed = (error: unknown): boolean => isMillraceError(error, 'CLOSED')
  assert.throws(() => client.work(tasks, { group: 'h' }, () => {}), isClosed)
  assert.throws(() => client.consume(tasks), isClosed)
  open()
  await closed
  for (const late of [
    client.publish(results, { value: 'late' }),
    client.publishMany(results, [{ value: 'late' }]),
    client.transaction(() => {}),
  ])
    assert.ok(
      isClosed(
        await late.then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    )
})

test.run()
