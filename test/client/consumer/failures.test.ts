import * as assert from 'uvu/assert'
import {
  type ConsumeOptions,
  Consumer,
  DecodeError,
  type Decoder,
  type Message,
  type SkippedMessages,
} from '../../../client/consumer/index.js'
import { MillraceError } from '../../../protocol/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { FakePort, refusal } from './fake_port.js'
import { numbered, take, valuesOf } from './harness.js'

const test = suite('client/consumer/failures')

const text: Decoder<string, string> = {
  ahead: false,
  key: (bytes) => Buffer.from(bytes).toString(),
  value: (bytes) => Buffer.from(bytes ?? []).toString(),
}

/** Rejects values that start with "bad". */
const picky: Decoder<string, string> = {
  ...text,
  value: (bytes) => {
    const value = Buffer.from(bytes ?? []).toString()
    if (value.startsWith('bad')) throw new Error(`${value} is bad`)
    return value
  },
}

function consume(
  context: TestContext,
  port: FakePort,
  options: ConsumeOptions = {},
  decoder: Decoder<string, string> = text,
): Consumer<string, string> {
  const consumer = new Consumer(port, [{ name: 't', decoder }], { from: 'earliest', ...options })
  context.defer(() => consumer.close().catch(() => {}))
  return consumer
}

/** The error of a loop, after the messages before it. */
async function endOf(
  consumer: Consumer<string, string>,
  seen: string[] = [],
): Promise<{ code?: string; message: string; error: unknown }> {
  try {
    for await (const message of consumer) {
      seen.push(message.value)
      message.ack()
    }
  } catch (error) {
    return { ...(error instanceof MillraceError ? { code: error.code } : {}), message: String(error), error }
  }
  return { message: 'no error', error: undefined }
}

test('a fetch that is lost is sent again', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 3))
  for (const code of ['CONNECTION_LOST', 'REQUEST_TIMEOUT', 'OVERLOADED'] as const) {
    port.fetches.push(() => Promise.reject(new MillraceError(code)))
  }
  const iterator = consume(context, port)[Symbol.asyncIterator]()
  assert.equal(valuesOf(await take(iterator, 3)), numbered('v', 0, 3))
  assert.ok(port.sent('fetch').length >= 4)
})

test('a consumer reports errors that it retries to onError, or warns once for each kind', async (context) => {
  const warned: string[] = []
  const add = ({ name, message }: Error): void => {
    if (name === 'MillraceWarning') warned.push(message)
  }
  process.on('warning', add)
  context.defer(() => process.off('warning', add))
  const codes = ['OVERLOADED', 'CONNECTION_LOST', 'OVERLOADED', 'STORAGE_FAILED'] as const
  const read = async (options: ConsumeOptions): Promise<void> => {
    const port = new FakePort()
    port.append(0, ['v'])
    for (const code of codes) port.fetches.push(() => Promise.reject(new MillraceError(code)))
    assert.equal(valuesOf(await take(consume(context, port, options)[Symbol.asyncIterator](), 1)), ['v'])
  }
  const errors: unknown[] = []
  await read({ onError: (error) => errors.push(error) })
  assert.equal(
    errors.map((error) => (error as MillraceError).code),
    [...codes],
  )
  assert.equal(warned, [])
  await read({})
  await waitFor('the warnings', () => warned.length >= 2)
  assert.is(warned.length, 2)
  assert.match(
    warned[0] ?? '',
    /a consumer of "t" retries after an error: MillraceError: .*has no memory for this request.*onError/,
  )
})

test('a dead broker is noticed as soon by a consumer that is idle as by a busy one', async (context) => {
  class TimedPort extends FakePort {
    readonly fetchTimes: { readonly waitMs: number; readonly timeoutMs: number | undefined }[] = []
    override toOwner<Request, Reply>(
      ...[owner, command, body, options]: Parameters<typeof FakePort.prototype.toOwner<Request, Reply>>
    ): Promise<{ readonly body: Reply; readonly payload: Uint8Array }> {
      if (command.name === 'fetch') {
        const { waitMs } = body as { waitMs: number }
        this.fetchTimes.push({ waitMs, timeoutMs: options?.timeoutMs })
      }
      return super.toOwner(owner, command, body, options)
    }
  }
  const port = new TimedPort()
  const nothing = { body: { partitions: [] }, payload: new Uint8Array() }
  for (let n = 0; n < 8; n++) port.fetches.push(() => nothing)
  const consumer = consume(context, port)
  await consumer.start()
  await waitFor('the ninth fetch', () => port.fetchTimes.length === 9)
  assert.is(port.fetchTimes[0]?.waitMs, 500)
  assert.is(port.fetchTimes[8]?.waitMs, 10_000)
  for (const { timeoutMs } of port.fetchTimes) assert.is(timeoutMs, 30_000)
})

