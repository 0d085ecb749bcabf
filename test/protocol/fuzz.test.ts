import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import {
  batchHeaderBytes,
  checkBatchForStorage,
  checkBody,
  commands,
  compressions,
  decodeBody,
  encodeBody,
  encodeFrame,
  FrameDecoder,
  isMillraceError,
  MillraceError,
  RecordBatchBuilder,
  RecordCursor,
  readRecordHeaders,
  splitBatches,
} from '../../protocol/index.js'
import { Random } from '../helpers/random.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('protocol/fuzz')

const fixedSeed = 20_260_101
/** Positions of these fields in the header of a batch. */
const compressionAt = 17
const recordsBytesAt = 56

/** Once with a fixed seed, once with a new one. */
function seeds({ random }: TestContext): Random[] {
  return [new Random(fixedSeed), random()]
}

/** Only MillraceErrors may come out, whatever the input. */
function survives(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
  }
}

function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  const mutated = Uint8Array.from(bytes)
  for (let n = random.int(1, 4); n > 0; n--) {
    mutated[random.int(0, mutated.length - 1)] = random.chance(0.5)
      ? random.int(0, 255)
      : random.pick([0, 1, 0x7f, 0x80, 0xff])
  }
  return random.chance(0.2) ? mutated.subarray(0, random.int(0, mutated.length)) : mutated
}

function randomBatch(random: Random): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (let n = random.int(1, 20); n > 0; n--) {
    builder.append({
      key: random.chance(0.3) ? null : random.bytes(random.int(0, 40)),
      value: random.chance(0.1) ? null : 'v'.repeat(random.int(0, 300)),
      headers: random.chance(0.3) ? { trace: random.bytes(8), name: 'text' } : undefined,
      timestamp: 1_700_000_000_000 + random.int(-1_000, 1_000),
    })
  }
  return builder.finish(random.pick(compressions), {
    producerId: random.int(0, 9),
    producerEpoch: 0,
    baseSequence: 7,
  })
}

/** Changes a batch like an attacker who can seal it: only the checks after the checksum are left. */
function mutateSealed(batch: Uint8Array, random: Random): Uint8Array {
  const inHeader = random.chance(0.3)
  const mutated = Buffer.from(batch)
  for (let n = random.int(1, 3); n > 0; n--) {
    const at = inHeader
      ? random.int(16, batchHeaderBytes - 1)
      : random.int(batchHeaderBytes, mutated.length - 1)
    mutated[at] = random.chance(0.5) ? random.int(0, 255) : random.pick([0, 1, 0x7f, 0x80, 0xff])
  }
  const cut = random.chance(0.2) ? mutated.subarray(0, random.int(batchHeaderBytes, mutated.length)) : mutated
  if (random.chance(0.5) && cut[compressionAt] === 0)
    cut.writeUInt32LE(cut.length - batchHeaderBytes, recordsBytesAt)
  return seal(cut)
}

/** Writes the size and checksum that fit the bytes of a batch. */
function seal(batch: Buffer): Buffer {
  batch.writeUInt32LE(batch.length, 0)
  batch.writeUInt32LE(crc32(batch.subarray(16)), 4)
  return batch
}

function walk(batch: Uint8Array): void {
  const cursor = new RecordCursor(batch)
  while (cursor.next())
    if (cursor.headerCount > 0) readRecordHeaders(cursor.records, cursor.headersStart, cursor.headerCount)
}

function randomValue(random: Random, depth = 0): unknown {
  const kind = random.int(0, depth < 5 ? 7 : 5)
  if (kind === 0) return null
  if (kind === 1) return random.chance(0.5)
  if (kind === 2) return random.int(-1_000, 1_000)
  if (kind === 3) return random.pick([2 ** 32, 2 ** 53 - 1, -(2 ** 40), 0.5])
  if (kind === 4) return 'text '.repeat(random.int(0, 60))
  if (kind === 5) return Buffer.from(random.bytes(random.int(0, 300)))
  if (kind === 6) return Array.from({ length: random.int(0, 20) }, () => randomValue(random, depth + 1))
  return Object.fromEntries(
    Array.from({ length: random.int(0, 20) }, (_, i) => [`k${i}`, randomValue(random, depth + 1)]),
  )
}

test('bodies are unchanged after a round trip', (context) => {
  for (const random of seeds(context)) {
    for (let n = 0; n < 2_000; n++) {
      const value = randomValue(random)
      assert.equal(decodeBody(encodeBody(value)), value)
    }
  }
})

test('mutated and random bodies produce an error or a value', (context) => {
  for (const random of seeds(context)) {
    for (let n = 0; n < 4_000; n++) {
      const bytes = random.chance(0.2)
        ? random.bytes(random.int(0, 200))
        : mutate(encodeBody(randomValue(random)), random)
      survives(() => {
        const value = decodeBody(bytes)
        for (const command of Object.values(commands)) survives(() => command.request.read(value, ''))
      })
    }
  }
})

