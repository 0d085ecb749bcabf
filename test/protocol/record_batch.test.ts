import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import {
  batchHeaderBytes,
  checkBatch,
  checkBatchForStorage,
  compressions,
  type ErrorCode,
  isMillraceError,
  limits,
  RecordBatchBuilder,
  RecordCursor,
  type RecordInput,
  readBatchHeader,
  readRecordHeaders,
  splitBatches,
  stampBaseOffset,
} from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/record_batch')

function build(...records: RecordInput[]): Buffer {
  const builder = new RecordBatchBuilder()
  for (const record of records) builder.append(record)
  return Buffer.from(builder.finish())
}

const one = (): Buffer => build({ key: 'k', value: 'v', timestamp: 1_000 })

/** Writes the checksum that fits the bytes. */
function seal(batch: Buffer): Buffer {
  batch.writeUInt32LE(crc32(batch.subarray(16)), 4)
  return batch
}

/** A sealed batch that claims `recordCount` records and holds these bytes as them. */
function batchOf(recordCount: number, records: readonly number[]): Buffer {
  const batch = Buffer.concat([one().subarray(0, batchHeaderBytes), Buffer.from(records)])
  batch.writeUInt32LE(batch.length, 0)
  batch.writeUInt32LE(recordCount, 20)
  batch.writeUInt32LE(records.length, 56)
  return seal(batch)
}

/** A sealed batch with a field of its header changed. */
function changed(change: (batch: Buffer) => unknown): Buffer {
  const batch = one()
  change(batch)
  return seal(batch)
}

function walk(batch: Uint8Array): void {
  const cursor = new RecordCursor(batch)
  while (cursor.next());
}

function refuses(work: () => unknown, code: ErrorCode, message: RegExp): void {
  assert.throws(work, (error: unknown) => {
    assert.ok(isMillraceError(error, code), String(error))
    assert.match((error as Error).message, message)
    return true
  })
}

const big = 2 ** 53

for (const [what, batch, message] of [
  ['no records', one().subarray(0, batchHeaderBytes), /it has 64 bytes, expected more than 64/],
  ['another size', one().subarray(0, -1), /batchBytes field is \d+, but it has \d+ bytes/],
  ['an unknown version', changed((b) => b.writeUInt8(2, 16)), /version 2 is unknown, expected 1/],
  ['unknown flags', changed((b) => b.writeUInt16LE(1, 18)), /flags 0x1 are unknown/],
  ['a count of zero', changed((b) => b.writeUInt32LE(0, 20)), /recordCount field is 0/],
  [
    'a count over the limit',
    changed((b) => b.writeUInt32LE(1_000_001, 20)),
    /recordCount field is 1000001, expected/,
  ],
  [
    'records over the limit',
    changed((b) => b.writeUInt32LE(0x7fff_ffff, 56)),
    /recordsBytes field is 2,147,483,647 bytes/,
  ],
  [
    'records of another size',
    changed((b) => b.writeUInt32LE(3, 56)),
    /recordsBytes field is 3, but its records have/,
  ],
  [
    'an unsafe timestamp',
    changed((b) => b.writeBigUInt64LE(BigInt(big), 24)),
    /firstTimestamp field is too large/,
  ],
  [
    'an unsafe producer',
    changed((b) => b.writeBigUInt64LE(BigInt(big), 40)),
    /producerId field is too large, expected less than 2\^53/,
  ],
  [
    'time running back',
    changed((b) => b.writeUInt32LE(999, 32)),
    /lastTimestamp is before its firstTimestamp/,
  ],
  [
    'a flipped bit',
    Buffer.from(one().map((byte, at) => (at === 69 ? byte ^ 1 : byte))),
    /its checksum field is 0x/,
  ],
] as const) {
  test(`refuses a header with ${what}`, () => {
    refuses(() => checkBatch(batch), 'BAD_BATCH', message)
    refuses(() => checkBatchForStorage(batch), 'BAD_BATCH', message)
  })
}

const long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
for (const [what, batch, message] of [
  [
    'more records than it claims',
    batchOf(1, [0, 0, 0, 0, 0, 0, 0, 0]),
    /4 bytes follow the last of 1 records/,
  ],
  ['fewer records than it claims', batchOf(2, [0, 0, 0, 0]), /record 1 continues past the end/],
  ['a key past the end', batchOf(1, [0, 9, 0, 0]), /record 0 continues past the end/],
  ['a value past the end', batchOf(1, [0, 0, 9, 0]), /record 0 continues past the end/],
  ['a header past the end', batchOf(1, [0, 0, 0, 1, 1, 65, 9]), /record 0 continues past the end/],
  ['too many headers', batchOf(1, [0, 0, 0, 0x81, 0x02, 0, 0]), /has 257 headers, expected at most 256/],
  ['a length that ends early', batchOf(1, [0, 0x80]), /record 0 continues past the end/],
  [
    'a length of nine bytes',
    batchOf(1, [0, ...long, 0, 0]),
    /a number of record \d+ is too large, expected less than 2\^53/,
  ],
] as const) {
  test(`refuses ${what}`, () => {
    refuses(() => walk(batch), 'BAD_BATCH', message)
    refuses(() => checkBatchForStorage(batch), 'BAD_BATCH', message)
  })
}

