import { randomBytes } from 'node:crypto'
import * as assert from 'uvu/assert'
import { type Death, deadLetter } from '../../../broker/queues/dead_letters.js'
import type { ReadRecord } from '../../../broker/queues/read_records.js'
import { RecordCursor, readRecordHeaders } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/queues/dead_letters')

const death: Death = {
  group: 'crew',
  reason: 'rejected',
  error: 'no',
  attempts: 1,
  atMs: 2_000,
  origin: { topic: 'tasks', partition: 0, offset: 7 },
}

function messageOf(value: Uint8Array): ReadRecord {
  const key = Buffer.from('key')
  return { offset: 7, timestamp: 1_000, firstTimestamp: 1_000, bytes: value, key, value, headers: undefined }
}

function readLetter(batch: Uint8Array): { value: Uint8Array | undefined; header(name: string): string } {
  const cursor = new RecordCursor(batch)
  assert.ok(cursor.next())
  const headers = readRecordHeaders(cursor.records, cursor.headersStart, cursor.headerCount)
  const value = cursor.valueStart < 0 ? undefined : cursor.view(cursor.valueStart, cursor.valueEnd)
  return { value, header: (name) => Buffer.from(headers[name] ?? []).toString() }
}

test('a letter that is too large is compressed', () => {
  const value = Buffer.alloc(100_000, 'a')
  const batch = deadLetter(messageOf(value), death, 50_000)
  assert.ok(batch.length <= 50_000)
  const letter = readLetter(batch)
  assert.equal(Buffer.from(letter.value ?? []), value)
  assert.is(letter.header('millrace-dead-cut'), '')
})

test('a letter that is too large even compressed has its origin and the size of the message', () => {
  const batch = deadLetter(messageOf(randomBytes(100_000)), death, 50_000)
  assert.ok(batch.length <= 50_000)
  const letter = readLetter(batch)
  assert.is(letter.value, undefined)
  assert.is(letter.header('millrace-dead-cut'), '100000')
  assert.is(letter.header('millrace-dead-offset'), '7')
})

test.run()
