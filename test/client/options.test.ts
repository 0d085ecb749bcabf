import * as assert from 'uvu/assert'
import {
  type Client,
  connect,
  defineService,
  defineTopic,
  isMillraceError,
  json,
  type MessageInput,
  string,
  type WorkOptions,
} from '../../client/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/options')

async function start(context: TestContext): Promise<Client> {
  const harness = await Harness.start(context)
  await harness.createTopic('t', 1)
  return harness.client
}

/** The error of a call, whether it throws or rejects. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call()
  } catch (error) {
    return error
  }
  return undefined
}

/** Options with a misspelled name, as a program in JavaScript may give them. */
function misspelled<Options>(options: object): Options {
  return options as Options
}

test('each options object refuses an option that does not exist and names the nearest one', async (context) => {
  const client = await start(context)
  const service = defineService('t', { request: string, reply: string })
  const noop = (): void => {}
  const cases: readonly (readonly [where: string, option: string, nearest: string, call: () => unknown])[] = [
    ['connect', 'clientNam', 'clientName', () => connect(misspelled({ clientNam: 'x' }))],
    ['connect', 'reconnect.maxMS', 'maxMs', () => connect({ reconnect: misspelled({ maxMS: 5 }) })],
    ['connect', 'producer.lingerMS', 'lingerMs', () => connect({ producer: misspelled({ lingerMS: 5 }) })],
    ['client.consume', 'grup', 'group', () => client.consume('t', misspelled({ grup: 'g' }))],
    [
      'client.work',
      'concurency',
      'concurrency',
      () => client.work('t', misspelled<WorkOptions>({ group: 'g', concurency: 2 }), noop),
    ],
    [
      'the settings of a queue group',
      'settings.attemptMax',
      'attemptsMax',
      () => client.work('t', { group: 'g', settings: misspelled({ attemptMax: 2 }) }, noop),
    ],
    [
      'the settings of a queue group',
      'retry.delayMs',
      'delay',
      () => client.queues.configure('g', { retry: misspelled({ kind: 'fixed', delayMs: 2 }) }),
    ],
    [
      'client.respond',
      'leasMs',
      'leaseMs',
      () => client.respond(service, misspelled({ leasMs: 5_000 }), () => ''),
    ],
    [
      'client.request',
      'timeout',
      'timeoutMs',
      () => client.request(service, { value: '' }, misspelled({ timeout: 5 })),
    ],
    [
      'client.publish',
      'signals',
      'signal',
      () => client.publish('t', { value: Buffer.of(1) }, misspelled({ signals: 1 })),
    ],
    [
      'client.publishMany',
      'signals',
      'signal',
      () => client.publishMany('t', [], misspelled({ signals: 1 })),
    ],
    [
      'client.topics.create',
      'partition',
      'partitions',
      () => client.topics.create('u', misspelled({ partition: 2 })),
    ],
    [
      'client.topics.ensure',
      'partition',
      'partitions',
      () => client.topics.ensure('u', misspelled({ partition: 2 })),
    ],
    [
      'the option "retention" of a topic',
      'retention.byte',
      'bytes',
      () => client.topics.alter('t', { retention: misspelled({ byte: 2 }) }),
    ],
    ['client.topics.list', 'timeoutMS', 'timeoutMs', () => client.topics.list(misspelled({ timeoutMS: 2 }))],
    [
      'client.groups.seek',
      'partition',
      'partitions',
      () => client.groups.seek('g', 't', 0, misspelled({ partition: [0] })),
    ],
    ['client.queues.redrive', 'wich', 'which', () => client.queues.redrive('g', misspelled({ wich: noop }))],
    [
      'client.schedules.set',
      'timezone',
      'timeZone',
      () =>
        client.schedules.set(
          's',
          misspelled<Parameters<typeof client.schedules.set>[1]>({
            topic: 't',
            message: { value: null },
            cron: '* * * * *',
            timezone: 'UTC',
          }),
        ),
    ],
    [
      'consumer.batches',
      'messageMax',
      'messagesMax',
      () => client.consume('t').batches(misspelled({ messageMax: 5 })),
    ],
    [
      'consumer.run',
      'concurency',
      'concurrency',
      () => client.consume('t').run(noop, misspelled({ concurency: 5 })),
    ],
    [
      'consumer.seek',
      'ofset',
      'offset',
      () => client.consume('t').seek(misspelled({ partition: 0, offset: 0, ofset: 5 })),
    ],
    [
      'client.workBatch',
      'waitMS',
      'waitMs',
      () => client.workBatch('t', misspelled<WorkOptions>({ group: 'g', waitMS: 5 }), noop),
    ],
    [
      'defineService',
      'replay',
      'reply',
      () =>
        defineService(
          't',
          misspelled<Parameters<typeof defineService>[1]>({ request: string, replay: string }),
        ),
    ],
    ['client.close', 'timeout', 'timeoutMs', () => client.close(misspelled({ timeout: 5 }))],
  ]
  for (const [where, option, nearest, call] of cases) {
    const error = await errorOf(call)
    assert.ok(isMillraceError(error, 'BAD_OPTION'), `${where}: ${error}`)
    assert.is((error as Error).message, `${where} has no option "${option}"; did you mean "${nearest}"?`)
  }
  assert.equal(await client.topics.list().then((topics) => topics.map(({ name }) => name)), ['t'])
})

