import * as assert from 'uvu/assert'
import { formatAddress, parseAddress } from '../../client/address.js'
import { backoffMs } from '../../client/backoff.js'
import {
  connect,
  defineTopic,
  durationMs,
  durationOrForeverMs,
  RetryAfter,
  sizeBytes,
} from '../../client/index.js'
import { loneBatchBytes } from '../../client/producer/record_size.js'
import { producerSettings } from '../../client/producer/settings.js'
import { RecordBatchBuilder, recordBytesMax } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { codeOf, outcome } from './fixtures.js'

const test = suite('client/units')

function codeThrown(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return codeOf(error)
  }
  return 'nothing'
}

function messageThrown(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing'
}

test('RetryAfter takes a delay like every other option', () => {
  const delays = [30, '500ms', '30s', '366d'].map((delay) => new RetryAfter(delay))
  assert.equal(
    delays.map(({ delayMs }) => delayMs),
    [30, 500, 30_000, 366 * 86_400_000],
  )
  assert.is(delays[2]?.message, 'try again after 30 s')
  assert.is(new RetryAfter('1h', 'too many requests').message, 'too many requests')
  assert.is(
    messageThrown(() => new RetryAfter('367d')),
    'the delay is 367 days, expected at most 366 days',
  )
  assert.match(
    messageThrown(() => new RetryAfter('soon')),
    'the option "delay" is "soon", expected a time like 500ms',
  )
})

test('durations and sizes', () => {
  const durations = ['500ms', '1.5s', '15m', '12h', '7d', '2w', ' 3 S ', 250]
  assert.equal(
    durations.map((value) => durationMs('d', value)),
    [500, 1_500, 900_000, 43_200_000, 604_800_000, 1_209_600_000, 3_000, 250],
  )
  assert.equal(
    ['7d', 'forever', -1].map((value) => durationOrForeverMs('d', value)),
    [604_800_000, -1, -1],
  )
  const sizes = ['10', '1kB', '1.5GB', '64MiB', '2 TiB', 'unlimited', 0]
  assert.equal(
    sizes.map((value) => sizeBytes('s', value)),
    [10, 1_000, 1.5e9, 67_108_864, 2 * 2 ** 40, -1, 0],
  )
  for (const value of [
    '',
    'x',
    '-1s',
    '5 parsecs',
    '1e3s',
    '7',
    Number.NaN,
    1.5,
    -1,
    'forever',
    '99999999999999999s',
  ])
    assert.is(
      codeThrown(() => durationMs('d', value)),
      'BAD_OPTION',
      `${value}`,
    )
  for (const value of ['1.5.2KB', 'KB', '5s', Number.POSITIVE_INFINITY])
    assert.is(
      codeThrown(() => sizeBytes('s', value)),
      'BAD_OPTION',
      `${value}`,
    )
})

test('addresses', () => {
  const texts = ['localhost', 'broker:9', '10.0.0.1:7000', '[::1]', '[fe80::1]:65535']
  assert.equal(
    texts.map((text) => formatAddress(parseAddress(text))),
    ['localhost:7420', 'broker:9', '10.0.0.1:7000', '[::1]:7420', '[fe80::1]:65535'],
  )
  for (const text of ['', ':7420', 'a:b', 'a:0', 'a:65536', '::1', 'a b:1', 'http://a:1'])
    assert.is(
      codeThrown(() => parseAddress(text)),
      'BAD_OPTION',
      text,
    )
})

test('an error names the problem of an invalid address and the expected form', () => {
  const cases: readonly (readonly [given: string, problem: string])[] = [
    ['localhost:99999', 'the port is 99999, expected 1 to 65535;'],
    ['localhost:0', 'the port is 0, expected 1 to 65535;'],
    ['localhost:http', 'the port is "http", expected a number from 1 to 65535;'],
    ['localhost:', 'the port is "", expected a number from 1 to 65535;'],
    ['http://host:1', 'it is a URL with the scheme "http";'],
    ['http://host:1/path', 'did you mean "host:1"?'],
    ['7421', 'did you mean "localhost:7421"?'],
    [':7421', 'it has no host;'],
    [':7421', 'did you mean "localhost:7421"?'],
    ['', 'it is empty;'],
    [' ', 'it is empty;'],
    ['::1', 'write an IPv6 address in brackets;'],
    ['::1', 'did you mean "[::1]:7420"?'],
    ['a b:1', '"a b" is not a host;'],
    ['user@host:1', '"user@host" is not a host;'],
  ]
  for (const [given, problem] of cases) {
    const message = messageThrown(() => parseAddress(given))
    assert.ok(message.startsWith(`${JSON.stringify(given)} is not an address: `), message)
    assert.ok(message.includes(problem), message)
    assert.ok(message.includes('expected host:port, like localhost:7420'), message)
  }
})

test('pauses double up to their maximum, and are spread', () => {
  const range = { initialMs: 100, maxMs: 1_000 }
  const most = [1, 2, 3, 4, 5, 100].map((failures) => backoffMs(failures, range, () => 1))
  assert.equal(most, [100, 200, 400, 800, 1_000, 1_000])
  assert.is(
    backoffMs(3, range, () => 0.25),
    100,
  )
  assert.is(
    backoffMs(3, range, () => 0),
    1,
    'never a busy loop',
  )
})

test('options that are not allowed are named', async () => {
  const wrong = [
    { servers: [] },
    { servers: 'a:b' },
    { connectTimeoutMs: 0 },
    { requestTimeoutMs: Number.NaN },
    { closeTimeoutMs: -1 },
    { reconnect: { maxMs: -1 } },
    { producer: { batchBytes: 0 } },
    { producer: { lingerMs: -1 } },
    { producer: { requestsInFlightMax: 6 } },
    { producer: { compression: 'zip' as never } },
    { producer: { onFull: 'drop' as never } },
  ]
  for (const options of wrong)
    assert.is(await outcome(connect(options)), 'BAD_OPTION', JSON.stringify(options))
  assert.is(producerSettings().lingerMs, 0)
  assert.is(
    codeThrown(() => defineTopic('a b')),
    'BAD_NAME',
  )
})

test('the size of a record is known before it is written', (context) => {
  const random = context.random()
  const text = (max: number): string => random.pick(['x', 'ö', '漢', '🚀']).repeat(random.int(0, max))
  for (let round = 0; round < 300; round++) {
    const headers = random.chance(0.5)
      ? undefined
      : { [text(5)]: text(90), b: random.bytes(random.int(0, 200)) }
    const record = {
      key: random.pick([null, undefined, text(300), random.bytes(random.int(0, 300))]),
      value: random.pick([null, text(20_000), random.bytes(random.int(0, 20_000))]),
      headers,
      timestamp: random.int(0, 2 ** 40),
    }
    const builder = new RecordBatchBuilder()
    const bytes = builder.append(record)
    assert.is(loneBatchBytes(record), builder.finish().length)
    assert.ok(recordBytesMax(record) >= bytes)
  }
})

test.run()
