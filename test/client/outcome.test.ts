import * as assert from 'uvu/assert'
import { type ConnectOptions, isMillraceError, MillraceError } from '../../client/index.js'
import { finalErrorOf } from '../../client/outcome.js'
import { commands } from '../../protocol/index.js'
import type { FakeBroker } from '../helpers/fake_broker.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { fakePair } from './fixtures.js'

const test = suite('client/outcome')

/** A client without warnings about its connection. */
async function quietPair(context: TestContext, options: ConnectOptions = {}): ReturnType<typeof fakePair> {
  const pair = await fakePair(context, options)
  pair.client.on('disconnected', () => {}).on('reconnecting', () => {})
  return pair
}

function transactionsOf(broker: FakeBroker): number {
  return broker.requests('transaction').length
}

async function errorOf(promise: Promise<unknown>): Promise<MillraceError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(isMillraceError(error), String(error))
  return error
}

test('an attempt without a reply makes the outcome unknown, also if the last attempt was refused', async (context) => {
  const { broker, client } = await quietPair(context, { requestTimeoutMs: 300 })
  broker.decide = (name) => {
    if (name !== 'transaction') return { kind: 'answer' }
    return transactionsOf(broker) === 1 ? { kind: 'cut' } : { kind: 'refuse', code: 'DRAINING' }
  }
  const error = await errorOf(
    client.transaction((transaction) => transaction.publish('t', { value: Buffer.from('a') })),
  )
  assert.ok(transactionsOf(broker) > 1)
  // The last of the attempts may have been too late for its answer.
  assert.ok(isMillraceError(error, 'CONNECTION_LOST', 'REQUEST_TIMEOUT'), String(error))
})

test('the error names the attempt without a reply and the last refusal', () => {
  const lost = new MillraceError('CONNECTION_LOST', 'the socket ended')
  const last = new MillraceError('STORAGE_FULL', 'the disk is full')
  const error = finalErrorOf(commands.transaction, last, lost, true) as MillraceError
  assert.is(error.code, 'CONNECTION_LOST')
  assert.match(error.message, /the outcome is unknown .*the socket ended.*STORAGE_FULL: the disk is full/)
  assert.is(error.cause, last)
  assert.is(finalErrorOf(commands.topicList, last, lost, true), last)
  const reconnecting = new MillraceError('UNSUPPORTED_VERSION')
  const unsent = finalErrorOf(commands.transaction, reconnecting, lost, false) as MillraceError
  assert.is(unsent.code, 'CONNECTION_LOST', 'the broker answered hello, not the request')
  const malformed = finalErrorOf(commands.transaction, new MillraceError('BAD_FRAME'), lost, true)
  assert.is((malformed as MillraceError).code, 'CONNECTION_LOST')
})

test('an attempt without a reply makes the outcome unknown, also if no broker answers after it', async (context) => {
  const { broker, client } = await quietPair(context, { requestTimeoutMs: 300 })
  broker.decide = (name) => ({ kind: name === 'transaction' ? 'drop' : 'answer' })
  const done = errorOf(
    client.transaction((transaction) => transaction.publish('t', { value: Buffer.from('a') })),
  )
  await waitFor('the transaction', () => transactionsOf(broker) === 1)
  await broker.stop()
  const error = await done
  assert.ok(isMillraceError(error, 'CONNECTION_LOST', 'REQUEST_TIMEOUT'), String(error))
})

test('a request that the broker refused each time keeps its error', () => {
  const last = new MillraceError('STORAGE_FULL', 'the disk is full')
  assert.is(finalErrorOf(commands.transaction, last, undefined, true), last)
  const closed = new MillraceError('CLOSED')
  assert.is(finalErrorOf(commands.transaction, closed, undefined, false), closed)
})

test('a final refusal of the broker also holds for the earlier attempts', async (context) => {
  const { broker, client } = await quietPair(context)
  broker.decide = (name) => {
    if (name !== 'transaction') return { kind: 'answer' }
    return transactionsOf(broker) === 1 ? { kind: 'cut' } : { kind: 'refuse', code: 'LEASE_LOST' }
  }
  const error = await errorOf(
    client.transaction((transaction) => transaction.publish('t', { value: Buffer.from('a') })),
  )
  assert.is(error.code, 'LEASE_LOST')
})

test('closing the client while a request waits for its reply makes the outcome unknown', async (context) => {
  const { broker, client } = await quietPair(context)
  broker.decide = (name) => ({ kind: name === 'metadata' ? 'answer' : 'drop' })
  const transaction = errorOf(
    client.transaction((transaction) => transaction.publish('t', { value: Buffer.from('a') })),
  )
  const creation = errorOf(client.topics.create('other'))
  const list = errorOf(client.topics.list())
  await waitFor('all requests', () => transactionsOf(broker) === 1 && broker.seen.length >= 5)
  await client.close({ timeoutMs: 0 })
  for (const error of [await transaction, await creation]) {
    assert.is(error.code, 'CONNECTION_LOST')
    assert.match(error.message, /closed before the reply arrived; the outcome is unknown/)
    assert.ok(isMillraceError(error.cause, 'CLOSED'))
  }
  assert.is((await list).code, 'CLOSED', 'a read has no outcome')
})

test.run()
