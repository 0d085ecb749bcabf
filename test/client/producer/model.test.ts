import * as assert from 'uvu/assert'
import { defineTopic, isMillraceError, type Receipt, string } from '../../../client/index.js'
import type { Publisher } from '../../../client/publisher.js'
import type { Compression } from '../../../protocol/index.js'
import type { Deed, FakeBroker } from '../../helpers/fake_broker.js'
import type { Random } from '../../helpers/random.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { fakeProducer, outcome } from '../fixtures.js'

const test = suite('client/producer against a hostile broker')

const topic = defineTopic('t', { value: string })
const partitions = 3
const refusals = ['OVERLOADED', 'STORAGE_FULL', 'STORAGE_FAILED', 'DRAINING', 'NOT_OWNER'] as const

/** A broker that mistreats publish requests in all ways until `calm`. */
function torment(broker: FakeBroker, random: Random, isCalm: () => boolean): void {
  const kinds = [
    'drop',
    'mute',
    'cut',
    'cutReply',
    'hold',
    'refuse',
    'refuseBatches',
    'answer',
    'answer',
    'answer',
  ]
  broker.decide = (name): Deed => {
    if (random.chance(0.3))
      setImmediate(() => broker.release(random.shuffle([...Array(broker.heldCount).keys()])))
    if (isCalm() || name !== 'publish') return { kind: !isCalm() && random.chance(0.1) ? 'cut' : 'answer' }
    const kind = random.pick(kinds) as Deed['kind']
    if (kind === 'refuse' || kind === 'refuseBatches') return { kind, code: random.pick(refusals) }
    return { kind } as Deed
  }
}

interface Message {
  readonly value: string
  readonly partition: number
  outcome: 'acknowledged' | 'timed out' | 'other'
  offset: number
}

function settle(messages: readonly Message[], outcome: Message['outcome']): void {
  for (const message of messages) message.outcome = outcome
}

async function publishAll(client: Publisher, random: Random, count: number): Promise<Message[]> {
  const messages: Message[] = []
  const ended: Promise<unknown>[] = []
  let next = 0
  const make = (): Message => {
    const partition = random.int(0, partitions - 1)
    const message: Message = { value: `m${next++}`, partition, outcome: 'other', offset: -1 }
    messages.push(message)
    return message
  }
  const failed = (some: readonly Message[]) => (error: unknown) => {
    if (!isMillraceError(error, 'DELIVERY_TIMEOUT')) throw error
    settle(some, 'timed out')
  }
  while (next < count) {
    if (random.chance(0.3)) {
      const some = Array.from({ length: random.int(1, 60) }, make)
      const sent = client.publishMany(
        topic,
        some.map(({ value, partition }) => ({ value, partition })),
      )
      ended.push(sent.then(() => settle(some, 'acknowledged'), failed(some)))
    } else {
      for (let n = random.int(1, 20); n > 0; n--) {
        const one = make()
        const sent = client.publish(topic, { value: one.value, partition: one.partition })
        ended.push(
          sent.then(
            ({ offset }) => {
              one.outcome = 'acknowledged'
              one.offset = offset
            },
            failed([one]),
          ),
        )
      }
    }
    if (random.chance(0.5)) await new Promise((resolve) => setTimeout(resolve, random.int(0, 4)))
  }
  await Promise.all(ended)
  return messages
}

/** Whatever happened before, a partition must make progress at some time. */
async function publishUntilAcknowledged(publisher: Publisher): Promise<Message[]> {
  const messages: Message[] = []
  for (let partition = 0; partition < partitions; partition++) {
    await waitFor(`partition ${partition} to continue`, async () => {
      const message: Message = {
        value: `last ${messages.length}`,
        partition,
        outcome: 'timed out',
        offset: -1,
      }
      messages.push(message)
      const result = await outcome(publisher.publish(topic, { value: message.value, partition }))
      if (result === 'DELIVERY_TIMEOUT') return false
      message.outcome = 'acknowledged'
      message.offset = (result as Receipt).offset
      return true
    })
  }
  return messages
}

async function run(context: TestContext, random: Random, deliveryTimeoutMs: number): Promise<Message[]> {
  const compression = random.pick(['none', 'none', 'gzip', 'lz4'] satisfies Compression[])
  const { broker, producer, publisher } = await fakeProducer(context, {
    partitions,
    requestTimeoutMs: 60,
    deliveryTimeoutMs,
    batchBytes: random.pick([64, 300, 256 * 1024]),
    bufferBytesMax: 64 * 1024,
    compression,
  })
  let calm = false
  torment(broker, random, () => calm)
  const published = publishAll(publisher, random, 600)
  const calming = setTimeout(() => {
    calm = true
    broker.release()
  }, 1_500)
  context.defer(() => clearTimeout(calming))
  const messages = await published
  calm = true
  broker.release()
  messages.push(...(await publishUntilAcknowledged(publisher)))
  for (let partition = 0; partition < partitions; partition++) {
    const expected = messages.filter((one) => one.partition === partition)
    const stored = broker.topics.get('t')?.partitions[partition]?.values ?? []
    assert.is(new Set(stored).size, stored.length, 'nothing is there twice')
    const known = new Set(stored)
    for (const one of expected) {
      if (one.outcome === 'acknowledged')
        assert.ok(known.has(one.value), `${one.value} was acknowledged and is there`)
      if (one.offset >= 0) assert.is(stored[one.offset], one.value, 'the receipt names its offset')
    }
    const order = expected.filter(({ value }) => known.has(value)).map(({ value }) => value)
    assert.equal(stored, order, 'in the order of publishing')
  }
  await publisher.flush()
  assert.is(producer.bufferedBytes, 0)
  return messages
}

for (const seed of [1, 2, 3, undefined]) {
  const name = seed === undefined ? 'a random seed' : `seed ${seed}`
  test(
    `every message is there once and in order, ${name}`,
    async (context) => {
      const messages = await run(context, context.random(seed), 60_000)
      assert.ok(messages.every((one) => one.outcome === 'acknowledged'))
    },
    { deadlineMs: 30_000 },
  )

  test(
    `messages that time out affect no others,  ${name}`,
    async (context) => {
      await run(context, context.random(seed), 250)
    },
    { deadlineMs: 30_000 },
  )
}

test.run()
