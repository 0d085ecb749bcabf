import { pino } from 'pino'
import * as assert from 'uvu/assert'
import { commands, encodeFrame, isMillraceError, limits } from '../../protocol/index.js'
import type { Random } from '../helpers/random.js'
import { connectHello, connectRaw, type RawClient } from '../helpers/raw_client.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, createTopic, publish, testBroker, testClient, valuesOf } from './harness.js'

const test = suite('broker/bad_input')
const fixedSeed = 20_240_601

/** A frame with correct length fields. */
function frame(command: number, body: Uint8Array, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32LE(12 + body.length + payload.length, 0)
  head.writeUInt16LE(command, 4)
  head.writeUInt32LE(1, 8)
  head.writeUInt32LE(body.length, 12)
  return Buffer.concat([head, body, payload])
}

/** A random msgpack value, nested up to `depth`. */
function randomValue(random: Random, depth: number): unknown {
  switch (random.int(0, depth > 0 ? 9 : 6)) {
    case 0:
      return random.int(-5, 5)
    case 1:
      return random.uint32() * random.pick([1, -1, 2 ** 20, 2 ** 31, 0.37])
    case 2:
      return 'x'.repeat(random.int(0, 40))
    case 3:
      return null
    case 4:
      return random.chance(0.5)
    case 5:
      return random.bytes(random.int(0, 30))
    case 6:
      return random.pick(['orders', 'group', '', '__proto__', 'constructor'])
    case 7:
    case 8:
      return Array.from({ length: random.int(0, 5) }, () => randomValue(random, depth - 1))
    default:
      return randomBody(random, depth - 1)
  }
}

const fieldNames = [
  'topic',
  'topics',
  'partitions',
  'settings',
  'batches',
  'group',
  'memberId',
  'owned',
  'offsets',
  'waitMs',
  'bytesMin',
  'bytesMax',
  'sessionTimeoutMs',
  'kind',
  'value',
  'retentionMs',
  '__proto__',
]

function randomBody(random: Random, depth: number): Record<string, unknown> {
  const body: Record<string, unknown> = {}
  for (let i = random.int(0, 6); i > 0; i--) {
    // Defined, not assigned: the test sends "__proto__" over the wire like any other name.
    const value = randomValue(random, depth)
    Object.defineProperty(body, random.pick(fieldNames), { value, enumerable: true, configurable: true })
  }
  return body
}

/** Bytes with one of many kinds of errors. */
function randomInput(random: Random): Buffer {
  const command = random.pick(Object.values(commands)).number
  switch (random.int(0, 6)) {
    case 0:
      return Buffer.from(random.bytes(random.int(1, 300)))
    case 1:
      return frame(command, random.bytes(random.int(0, 200)))
    case 2:
      return frame(random.int(0, 0xffff), random.bytes(random.int(0, 20)), random.bytes(random.int(0, 500)))
    case 3: {
      // A valid publish with some bytes changed.
      const batch = batchOf(['a', 'b'], { producerId: random.int(0, 3), producerEpoch: 0, baseSequence: 0 })
      const head = encodeFrame(
        commands.publish.number,
        0,
        1,
        { batches: [[1, 0, batch.length]] },
        batch.length,
      )
      return mutated(random, Buffer.concat([head, batch]), 16)
    }
    case 4: {
      const input = encodeFrame(command, 0, 1, randomBody(random, 3))
      return random.chance(0.5) ? input : mutated(random, input, 0)
    }
    case 5: {
      // A valid batch with garbage in place of its records, and sizes that add up.
      const batch = Buffer.concat([batchOf(['a']), random.bytes(50)])
      const head = encodeFrame(
        commands.publish.number,
        0,
        1,
        { batches: [[1, 0, batch.length]] },
        batch.length,
      )
      return Buffer.concat([head, batch])
    }
    default:
      return encodeFrame(command, 0, 1, randomBody(random, 4)).subarray(0, random.int(1, 60))
  }
}

function mutated(random: Random, bytes: Buffer, from: number): Buffer {
  const copy = Buffer.from(bytes)
  for (let i = random.int(1, 5); i > 0; i--) copy[random.int(from, copy.length - 1)] = random.uint32() & 0xff
  return copy
}