test('an option without a similar name is refused with the names of all options', async (context) => {
  const client = await start(context)
  const error = await errorOf(() =>
    client.request(
      defineService('t', { request: string, reply: string }),
      { value: '' },
      misspelled({ xyz: 1 }),
    ),
  )
  assert.is((error as Error).message, 'client.request has no option "xyz"; its options are signal, timeoutMs')
  const notOptions = await errorOf(() => client.consume('t', misspelled(null as unknown as object)))
  assert.is((notOptions as Error).message, 'client.consume got null, expected an object with options')
})

test('an invalid value of an option is refused with the allowed values', async (context) => {
  const client = await start(context)
  const noop = (): void => {}
  const cases: readonly (readonly [expected: string, call: () => unknown])[] = [
    [
      'the option "onOutOfRange" is "eariest", expected "earliest", "latest", "error"',
      () => client.consume('t', misspelled({ onOutOfRange: 'eariest' })),
    ],
    [
      'the option "onDecodeError" is "ignore", expected "throw", "skip" or a function',
      () => client.consume('t', misspelled({ onDecodeError: 'ignore' })),
    ],
    [
      'the option "start" is "last", expected "earliest", "latest"',
      () => client.work('t', misspelled<WorkOptions>({ group: 'g', start: 'last' }), noop),
    ],
    [
      'the option "group" is undefined, expected the name of a queue group',
      () => client.work('t', misspelled<WorkOptions>({}), noop),
    ],
    [
      'the option "leaseMs" is 10, expected a whole number from 1000 (1 s)',
      () => client.work('t', { group: 'g', leaseMs: 10 }, noop),
    ],
    [
      'the option "batchBytes" is NaN, expected a whole number from 1 to 4194304 (4 MiB)',
      () => connect({ producer: { batchBytes: Number.NaN } }),
    ],
    [
      'the option "settings.order" is "keys", expected "none", "key"',
      () => client.work('t', misspelled<WorkOptions>({ group: 'g', settings: { order: 'keys' } }), noop),
    ],
    [
      'the option "retry.kind" is undefined, expected "fixed", "exponential"',
      () => client.queues.configure('g', misspelled({ retry: { delay: 5 } })),
    ],
    [
      'the option "at" is "first", expected "earliest", "latest" or a Date',
      () => client.topics.offsets('t', misspelled('first' as unknown as object)),
    ],
  ]
  for (const [expected, call] of cases) {
    const error = await errorOf(call)
    assert.ok(isMillraceError(error, 'BAD_OPTION'), `${expected}: ${error}`)
    assert.is((error as Error).message, expected)
  }
})

test('a message refuses a field that does not exist', async (context) => {
  const client = await start(context)
  const message = misspelled<MessageInput<Uint8Array, string>>({ value: Buffer.of(1), dely: '1s' })
  for (const call of [() => client.publish('t', message), () => client.publishMany('t', [message])]) {
    const error = await errorOf(call)
    assert.ok(isMillraceError(error, 'BAD_OPTION'), String(error))
    assert.is((error as Error).message, 'a message has no field "dely"; did you mean "delay"?')
  }
})

test('a message with a misspelled value is a bad option, whatever the topic and the way it is published', async (context) => {
  const client = await start(context)
  const typed = defineTopic('t', { value: json<number>() })
  const wrong = misspelled<MessageInput<number, string>>({ valu: 1 })
  const delayed = misspelled<MessageInput<number, string>>({ valu: 1, delay: '1h' })
  const named = misspelled<MessageInput<Uint8Array, string>>({ valu: 1 })
  for (const call of [
    () => client.publish(typed, wrong),
    () => client.publish(typed, delayed),
    () => client.publish('t', named),
    () => client.publishMany(typed, [wrong]),
    () => client.publishMany(typed, [delayed]),
    () => client.transaction((transaction) => transaction.publish(typed, wrong)),
    () => client.schedules.set('s', { topic: 't', message: named, cron: '* * * * *' }),
  ]) {
    const error = await errorOf(call)
    assert.ok(isMillraceError(error, 'BAD_OPTION'), `${call}: ${error}`)
    assert.is((error as Error).message, 'a message has no field "valu"; did you mean "value"?')
  }
  const text = await errorOf(() => client.publish('t', misspelled('hello' as unknown as object)))
  assert.is((text as Error).message, 'a message is string, expected an object like { value }')
})

test.run()
