import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import {
  type Command,
  type Compression,
  commands,
  compressions,
  decodeBody,
  encodeFrame,
  FrameDecoder,
  frameFlags,
  RecordBatchBuilder,
  RecordCursor,
  type RecordInput,
  readErrorBody,
  readRecordHeaders,
} from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { goldenBodies } from './golden_cases.js'

/**
 * The bytes on the wire and on disk. A difference here breaks every existing client and data folder. To
 * record a new form: MILLRACE_TEST_RECORD=1 node dist/test/protocol/golden.test.js, and review the change.
 */
const file = new URL('../../../test/protocol/golden.json', import.meta.url)
const recording = process.env.MILLRACE_TEST_RECORD === '1'
const golden: Record<string, string> = JSON.parse(await readFile(file, 'utf8').catch(() => '{}'))

const test = suite('protocol/golden')

/** Compares with the recorded bytes, and returns those. */
function same(name: string, bytes: Uint8Array): Buffer {
  const hex = Buffer.from(bytes).toString('hex')
  if (recording) golden[name] = hex
  assert.is(hex, golden[name], name)
  return Buffer.from(golden[name] as string, 'hex')
}

for (const [name, command] of Object.entries(commands) as [
  keyof typeof commands,
  Command<unknown, unknown>,
][]) {
  test(`the frames of ${command.name}`, () => {
    const { request, reply } = goldenBodies[name]
    for (const [what, flags, body, shape] of [
      ['request', 0, request, command.request],
      ['reply', frameFlags.reply, reply, command.reply],
    ] as const) {
      const bytes = same(`${command.name} ${what}`, encodeFrame(command.number, flags, 0x01020304, body))
      const [frame] = new FrameDecoder().push(bytes)
      assert.is(frame?.command, command.number)
      assert.is(frame?.flags, flags)
      assert.is(frame?.correlation, 0x01020304)
      const read = shape.read(decodeBody(frame?.body ?? new Uint8Array(0)), '')
      assert.equal(JSON.parse(JSON.stringify(read)), padded(body, read))
    }
  })
}

/** Tuples get their optional ends, which JSON shows as null. */
function padded(value: unknown, like: unknown): unknown {
  if (Array.isArray(value) && Array.isArray(like))
    return like.map((item, at) => padded(value[at] ?? null, item) ?? null)
  if (typeof value !== 'object' || value === null || typeof like !== 'object' || like === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, padded(item, (like as Record<string, unknown>)[key])]),
  )
}

test('an error reply', () => {
  const flags = frameFlags.reply | frameFlags.error
  const bytes = same('error reply', encodeFrame(21, flags, 5, { error: 42, message: 'the disk is full' }))
  const [frame] = new FrameDecoder().push(bytes)
  const error = readErrorBody(decodeBody(frame?.body ?? new Uint8Array(0)))
  assert.is(error.code, 'STORAGE_FULL')
  assert.is(error.message, 'the disk is full')
  assert.ok(error.retryable)
})

test('a frame with a payload', () => {
  const payload = Buffer.from('payload')
  const head = encodeFrame(21, 0, 6, { batches: [[7, 0, payload.length]] }, payload.length)
  const [frame] = new FrameDecoder().push(same('frame with payload', Buffer.concat([head, payload])))
  assert.is(Buffer.from(frame?.payload ?? []).toString(), 'payload')
})

const records: RecordInput[] = [
  { key: 'user-7', value: 'hello', timestamp: 1_767_225_600_000 },
  {
    key: null,
    value: Uint8Array.of(0, 255),
    headers: { trace: 'abc', raw: Uint8Array.of(1) },
    timestamp: 1_767_225_600_250,
  },
  { key: Uint8Array.of(9), value: null, timestamp: 1_767_225_599_990 },
  { key: 'größer', value: 'repeat '.repeat(40), timestamp: 1_767_225_600_001 },
]

for (const compression of compressions) {
  test(`a record batch, compression ${compression}`, () => {
    const name = `batch ${compression}`
    const bytes =
      compression === 'none' || recording
        ? same(name, build(compression))
        : Buffer.from(golden[name] as string, 'hex')
    const cursor = new RecordCursor(bytes)
    assert.is(cursor.header.producerId, 4_294_967_298)
    assert.is(cursor.header.producerEpoch, 2)
    assert.is(cursor.header.baseSequence, 100)
    assert.is(cursor.header.lastTimestamp, 1_767_225_600_250)
    const read = []
    while (cursor.next()) {
      const part = (start: number, end: number) =>
        start < 0 ? null : Buffer.from(cursor.records.subarray(start, end))
      read.push({
        key: part(cursor.keyStart, cursor.keyEnd),
        value: part(cursor.valueStart, cursor.valueEnd),
        headers: Object.keys(readRecordHeaders(cursor.records, cursor.headersStart, cursor.headerCount)),
        timestamp: cursor.timestamp,
      })
    }
    const bytesOf = (part: Uint8Array | string | null | undefined) =>
      part === null || part === undefined ? null : Buffer.from(part)
    assert.equal(
      read,
      records.map(({ key, value, headers = {}, timestamp }) => ({
        key: bytesOf(key),
        value: bytesOf(value),
        headers: Object.keys(headers),
        timestamp,
      })),
    )
  })
}

function build(compression: Compression): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const record of records) builder.append(record)
  return builder.finish(compression, { producerId: 4_294_967_298, producerEpoch: 2, baseSequence: 100 })
}

if (recording) process.on('exit', () => writeFileSync(file, `${JSON.stringify(golden, undefined, 2)}\n`))

test.run()