test('refuses a batch over the limit before it looks inside', () => {
  refuses(() => checkBatch(one(), 66), 'BATCH_TOO_LARGE', /has \d+ bytes, expected at most 66/)
})

test('refuses an unknown codec', () => {
  const batch = changed((bytes) => bytes.writeUInt8(9, 17))
  refuses(() => walk(batch), 'BAD_BATCH', /codec 9 is unknown, expected one of 0, 1, 2, 3/)
})

test('refuses lz4 that claims another size than the header, which would be allocated', () => {
  const builder = new RecordBatchBuilder()
  builder.append({ value: 'x'.repeat(10_000), timestamp: 0 })
  const batch = Buffer.from(builder.finish('lz4'))
  batch.writeUInt32LE(0xffff_fff0, batchHeaderBytes)
  refuses(() => walk(seal(batch)), 'BAD_BATCH', /lz4 size field is 4294967280, the batch header/)
})

test('does not compress if that makes a batch larger', () => {
  for (const codec of compressions) {
    const builder = new RecordBatchBuilder()
    builder.append({ value: 'abc', timestamp: 0 })
    assert.is(readBatchHeader(builder.finish(codec)).compression, 0)
  }
})

test('keeps every length of text, key and value, ASCII and not', () => {
  const records: RecordInput[] = []
  for (const letter of ['a', 'é', '水', '𐐷']) {
    for (const length of [0, 1, 15, 16, 31, 32, 33, 63, 64, 127, 128, 129, 16_383, 16_384]) {
      records.push({ key: letter.repeat(length), value: letter.repeat(length), timestamp: 5 })
    }
  }
  const cursor = new RecordCursor(build(...records))
  for (const { key, value } of records) {
    assert.ok(cursor.next())
    const text = (start: number, end: number) => Buffer.from(cursor.records.subarray(start, end)).toString()
    assert.is(text(cursor.keyStart, cursor.keyEnd), key)
    assert.is(text(cursor.valueStart, cursor.valueEnd), value)
  }
  assert.not(cursor.next())
})

test('keeps timestamps before and far after that of the first record', () => {
  const timestamps = [1_767_225_600_000, 0, 1_767_225_600_000 - 1, 4_000_000_000_000, 2 ** 51]
  const cursor = new RecordCursor(build(...timestamps.map((timestamp) => ({ value: null, timestamp }))))
  for (const timestamp of timestamps) {
    assert.ok(cursor.next())
    assert.is(cursor.timestamp, timestamp)
  }
  assert.is(cursor.header.lastTimestamp, 2 ** 51)
})

test('a record with too many headers is refused and leaves the batch as it was', () => {
  const builder = new RecordBatchBuilder()
  builder.append({ value: 'before', timestamp: 0 })
  const { bytes } = builder
  const headers = Object.fromEntries(Array.from({ length: 257 }, (_, n) => [`h${n}`, '']))
  refuses(
    () => builder.append({ value: 'x', headers, timestamp: 0 }),
    'LIMIT_EXCEEDED',
    /a record has 257 headers, expected at most 256/,
  )
  assert.is(builder.bytes, bytes)
  assert.is(builder.recordCount, 1)
  builder.append({ value: 'after', timestamp: 0 })
  walk(builder.finish())
})

test('a header that comes twice keeps its last value, and no name reaches a prototype', () => {
  const records = Buffer.from('\x01a\x01x\x01a\x01y\x09__proto__\x01z', 'latin1')
  const headers = readRecordHeaders(records, 0, 3)
  assert.is(Buffer.from(headers.a ?? []).toString(), 'y')
  assert.equal(Object.keys(headers), ['a', '__proto__'])
})

test('stamping an offset leaves the checksum valid', () => {
  const batch = one()
  stampBaseOffset(batch, 0, 123_456_789_012)
  assert.is(checkBatch(batch).baseOffset, 123_456_789_012)
  const cursor = new RecordCursor(batch)
  cursor.next()
  assert.is(cursor.offset, 123_456_789_012)
})

test('splits a sequence into its batches, and refuses an incomplete one', () => {
  const run = Buffer.concat([one(), one(), one()])
  assert.is(splitBatches(run).length, 3)
  assert.equal(splitBatches(new Uint8Array(0)), [])
  for (const rest of [1, 63, 64, one().length - 1]) {
    refuses(
      () => splitBatches(run.subarray(0, one().length + rest)),
      'BAD_BATCH',
      /a sequence of record batches is incomplete at byte/,
    )
  }
  const endless = Buffer.from(run)
  endless.writeUInt32LE(0, one().length)
  refuses(() => splitBatches(endless), 'BAD_BATCH', /is incomplete at byte/)
})

test('the limits leave room for a largest batch in a frame', () => {
  assert.ok(limits.batchBytesMax + limits.bodyBytesMax <= limits.frameBytesMax)
})

test.run()
