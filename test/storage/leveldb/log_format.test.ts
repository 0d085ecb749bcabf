import * as assert from 'uvu/assert'
import { crc32c } from '../../../storage/leveldb/crc32c.js'
import { readLogFile, writeLogFile } from '../../../storage/leveldb/index.js'
import { forEachRecord } from '../../../storage/leveldb/log_format.js'
import { suite } from '../../helpers/suite.js'

const test = suite('storage/leveldb/log_format')

const record = (seed: number, bytes: number) => Buffer.alloc(bytes, `record ${seed} `)

test('computes CRC-32C as its test vectors say (RFC 3720, B.4)', () => {
  assert.is(crc32c(Buffer.from('123456789')), 0xe3069283)
  assert.is(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  assert.is(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
  assert.is(crc32c(Buffer.from('6789'), crc32c(Buffer.from('12345'))), 0xe3069283)
})

test('reads what it writes, over the ends of blocks', () => {
  // The third leaves less than a header of its block, the fourth spans several.
  const records = [record(1, 100), record(2, 0), record(3, 32 * 1024 - 130), record(4, 100_000), record(5, 7)]
  const read = readLogFile(writeLogFile(records))
  assert.is(read.tailBytes, 0)
  assert.equal(
    read.records.map(({ data, intact }) => [data.toString(), intact]),
    records.map((data) => [data.toString(), true]),
  )
})

test('any flipped bit before the last record is noticed, and every other record is read', (context) => {
  const random = context.random()
  const records = [record(1, 300), record(2, 40_000), record(3, 200), record(4, 100), record(5, 100)]
  const file = writeLogFile(records)
  const end = file.length - 107
  for (let round = 0; round < 500; round++) {
    const at = random.int(0, end - 1)
    const damaged = Buffer.from(file)
    damaged[at] = (damaged[at] as number) ^ (1 << random.int(0, 7))
    const read = readLogFile(damaged)
    const isNoticed = read.damagedHeaders || read.records.some((record) => !record.intact)
    assert.ok(isNoticed, `nobody noticed a flip at ${at}`)
    const intact = read.records.filter((record) => record.intact).map(({ data }) => data.toString())
    const missed = records.filter((data) => !intact.includes(data.toString()))
    assert.ok(missed.length <= 1, `a flip at ${at} cost ${missed.length} records`)
    assert.ok(
      missed.length === 0 || read.records.some((record) => !record.intact),
      `a flip at ${at} cost a record and nobody noticed`,
    )
    assert.ok(intact.every((text) => records.some((data) => data.toString() === text)))
  }
})

test('an incomplete or damaged last record is the tail', () => {
  const file = writeLogFile([record(1, 300), record(2, 40_000)])
  for (const cut of [file.length - 1, 40_000, 320, 309]) {
    const read = readLogFile(file.subarray(0, cut))
    assert.equal([read.records.length, read.tailBytes], [1, cut - 307], `cut at ${cut}`)
  }
  const damaged = Buffer.from(file)
  damaged[file.length - 1] = (damaged[file.length - 1] as number) ^ 1
  assert.equal([readLogFile(damaged).records.length, readLogFile(damaged).tailBytes], [1, file.length - 307])
})

test('records read one by one are the same as the written ones, up to the first difference', (context) => {
  const random = context.random()
  const records = [
    record(1, 300),
    record(2, 40_000),
    record(3, 32 * 1024 - 7_700),
    record(4, 0),
    record(5, 100),
  ]
  const file = writeLogFile(records)
  for (let round = 0; round < 300; round++) {
    const changed = Buffer.from(
      file.subarray(0, random.int(0, 1) === 0 ? file.length : random.int(0, file.length)),
    )
    const isFlipped = changed.length > 0 && random.int(0, 1) === 0
    const at = random.int(0, Math.max(0, changed.length - 1))
    if (isFlipped) changed[at] = (changed[at] as number) ^ (1 << random.int(0, 7))
    const handed: string[] = []
    const isWhole = forEachRecord(changed, (data) => handed.push(data.toString()))
    const read = readLogFile(changed)
    const isIntact =
      read.tailBytes === 0 && !read.damagedHeaders && read.records.every((record) => record.intact)
    assert.is(isWhole, isIntact, `${changed.length} of ${file.length} bytes, flipped at ${isFlipped && at}`)
    assert.equal(handed, records.slice(0, handed.length).map(String))
    if (isWhole) assert.is(handed.length, read.records.length)
  }
})

test.run()
