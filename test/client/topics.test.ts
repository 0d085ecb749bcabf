import * as assert from 'uvu/assert'
import {
  type Client,
  DecodeError,
  defineTopic,
  isMillraceError,
  json,
  type MessageInput,
  string,
} from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/topics')

const users = defineTopic('users', { value: json<{ name: string }>(), tombstones: true })
const strictUsers = defineTopic('users', { value: json<{ name: string }>() })

async function start(context: TestContext, ...names: string[]): Promise<Client> {
  const harness = await Harness.start(context)
  for (const name of names) await harness.createTopic(name, 1)
  return harness.client
}

async function errorOf(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.instance(error, Error)
  return error as Error
}

/** A message that a program in JavaScript may give. */
function unchecked(message: object): MessageInput<never, string> {
  return message as MessageInput<never, string>
}

const all = { from: 'earliest', until: 'end' } as const

test('one consumer reads each of several topics with its own codec', async (context) => {
  const client = await start(context, 'users', 'notes', 'raw')
  await client.publish(users, { value: { name: 'ann' } })
  await client.publish(defineTopic('notes', { value: string }), { value: 'a note' })
  await client.publish('raw', { value: Uint8Array.of(7) })
  const seen: string[] = []
  const notes = defineTopic('notes', { value: string })
  for await (const message of client.consume([users, notes, 'raw'], all)) {
    if (message.topic === 'users') seen.push(`user ${message.value?.name}`)
    else if (message.topic === 'notes') seen.push(`note ${message.value.toUpperCase()}`)
    else seen.push(`bytes ${message.value?.[0]}`)
  }
  assert.equal(seen.sort(), ['bytes 7', 'note A NOTE', 'user ann'])
})

test('a topic with tombstones accepts and returns null; one without refuses both', async (context) => {
  const client = await start(context, 'users')
  const refused = await errorOf(client.publish(strictUsers, unchecked({ key: 'ann', value: null })))
  assert.ok(isMillraceError(refused, 'ENCODE_FAILED'))
  assert.match(refused.message, 'topic "users" has no tombstones: define it with "tombstones: true"')
  await client.publish(users, { key: 'ann', value: null })
  const values: unknown[] = []
  for await (const { value } of client.consume(users, all)) values.push(value)
  assert.equal(values, [null])
  const read = async (): Promise<void> => {
    for await (const { value } of client.consume(strictUsers, all)) values.push(value)
  }
  const error = await errorOf(read())
  assert.instance(error, DecodeError)
  assert.match(error.message, 'the message has no value; define its topic with "tombstones: true"')
  for await (const { value } of client.consume('users', all)) values.push(value)
  assert.equal(values, [null, null])
})

test('a worker gets no null from a topic without tombstones', async (context) => {
  const client = await start(context, 'users')
  await client.publish(users, { key: 'ann', value: null })
  const errors: unknown[] = []
  const worker = client.work(['users'], { group: 'g' }, (message) => {
    try {
      return message.value
    } catch (error) {
      errors.push(error)
      assert.is(message.valueBytes, undefined)
    }
  })
  await waitFor('the message', () => errors.length === 1)
  assert.instance(errors[0], DecodeError)
  await worker.close()
})

test('a bare topic name accepts and returns bytes, and refuses other values with a hint', async (context) => {
  const client = await start(context, 'raw')
  for (const value of [{ item: 'lamp' }, 'text', 5, ['x']]) {
    const error = await errorOf(client.publish('raw', unchecked({ value })))
    assert.ok(isMillraceError(error, 'ENCODE_FAILED'))
    const type = Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`
    assert.match(error.message, `expected a Uint8Array, got ${type}`)
    assert.match(error.message, "defineTopic('name', { value: json() })")
  }
  await client.publish('raw', {
    value: Buffer.from('bytes'),
    headers: { a: 'text', b: Uint8Array.of(0xc3, 0xbc) },
  })
  for await (const { value, headers, headerBytes } of client.consume('raw', all)) {
    assert.is(Buffer.from(value ?? []).toString(), 'bytes')
    assert.equal({ ...headers }, { a: 'text', b: 'ü' })
    assert.equal([...(headerBytes.b ?? [])], [0xc3, 0xbc])
  }
})

test('headers of a message that has none are empty, for consumers and workers', async (context) => {
  const client = await start(context, 'raw')
  await client.publish('raw', { value: Buffer.of(1) })
  await client.publish('raw', { value: Buffer.of(2), headers: { a: 'b' } })
  const seen: unknown[] = []
  for await (const { headers, headerBytes } of client.consume('raw', all))
    seen.push({ ...headers }, Object.keys(headerBytes))
  const worker = client.work('raw', { group: 'g', concurrency: 1 }, ({ headers, headerBytes }) => {
    seen.push({ ...headers }, Object.keys(headerBytes))
  })
  await waitFor('both messages', () => seen.length === 8)
  assert.equal(seen.slice(0, 4), [{}, [], { a: 'b' }, ['a']])
  assert.equal(seen.slice(4), seen.slice(0, 4))
  await worker.close()
})

test.run()
