import * as assert from 'uvu/assert'
import { commands, errorCodeOf } from '../../../protocol/index.js'
import type { RawClient } from '../../helpers/raw_client.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { batchOf, createTopic, testBroker, testClient, valuesOf } from '../harness.js'

const test = suite('broker/later/repeats')

const minuteMs = 60_000
const farMs = Date.now() + 60 * minuteMs

interface Bench {
  readonly client: RawClient
  readonly topicId: number
  /** Publishes one message with its id as its value; returns its status or error. */
  publish(id: string | undefined, repeatedAfterMs?: number, deliverAtMs?: number): Promise<string | undefined>
}

async function start(context: TestContext, dedupeWindowMs: number): Promise<Bench> {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders', { settings: { dedupeWindowMs } })
  return {
    client,
    topicId,
    async publish(id, repeatedAfterMs, deliverAtMs = 0) {
      const batch = batchOf([id ?? 'no id'])
      const request = {
        batches: [[topicId, 0, batch.length] as const],
        messages: [[deliverAtMs, id] as const],
        repeatedAfterMs,
      }
      const { body } = await client.request(commands.publishEach, request, batch)
      const [error, status] = body.results[0] ?? [0]
      return error === 0 ? status : errorCodeOf(error)
    },
  }
}

test('a repeat is appended only while the broker would know the id of the first request', async (context) => {
  const { client, topicId, publish } = await start(context, 5 * minuteMs)
  assert.is(await publish('a'), 'appended')
  assert.is(await publish('a', minuteMs), 'duplicate')
  assert.is(await publish('a', 10 * minuteMs), 'duplicate')
  assert.is(await publish('b', minuteMs), 'appended')
  for (const repeatedAfterMs of [5 * minuteMs - 1_000, 5 * minuteMs, 10 * minuteMs])
    assert.is(await publish('c', repeatedAfterMs), 'OUTCOME_UNKNOWN')
  assert.is(await publish('c'), 'appended')
  assert.equal(await valuesOf(client, topicId), ['a', 'b', 'c'])
})

test('a topic without a memory of ids refuses repeats', async (context) => {
  const { client, topicId, publish } = await start(context, 0)
  for (const id of ['a', undefined]) {
    assert.is(await publish(id), 'appended')
    assert.is(await publish(id), 'appended')
    assert.is(await publish(id, 0), 'OUTCOME_UNKNOWN')
  }
  assert.equal(await valuesOf(client, topicId), ['a', 'a', 'no id', 'no id'])
})

test('a repeat without an id is refused, also if the topic remembers ids', async (context) => {
  const { publish } = await start(context, minuteMs)
  assert.is(await publish(undefined, 0), 'OUTCOME_UNKNOWN')
  assert.is(await publish(undefined, 0, farMs), 'OUTCOME_UNKNOWN')
})

test('the id of a delayed message is known until its due time, whatever the topic remembers', async (context) => {
  const { client, publish } = await start(context, 0)
  assert.is(await publish('a', undefined, farMs), 'delayed')
  assert.is(await publish('a', minuteMs, farMs), 'duplicate')
  // The client's clock says that it is due, the message is still delayed.
  assert.is(await publish('a', minuteMs, 1), 'duplicate')
  assert.is(await publish('b', minuteMs, farMs), 'delayed')
  assert.is(await publish('c', minuteMs, 1), 'OUTCOME_UNKNOWN')
  // Without a delay and a memory of ids, equal ids are no duplicates.
  assert.is(await publish('a', minuteMs), 'OUTCOME_UNKNOWN')
  const { body } = await client.request(commands.delayedList, {})
  assert.is(body.count, 2)
})

test('the age of the connection counts, because the repeat may have waited in it', async (context) => {
  const { publish } = await start(context, 2_000)
  let tried = 0
  const isRefused = async (): Promise<boolean> => (await publish(`try ${tried++}`, 0)) === 'OUTCOME_UNKNOWN'
  await waitFor('the connection to be old enough', isRefused)
})

test('the messages of a repeat are refused one by one', async (context) => {
  const { client, topicId, publish } = await start(context, 0)
  assert.is(await publish('known', undefined, farMs), 'delayed')
  const other = await createTopic(client, 'others', { settings: { dedupeWindowMs: 10 * minuteMs } })
  const [forgetful, remembering] = [batchOf(['known', 'new']), batchOf(['new'])]
  const { body } = await client.request(
    commands.publishEach,
    {
      batches: [
        [topicId, 0, forgetful.length],
        [other, 0, remembering.length],
      ],
      messages: [
        [farMs, 'known'],
        [0, 'new'],
        [0, 'new'],
      ],
      repeatedAfterMs: minuteMs,
    },
    Buffer.concat([forgetful, remembering]),
  )
  assert.equal(
    body.results.map(([error, status]) => (error === 0 ? status : errorCodeOf(error))),
    ['duplicate', 'OUTCOME_UNKNOWN', 'appended'],
  )
  assert.match(
    body.results[1]?.[4] ?? '',
    /up to 1 min .* topic "orders" remembers no ids \(dedupeWindowMs\)/,
  )
})

test.run()