test('an unhandled error of start is an unhandled rejection, and one in the loop is reported once', async (context) => {
  const port = new FakePort()
  const missing = (): Consumer<string, string> =>
    new Consumer(port, [{ name: 't', decoder: text }], { partitions: [99] })
  const unhandled: unknown[] = []
  const others = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', (reason) => unhandled.push(reason))
  context.defer(() => {
    process.removeAllListeners('unhandledRejection')
    for (const other of others) process.on('unhandledRejection', other)
  })
  assert.is((await endOf(missing())).code, 'UNKNOWN_PARTITION')
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(unhandled, [])
  void missing().start()
  await waitFor('the rejection', () => unhandled.length > 0)
  assert.is((unhandled[0] as MillraceError).code, 'UNKNOWN_PARTITION')
})

test('a partition that has moved to another broker is looked up and fetched again', async (context) => {
  const port = new FakePort()
  port.append(0, ['v'])
  port.fetches.push((request) => refusal(request, 'NOT_OWNER'))
  const consumer = consume(context, port)
  await consumer.start()
  assert.equal(valuesOf(await take(consumer[Symbol.asyncIterator](), 1)), ['v'])
  // Once at the start, once because of the refusal.
  assert.is(port.metadataAsked, 2)
})

test('stored damage ends the loop with CORRUPT, naming partition and offset', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 3))
  const consumer = consume(context, port)
  const iterator = consumer[Symbol.asyncIterator]()
  await take(iterator, 3)
  port.fetches.push((request) => refusal(request, 'CORRUPT'))
  const { code, message } = await endOf(consumer)
  assert.is(code, 'CORRUPT')
  assert.match(message, /topic "t", partition 0, offset 3/)
})

test('a batch that is damaged in transit ends the loop with CORRUPT before any of its messages is delivered', async (context) => {
  const port = new FakePort()
  port.append(0, ['good'])
  const bytes = port.append(0, ['damaged'])
  bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 1
  const seen: string[] = []
  const { code, message } = await endOf(consume(context, port), seen)
  assert.is(code, 'CORRUPT')
  assert.match(message, /partition 0, offset 1 are damaged/)
  assert.equal(seen, ['good'])
})

test('a deleted topic ends the loop with UNKNOWN_TOPIC', async (context) => {
  const port = new FakePort()
  port.fetches.push((request) => refusal(request, 'UNKNOWN_TOPIC'))
  const { code, message } = await endOf(consume(context, port))
  assert.is(code, 'UNKNOWN_TOPIC')
  assert.match(message, /topic "t" was deleted/)
})

test('messages that retention dropped are skipped and reported', async (context) => {
  const port = new FakePort()
  port.start = 10
  port.append(0, numbered('v', 10, 12), 10)
  const skipped: SkippedMessages[] = []
  const consumer = consume(context, port, { from: 4, group: 'g', onSkipped: (one) => skipped.push(one) })
  const messages = await take(consumer[Symbol.asyncIterator](), 2)
  assert.equal(valuesOf(messages), numbered('v', 10, 12))
  assert.equal(skipped, [{ topic: 't', partition: 0, fromOffset: 4, toOffset: 10 }])
  messages[0]?.ack()
  await consumer.commit()
  assert.equal((port.sent('group.commit').at(-1) as { offsets: number[][] }).offsets[0]?.[3], 11)
})

test('until "end" also ends when retention drops all remaining messages', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 5))
  port.fetches.push((request) => {
    port.start = 5
    return refusal(request, 'OFFSET_OUT_OF_RANGE')
  })
  const seen: string[] = []
  assert.is((await endOf(consume(context, port, { until: 'end' }), seen)).error, undefined)
  assert.equal(seen, [])
})

test('onOutOfRange "error" ends the loop, "latest" continues at the end', async (context) => {
  const port = new FakePort()
  port.start = 10
  port.append(0, ['old'], 10)
  assert.is(
    (await endOf(consume(context, port, { from: 4, onOutOfRange: 'error' }))).code,
    'OFFSET_OUT_OF_RANGE',
  )
  const consumer = consume(context, port, { from: 4, onOutOfRange: 'latest' })
  const next = consumer[Symbol.asyncIterator]().next()
  await waitFor('the position', () => consumer.stats().partitions[0]?.position === 11)
  port.append(0, ['new'])
  assert.is((await next).value?.value, 'new')
})