async function storm(context: TestContext, random: Random, connections: number): Promise<void> {
  const logged: string[] = []
  const logger = pino({ level: 'error' }, { write: (line: string) => void logged.push(line) })
  const broker = await testBroker(context, { helloTimeoutMs: 1_000, logger })
  const witness = await testClient(context, broker)
  const topicId = await createTopic(witness, 'witness')
  await publish(witness, [topicId, 0, batchOf(['before'])])
  const ungreeted: Promise<unknown>[] = []
  for (let i = 0; i < connections; i++) {
    const greeted = random.chance(0.8)
    const client: RawClient = await (greeted ? connectHello : connectRaw)(broker.address)
    for (let sent = random.int(1, 6); sent > 0 && !client.socket.destroyed; sent--) {
      client.socket.write(randomInput(random))
    }
    if (random.chance(0.7)) {
      // The end of the stream comes after all sent bytes, so the broker has read them.
      client.socket.end()
      // Without a hello some end only when its time is over.
      if (!greeted) {
        ungreeted.push(client.closed)
        continue
      }
      await client.closed
    }
    client.destroy()
  }
  await Promise.all(ungreeted)
  await publish(witness, [topicId, 0, batchOf(['after'])])
  const values = await valuesOf(witness, topicId)
  assert.is(values[0], 'before')
  assert.is(values.at(-1), 'after')
  const { server } = broker as unknown as {
    server: { inbound: { usedBytes: number }; outbound: { usedBytes: number } }
  }
  await waitFor('all budgets to be free', () => server.inbound.usedBytes + server.outbound.usedBytes === 0)
  assert.equal((await broker.status()).health.reasons, [])
  assert.equal(logged, [])
}

test(
  'continues after random bytes, frames, bodies and batches (fixed seed)',
  (context) => {
    return storm(context, context.random(fixedSeed), 400)
  },
  { deadlineMs: 60_000 },
)

test(
  'continues after random bytes, frames, bodies and batches (random seed)',
  (context) => {
    return storm(context, context.random(), 400)
  },
  { deadlineMs: 60_000 },
)

test(
  'refused input leaves no memory behind',
  async (context) => {
    const broker = await testBroker(context)
    const collect = globalThis.gc
    const heapBytes = (): number => {
      collect?.()
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    const attack = async (): Promise<void> => {
      const client = await connectHello(broker.address)
      // Claims the largest frame, sends a little of it and disconnects.
      client.socket.write(Buffer.concat([claim(limits.frameBytesMax), Buffer.alloc(64 * 1024)]))
      const other = await connectHello(broker.address)
      const huge = frame(
        commands.topicCreate.number,
        Buffer.concat([Buffer.of(0xdd, 0, 0x3f, 0xff, 0xff), Buffer.alloc(100_000)]),
      )
      other.socket.write(huge)
      await other.closed
      client.destroy()
      await client.closed
    }
    for (let i = 0; i < 20; i++) await attack()
    const before = heapBytes()
    for (let i = 0; i < 300; i++) await attack()
    // Without --expose-gc the figure includes garbage of up to a few collections.
    assert.ok(heapBytes() - before < 96 * 1024 * 1024, `${heapBytes() - before} bytes more`)
    const { server } = broker as unknown as { server: { inbound: { usedBytes: number } } }
    await waitFor('the budget to be free', () => server.inbound.usedBytes === 0)
  },
  { deadlineMs: 30_000 },
)

function claim(length: number): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32LE(length, 0)
  return head
}

test('groups, topics and offsets with absurd values are refused one by one', async (context) => {
  const client = await testClient(context, await testBroker(context))
  const topicId = await createTopic(client, 'orders')
  const max = Number.MAX_SAFE_INTEGER
  const attempts = [
    client.request(commands.fetch, {
      waitMs: max,
      bytesMin: 0,
      bytesMax: max,
      partitions: [[topicId, 0, max, max]],
    }),
    client.request(commands.offsetsList, { partitions: [[max, 9_999, max]] }),
    client.request(commands.topicDescribe, { topic: '__proto__' }),
    client.request(commands.topicCreate, { topic: 'constructor', partitions: max }),
    client.request(commands.groupDescribe, { group: '__proto__' }),
    client.request(commands.groupSeek, { group: 'g', topic: 'orders', kind: 'offset', value: max }),
  ]
  for (const attempt of attempts) {
    const problem = await attempt.then(
      () => undefined,
      (error: unknown) => error,
    )
    if (problem !== undefined)
      assert.ok(isMillraceError(problem) && problem.code !== 'INTERNAL', String(problem))
  }
  await client.request(commands.ping, {})
})

test.run()
