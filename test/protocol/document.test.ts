import { readFile } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import {
  commands,
  compressionNumbers,
  encodeFrame,
  errorTable,
  limits,
  RecordBatchBuilder,
} from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/document')

const document = await readFile(new URL('../../../protocol/PROTOCOL.md', import.meta.url), 'utf8')

test('names every command with its number', () => {
  for (const { number, name } of Object.values(commands)) {
    assert.match(
      document,
      new RegExp(`### .*\\b${number} \`${name.replace('.', '\\.')}\``),
      `${number} ${name}`,
    )
  }
})

test('names every error with its number and whether it can be sent again', () => {
  for (const [code, { number, retryable }] of Object.entries(errorTable)) {
    assert.match(document, `| ${number} | ${code} | ${retryable ? 'yes' : 'no'} |`)
  }
})

test('names every codec with its number', () => {
  for (const [name, number] of Object.entries(compressionNumbers)) assert.match(document, `${number} ${name}`)
})

test('its examples are the bytes that the code writes and reads', () => {
  const examples = [...document.matchAll(/^(?: {4}[0-9a-f]{10,}\n)+/gm)].map(([block]) =>
    Buffer.from(block.replaceAll(/\s/g, ''), 'hex'),
  )
  const [frames, hello, batch] = examples
  const batches = [[7, 0, 7]]
  assert.equal(
    frames,
    Buffer.concat([
      encodeFrame(commands.ping.number, 0, 0x01020304, {}),
      encodeFrame(commands.publish.number, 0, 6, { batches }, 7),
      Buffer.from('payload'),
    ]),
  )
  const body = { versionMin: 1, versionMax: 1, clientName: 'app', clientVersion: '0.1.0' }
  assert.equal(hello, encodeFrame(commands.hello.number, 0, 0x01020304, body))
  const builder = new RecordBatchBuilder()
  builder.append({ key: 'a', value: 'b', timestamp: 0 })
  assert.equal(batch, Buffer.from(builder.finish()))
})

test('names the limits that a client meets', () => {
  const shown = (bytes: number): string =>
    bytes % (1024 * 1024) === 0 ? `${bytes / 1024 / 1024} MiB` : bytes.toLocaleString('en')
  for (const [what, limit] of [
    ['frame before `hello`', shown(limits.frameBytesBeforeHelloMax)],
    ['frame before `hello`', shown(limits.frameBytesMax)],
    ['body of a frame', `${shown(limits.bodyBytesMax)}, ${limits.bodyDepthMax}`],
    ['different keys', shown(limits.bodyKeysMax)],
    ['requests of a connection', shown(limits.inFlightRequestsMax)],
    ['record batch', shown(limits.batchBytesMax)],
    ['records of a batch', `${shown(limits.batchRecordsMax)}, ${shown(limits.batchRecordsBytesMax)}`],
    ['headers of a record', shown(limits.recordHeadersMax)],
    ['names of topics', `1 to ${limits.topicNameBytesMax}`],
    ['client and lane', shown(limits.connectionClientBytesMax)],
    ['client and lane', shown(limits.connectionLaneBytesMax)],
    ['memberId', shown(limits.memberIdBytesMax)],
    ['metadata of', shown(limits.commitMetadataBytesMax)],
    ['partitions of a topic', shown(limits.partitionsPerTopicMax)],
    ['partitions of a topic', shown(limits.partitionsPerBrokerMax)],
    ['topics of a member', shown(limits.topicsPerGroupMax)],
    ['partitions of one fetch', shown(limits.fetchPartitionsMax)],
    ['messages of one `publish.each`', shown(limits.publishEachMessagesMax)],
    ['id of a message', `1 to ${limits.messageIdBytesMax}`],
    ['`deliverAtMs` ahead', `${limits.delayMsMax / 86_400_000} days`],
    ['name of a schedule', `${limits.scheduleMessageBytesMax / 1024} KiB`],
    ['page of', shown(limits.listPageMax)],
    ['time to say', `${limits.helloTimeoutMs / 1_000} s`],
    ['`waitMs` of a fetch', `${limits.fetchWaitMsMax / 1_000} s`],
    [
      'session timeout',
      `${limits.sessionTimeoutMsMin / 1_000} s to ${limits.sessionTimeoutMsMax / 60_000} min`,
    ],
  ] as const) {
    const row = document.split('\n').find((line) => line.startsWith(`| ${what}`)) ?? ''
    assert.ok(row.includes(limit), `${what}: expected ${limit} in "${row}"`)
  }
})

test('numbers are unique', () => {
  const numbers = Object.values(commands).map(({ number }) => number)
  assert.is(new Set(numbers).size, numbers.length)
  const errors = Object.values(errorTable).map(({ number }) => number)
  assert.is(new Set(errors).size, errors.length)
})

test.run()