test('an offset past the end is an error, unless onOutOfRange is "latest"', async (context) => {
  const port = new FakePort()
  port.append(0, ['v'])
  const { code, message } = await endOf(consume(context, port, { from: 50 }))
  assert.is(code, 'OFFSET_OUT_OF_RANGE')
  assert.match(message, /offset 50 is out of range .*, expected 0 to 1/)
  const consumer = consume(context, port, { from: 50, onOutOfRange: 'latest' })
  const next = consumer[Symbol.asyncIterator]().next()
  await waitFor('the position', () => consumer.stats().partitions[0]?.position === 1)
  port.append(0, ['new'])
  assert.is((await next).value?.value, 'new')
})

test('a value that does not decode throws when it is read, and stays unacknowledged', async (context) => {
  const port = new FakePort()
  port.append(0, ['good', 'bad-1', 'good-2'])
  const seen: string[] = []
  const { code, error } = await endOf(consume(context, port, { group: 'g' }, picky), seen)
  assert.is(code, 'DECODE_FAILED')
  assert.ok(error instanceof DecodeError)
  assert.is(error.raw.offset, 1)
  assert.is(Buffer.from(error.raw.valueBytes ?? []).toString(), 'bad-1')
  assert.equal(seen, ['good'])
  assert.equal((port.sent('group.commit').at(-1) as { offsets: number[][] }).offsets[0]?.[3], 1)
})

test('"skip" skips and acknowledges messages that do not decode, by message and by batch', async (context) => {
  const port = new FakePort()
  port.append(0, ['bad-0', 'good-1', 'bad-2', 'bad-3', 'good-4', 'bad-5'])
  const options = { group: 'g', onDecodeError: 'skip', until: 'end' } as const
  const consumer = consume(context, port, options, picky)
  const seen: string[] = []
  assert.is((await endOf(consumer, seen)).error, undefined)
  assert.equal(seen, ['good-1', 'good-4'])
  assert.is(consumer.stats().skipped, 4)
  assert.equal((port.sent('group.commit').at(-1) as { offsets: number[][] }).offsets[0]?.[3], 6)
  const batches: string[][] = []
  for await (const batch of consume(context, port, options, picky).batches()) {
    batches.push(valuesOf(batch.messages))
    batch.ack()
  }
  assert.equal(batches, [['good-1', 'good-4']])
})

test('a function decides about each message that does not decode', async (context) => {
  const port = new FakePort()
  port.append(0, ['bad-0', 'good', 'bad-fatal'])
  const asked: number[] = []
  const seen: string[] = []
  const consumer = consume(
    context,
    port,
    {
      onDecodeError: (error, raw) => {
        asked.push(raw.offset)
        return error.message.includes('fatal') ? 'throw' : 'skip'
      },
    },
    picky,
  )
  assert.is((await endOf(consumer, seen)).code, 'DECODE_FAILED')
  assert.equal(seen, ['good'])
  assert.equal(asked, [0, 2])
})

test('values of an asynchronous schema are decoded before delivery, in order, also for overlapping calls', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 6))
  let turn = 0
  const slow: Decoder<string, string> = {
    ...text,
    ahead: true,
    value: (bytes) =>
      new Promise((resolve) => {
        const value = Buffer.from(bytes ?? []).toString()
        if (turn++ % 2 === 0) setImmediate(() => resolve(value))
        else resolve(value)
      }),
  }
  const iterator = consume(context, port, {}, slow)[Symbol.asyncIterator]()
  const results = await Promise.all(Array.from({ length: 6 }, () => iterator.next()))
  assert.equal(
    results.map(({ value }) => value?.value),
    numbered('v', 0, 6),
  )
})

test('a commit with a retryable error is sent again until it succeeds', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 2))
  const consumer = consume(context, port, { group: 'g', commitIntervalMs: 600_000 })
  for (const message of await take(consumer[Symbol.asyncIterator](), 2)) message.ack()
  port.commits.push(
    () => 'STORAGE_FULL',
    () => 'CONNECTION_LOST',
  )
  await consumer.commit()
  assert.is(port.sent('group.commit').length, 3)
  assert.is(consumer.stats().partitions[0]?.committedOffset, 2)
})

