import * as assert from 'uvu/assert'
import {
  checkBody,
  decodeBody,
  encodeBody,
  encodeFrame,
  errorFields,
  errorOf,
  FrameDecoder,
  isMillraceError,
  limits,
  MillraceError,
} from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/frame')

function refuses(work: () => unknown, message: RegExp): void {
  assert.throws(work, (error: unknown) => {
    assert.ok(isMillraceError(error, 'BAD_FRAME'), String(error))
    assert.match((error as Error).message, message)
    return true
  })
}

test('refuses a body that continues past its frame', () => {
  const frame = encodeFrame(2, 0, 1, {})
  frame.writeUInt32LE(2, 12)
  refuses(() => new FrameDecoder().push(frame), /bodyBytes field is 2, expected at most 1$/)
})

test('refuses a body over its limit though the frame is large enough', () => {
  const frame = Buffer.alloc(limits.bodyBytesMax + 100)
  frame.writeUInt32LE(frame.length - 4, 0)
  frame.writeUInt32LE(limits.bodyBytesMax + 1, 12)
  refuses(() => new FrameDecoder().push(frame), /expected at most 4194304$/)
})

/** A decoder holds at most this many times the received bytes of a frame, or 4 KiB. */
const heldPerByteMax = 16

test('memory for a frame in pieces comes from outside, and the frame names it', () => {
  const given: Buffer[] = []
  const allocate = (bytes: number): Buffer => {
    given.push(Buffer.alloc(bytes))
    return given.at(-1) as Buffer
  }
  const decoder = new FrameDecoder(1_000_000, { allocate })
  const frame = encodeFrame(2, 0, 1, { text: 'x'.repeat(100_000) })
  decoder.push(frame.subarray(0, 3))
  decoder.push(frame.subarray(3, 20_000))
  const [got] = decoder.push(frame.subarray(20_000))
  assert.is(got?.memory, given.at(-1))
  assert.is(got?.memory?.length, frame.length)
  assert.is(new FrameDecoder().push(frame)[0]?.memory, undefined)
})

test('holds memory in proportion to the received part of a frame, and none once it is complete', () => {
  const decoder = new FrameDecoder()
  const frame = encodeFrame(2, 0, 1, { text: 'x'.repeat(5_000) })
  for (let at = 0; at < frame.length - 1; at++) {
    assert.equal(decoder.push(frame.subarray(at, at + 1)), [])
    assert.ok(
      decoder.bufferedBytes > at && decoder.bufferedBytes <= Math.max(heldPerByteMax * (at + 1), 4096),
    )
  }
  const [got] = decoder.push(frame.subarray(frame.length - 1))
  assert.equal(Buffer.from(got?.body ?? []), frame.subarray(16))
  assert.is(decoder.bufferedBytes, 0)
})

test('does not copy a frame that came in one piece', () => {
  const frame = encodeFrame(2, 0, 1, { a: 1 })
  const [got] = new FrameDecoder().push(frame)
  assert.is(got?.body.buffer, frame.buffer)
})

test('copies frames out of chunks that are reused', () => {
  const decoder = new FrameDecoder(1_000, { chunksAreReused: true })
  const frames = ['a', 'b'].map((text) => encodeFrame(2, 0, 1, { text }))
  const chunk = Buffer.concat(frames)
  const got = decoder.push(chunk)
  chunk.fill(0)
  assert.equal(
    got.map(({ body }) => decodeBody(body)),
    [{ text: 'a' }, { text: 'b' }],
  )
})

test('a larger limit applies to later frames', () => {
  const decoder = new FrameDecoder(100)
  const frame = encodeFrame(2, 0, 1, { text: 'x'.repeat(200) })
  refuses(() => decoder.push(frame), /expected at most 100 bytes/)
  const raised = new FrameDecoder(100)
  raised.frameBytesMax = 1_000
  assert.is(raised.push(frame).length, 1)
})

const uniqueKeys = (count: number, each: number): Uint8Array =>
  encodeBody(
    Array.from({ length: count / each }, (_, i) =>
      Object.fromEntries(
        Array.from({ length: each }, (_, k) => [`key-${i * each + k}`, [{ a: 'text' }, -5]]),
      ),
    ),
  )

test('refuses more different keys than the limit before it builds anything, in one map or in many', () => {
  for (const each of [1, 16, 4_096])
    refuses(() => checkBody(uniqueKeys(4_096, each)), /more than 1024 different keys/)
})

test('accepts many maps with the same keys of any form, and few keys of any kind', () => {
  const values = [1, -1, 70_000, 0.5, 'x'.repeat(300), Buffer.alloc(70_000), null, true, [1, [2]], { b: {} }]
  const maps = Array.from({ length: 500 }, (_, i) =>
    Object.fromEntries(
      Array.from({ length: 17 }, (_, k) => [`key-${k}`, values[(i * 17 + k) % values.length]]),
    ),
  )
  const some = maps.slice(0, 130)
  assert.equal(decodeBody(encodeBody({ some })), { some })
  assert.type(decodeBody(uniqueKeys(1_000, 1)), 'object')
})

const nested = (depth: number): Uint8Array => Uint8Array.from([...Array<number>(depth).fill(0x91), 0xc0])

test('accepts bodies nested up to the limit, and no deeper', () => {
  assert.type(decodeBody(nested(limits.bodyDepthMax)), 'object')
  refuses(() => decodeBody(nested(limits.bodyDepthMax + 1)), /nesting is deeper than 8 levels/)
})

for (const [what, bytes, message] of [
  ['ends early', [0x92, 1], /a larger count than the body has bytes/],
  ['ends inside a number', [0xcd, 1], /it is incomplete/],
  ['ends inside a text', [0xa5, 65], /it is incomplete/],
  ['ends inside a length', [0xda, 1], /it is incomplete/],
  ['claims missing items', [0xdd, 0, 0, 0, 9, 1, 1, 1], /a larger count/],
  ['claims missing entries', [0xdf, 0, 0, 0, 2, 0xa1, 65, 1], /a larger count/],
  ['has bytes after its value', [0xc0, 0xc0], /1 bytes follow its value/],
  ['has an extension', [0xd4, 0x72, 0x40], /type byte 0xd4 is not allowed/],
  ['is nothing', [], /it is incomplete/],
] as const) {
  test(`refuses a body that ${what}`, () => refuses(() => decodeBody(Uint8Array.from(bytes)), message))
}

test('a body does not reach a prototype', () => {
  const body = Buffer.from(encodeBody({ a__proto: { polluted: true } }))
  const at = body.indexOf('a__proto')
  body.write('__proto_', at)
  decodeBody(body)
  assert.is(({} as Record<string, unknown>).polluted, undefined)
})

test('errors are decoded with their code; other errors reveal no internals', () => {
  const sent = errorFields(new MillraceError('STORAGE_FULL', 'the disk is full'))
  const got = errorOf(sent)
  assert.ok(isMillraceError(got, 'STORAGE_FULL'))
  assert.is(got.message, 'the disk is full')
  const inside = errorFields(new TypeError('password is 1234'))
  assert.is(inside.error, 1)
  assert.not.match(inside.message, '1234')
  assert.is(errorOf({ error: 65_000, message: 'from the future' }).code, 'INTERNAL')
})

test.run()