test('deep, huge and foreign bodies are refused before they are decoded', () => {
  const deep = Buffer.alloc(100_000, 0x91)
  const claims = [
    [0xdd, 0xff, 0xff, 0xff, 0xff],
    [0xdf, 0xff, 0xff, 0xff, 0xff],
    [0xdb, 0xff, 0xff, 0xff, 0xff],
    [0xc6, 0xff, 0xff, 0xff, 0xff],
    [0xc7, 1, 1, 0],
    [0xd4, 0, 0],
    [0xc1],
    [],
    [1, 1],
  ]
  for (const body of [deep, ...claims.map((bytes) => Uint8Array.from(bytes))]) {
    assert.throws(
      () => checkBody(body),
      (error: unknown) => error instanceof MillraceError && error.code === 'BAD_FRAME',
    )
  }
})

test('batches are unchanged after a round trip, with every codec', (context) => {
  for (const random of seeds(context)) {
    for (let n = 0; n < 500; n++) {
      const batch = randomBatch(random)
      assert.is(checkBatchForStorage(batch).batchBytes, batch.length)
      walk(batch)
    }
  }
})

test('mutated batches are refused, or their checksum happens to match', (context) => {
  for (const random of seeds(context)) {
    const batches = Array.from({ length: 300 }, () => randomBatch(random))
    for (let n = 0; n < 5_000; n++) {
      const batch = mutate(random.pick(batches), random)
      survives(() => checkBatchForStorage(batch))
      survives(() => walk(batch))
      survives(() => splitBatches(batch))
    }
  }
})

test('mutated batches with a right checksum are refused or read, never out of bounds', (context) => {
  for (const random of seeds(context)) {
    let read = 0
    let refused = 0
    const batches = Array.from({ length: 300 }, () => randomBatch(random))
    for (let n = 0; n < 4_000; n++) {
      const batch = mutateSealed(random.pick(batches), random)
      survives(() => checkBatchForStorage(batch))
      try {
        walk(batch)
        read++
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error
        refused++
      }
    }
    assert.ok(read > 200 && refused > 200, `${read} were read, ${refused} refused: both have to be tried`)
  }
})

test('a batch with a wrong uncompressed size is refused, with every codec', () => {
  for (const codec of compressions.filter((name) => name !== 'none')) {
    const builder = new RecordBatchBuilder()
    builder.append({ value: Buffer.alloc(20 * 1024 * 1024), timestamp: 0 })
    const packed = Buffer.from(builder.finish(codec))
    assert.ok(packed.length < 1024 * 1024)
    for (const claimed of [0, 1_000, 20 * 1024 * 1024, 30 * 1024 * 1024, 0xffff_ffff]) {
      const batch = Buffer.from(packed)
      batch.writeUInt32LE(claimed, recordsBytesAt)
      if (codec === 'lz4') batch.writeUInt32LE(claimed, batchHeaderBytes)
      assert.throws(
        () => walk(seal(batch)),
        (error: unknown) => isMillraceError(error, 'BAD_BATCH'),
        `${codec}, ${claimed} bytes`,
      )
    }
  }
})

test('frames are decoded however the stream is split', (context) => {
  for (const random of seeds(context)) {
    const sent = Array.from({ length: 200 }, (_, n) => ({
      body: randomValue(random),
      payload: Buffer.from(random.bytes(random.int(0, 500))),
      n,
    }))
    const stream = Buffer.concat(
      sent.flatMap(({ body, payload, n }) => [encodeFrame(21, 0, n, body, payload.length), payload]),
    )
    for (const largest of [1, 3, 17, 1_000, stream.length]) {
      const decoder = new FrameDecoder()
      const got = []
      for (let at = 0; at < stream.length; ) {
        const end = Math.min(stream.length, at + random.int(1, largest))
        for (const frame of decoder.push(stream.subarray(at, end))) {
          got.push({
            body: decodeBody(frame.body),
            payload: Buffer.from(frame.payload),
            n: frame.correlation,
          })
        }
        at = end
      }
      assert.equal(got, sent)
      assert.is(decoder.bufferedBytes, 0)
    }
  }
})

test('a frame over the limit is refused by its length, before it has arrived', () => {
  const decoder = new FrameDecoder(1_000)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(1_001)
  assert.throws(() => decoder.push(length), /length field is 1,001 bytes, expected at most 1 kB/)
  const short = Buffer.alloc(4)
  short.writeUInt32LE(11)
  assert.throws(() => new FrameDecoder().push(short), /length field is 11, expected at least 12 bytes/)
})

test('mutated streams give frames or an error, and hold little more than was sent', (context) => {
  for (const random of seeds(context)) {
    for (let n = 0; n < 2_000; n++) {
      const frame = encodeFrame(random.int(0, 40), 0, n, randomValue(random), 10)
      const stream = mutate(Buffer.concat([frame, random.bytes(10)]), random)
      const decoder = new FrameDecoder(100_000)
      survives(() => decoder.push(stream))
      assert.ok(decoder.bufferedBytes <= Math.max(16 * stream.length, 4096))
    }
  }
})

test.run()