test('one commit runs at a time, and acknowledgements during it go into the next', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 4))
  const consumer = consume(context, port, { group: 'g', commitIntervalMs: 600_000 })
  const messages = await take(consumer[Symbol.asyncIterator](), 4)
  let release = (): void => {}
  port.commits.push(
    () =>
      new Promise((resolve) => {
        release = () => resolve('ok')
      }),
  )
  messages[0]?.ack()
  const waiting = [consumer.commit()]
  for (const message of messages.slice(1)) {
    message.ack()
    waiting.push(consumer.commit())
  }
  await new Promise(setImmediate)
  assert.is(port.sent('group.commit').length, 1)
  release()
  await Promise.all(waiting)
  const offsets = (port.sent('group.commit') as { offsets: number[][] }[]).map((body) => body.offsets[0]?.[3])
  assert.equal(offsets, [1, 4])
})

test('a fenced commit rejects, drops the partition and calls the application', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 2))
  const lost: boolean[] = []
  const consumer = consume(context, port, {
    group: 'g',
    commitIntervalMs: 600_000,
    onRevoked: (_partitions, reason) => void lost.push(reason.lost),
  })
  const iterator = consumer[Symbol.asyncIterator]()
  for (const message of await take(iterator, 2)) message.ack()
  port.commits.push(() => 'FENCED')
  const outcome = await consumer.commit().catch((error: { code: string }) => error.code)
  assert.is(outcome, 'FENCED')
  assert.equal(lost, [true])
  // The next heartbeat grants it again, and it starts from the committed offset.
  assert.equal(valuesOf(await take(iterator, 2)), numbered('v', 0, 2))
})

test('a permanently refused commit throws from the loop and from commit()', async (context) => {
  const port = new FakePort()
  port.append(0, ['v'])
  const consumer = consume(context, port, { group: 'g', commitIntervalMs: 600_000 })
  const iterator = consumer[Symbol.asyncIterator]()
  for (const message of await take(iterator, 1)) message.ack()
  port.commits.push(() => 'OFFSET_OUT_OF_RANGE')
  const [committed, next] = await Promise.all([
    consumer.commit().catch((error: { code: string }) => error.code),
    iterator.next().catch((error: { code: string }) => error.code),
  ])
  assert.equal([committed, next], ['OFFSET_OUT_OF_RANGE', 'OFFSET_OUT_OF_RANGE'])
})

test('closing reports acknowledgements that could not be committed, and still closes', async (context) => {
  const port = new FakePort()
  port.append(0, ['v'])
  const consumer = consume(context, port, { group: 'g', commitIntervalMs: 600_000, closeTimeoutMs: 60 })
  for (const message of await take(consumer[Symbol.asyncIterator](), 1)) message.ack()
  for (let i = 0; i < 100; i++) port.commits.push(() => 'CONNECTION_LOST')
  const outcome = await consumer.close().catch((error: { code: string }) => error.code)
  assert.is(outcome, 'REQUEST_TIMEOUT')
  assert.is(consumer.stats().state, 'closed')
  assert.is(port.sent('group.leave').length, 1)
})

test('breaking out of the loop commits acknowledged messages and leaves the group', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 3))
  for await (const message of consume(context, port, { group: 'g', commitIntervalMs: 600_000 })) {
    message.ack()
    if (message.offset === 1) break
  }
  assert.equal((port.sent('group.commit').at(-1) as { offsets: number[][] }).offsets[0]?.[3], 2)
  assert.is(port.sent('group.leave').length, 1)
})

test('a fetch runs while the application handles buffered messages', async (context) => {
  const port = new FakePort()
  port.append(0, numbered('v', 0, 10))
  const iterator = consume(context, port)[Symbol.asyncIterator]()
  await take(iterator, 1)
  await waitFor('the next fetch', () => port.sent('fetch').length === 2)
  const [, next] = port.sent('fetch') as { partitions: number[][] }[]
  assert.is(next?.partitions[0]?.[2], 10)
})

test('messages are views that can be read repeatedly', async (context) => {
  const port = new FakePort()
  port.append(0, ['v'])
  const [message] = (await take(consume(context, port)[Symbol.asyncIterator](), 1)) as [
    Message<string, string>,
  ]
  assert.is(message.value, message.value)
  assert.is(message.key, undefined)
  assert.equal(Object.keys(message.headers), [])
})

test.run()
