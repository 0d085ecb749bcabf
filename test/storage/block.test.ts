import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import {
  blockBytes,
  decodeBlock,
  decodeDamagedHead,
  encodeBlock,
  findLogBatches,
  type LogBatches,
  verifyBlock,
} from '../../storage/block.js'
import { suite } from '../helpers/suite.js'
import { batchOf } from './fixtures.js'

const test = suite('storage/block')

const logOf = (logId: number, firstOffset: number, ...batches: Uint8Array[]): LogBatches => ({
  logId,
  firstOffset,
  batches,
  bytes: batches.reduce((sum, batch) => sum + batch.length, 0),
})
const place = { position: 0x1_0000_0002, previousLink: 0xa1b2c3d4, indexInCommit: 1, blocksInCommit: 3 }
const operations = [
  { kind: 5, payload: Uint8Array.of(1, 2, 3) },
  { kind: 200, payload: new Uint8Array(0) },
]
const encoded = () => encodeBlock(place, [logOf(1, 0, batchOf('a')), logOf(7, 40, batchOf('b'))], operations)

test('a block of operations has these bytes', () => {
  const { bytes } = encodeBlock(place, [], operations)
  assert.is(
    bytes.toString('hex'),
    [
      '4d424b31', // "MBK1"
      '5921932b', // checksum
      '0200000001000000', // position
      'd4c3b2a1', // previousLink
      '00000000', // originalLink
      '0100', // indexInCommit
      '0300', // blocksInCommit
      '00000000', // directoryCount
      '02000000', // operationCount
      '0f1982e0', // headChecksum
      '0503000000010203', // operation 5
      'c800000000', // operation 200
    ].join(''),
  )
})

test('a directory entry has these bytes', () => {
  const batch = batchOf('a')
  const { bytes } = encodeBlock(place, [logOf(7, 0x2_0000_0003, batch)], [])
  const word = (value: number) => Buffer.from(Uint32Array.of(value).buffer).toString('hex')
  assert.is(
    bytes.subarray(40, 72).toString('hex'),
    [
      '07000000', // logId
      word(batch.length), // bytes
      '0300000002000000', // firstOffset
      'e803000000000000', // lastTimestamp 1000
      '01000000', // recordCount
      '48000000', // from 72
    ].join(''),
  )
})

test('written batches are read back, with base offsets stamped batch by batch', () => {
  const batches = [batchOf('a', 'b'), batchOf('c')]
  const logs = [logOf(3, 100, ...batches), logOf(4, 0, batchOf('d'))]
  const { bytes, link } = encodeBlock(place, logs, operations)
  assert.is(bytes.length, blockBytes(logs, operations))
  const block = decodeBlock(bytes, place.position)
  assert.is(block.link, link)
  assert.is(block.previousLink, place.previousLink)
  assert.equal([block.indexInCommit, block.blocksInCommit], [1, 3])
  assert.equal(
    block.operations.map(({ kind, payload }) => [kind, [...payload]]),
    [
      [5, [1, 2, 3]],
      [200, []],
    ],
  )
  assert.equal(
    block.directory.map(({ logId, firstOffset, recordCount }) => [logId, firstOffset, recordCount]),
    [
      [3, 100, 3],
      [4, 0, 1],
    ],
  )
  const run = findLogBatches(verifyBlock(bytes, place.position), place.position, 3)
  assert.is(run.length, batches[0]?.length && batches[1] && batches[0].length + batches[1].length)
  assert.is(run.readBigUInt64LE(8), 100n)
  assert.is(run.readBigUInt64LE((batches[0]?.length ?? 0) + 8), 102n)
  assert.is(Buffer.from(batches[0] ?? []).readBigUInt64LE(8), 0n, "the publisher's bytes are left alone")
})

test('a log without records in a block is not found in it', () => {
  const { bytes } = encoded()
  for (const id of [0, 2, 8])
    assert.throws(
      () => findLogBatches(verifyBlock(bytes, place.position), place.position, id),
      /contains no batches of partition log/,
    )
})

test('every flipped bit and every cut is noticed', () => {
  const { bytes } = encoded()
  for (let at = 0; at < bytes.length; at++) {
    for (const bit of [0x01, 0x80]) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (flipped[at] as number) ^ bit
      assert.throws(
        () => decodeBlock(flipped, place.position),
        (error: unknown) => isMillraceError(error, 'CORRUPT'),
        `byte ${at}`,
      )
    }
    assert.throws(() => decodeBlock(bytes.subarray(0, at), place.position))
  }
  assert.throws(() => decodeBlock(bytes, place.position + 1), /its position field is \d+/)
})

test('the directory of a damaged body is readable, and a damaged directory is not trusted', () => {
  const { bytes } = encoded()
  const bodyFrom = 40 + 2 * 32
  for (let at = 8; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (flipped[at] as number) ^ 0x11
    const head = decodeDamagedHead(flipped, place.position)
    if (at < bodyFrom) assert.is(head, undefined, `byte ${at}`)
    else
      assert.equal(
        head?.directory.map(({ logId }) => logId),
        [1, 7],
      )
  }
  assert.ok(decodeDamagedHead(bytes.subarray(0, bodyFrom), place.position), 'a cut in the body')
  assert.is(decodeDamagedHead(bytes.subarray(0, bodyFrom - 1), place.position), undefined)
  assert.is(decodeDamagedHead(new Uint8Array(0), place.position), undefined)
})

test('a head with one wrong bit is still read', () => {
  const { bytes, directory } = encoded()
  for (let bit = 8 * 8; bit < (40 + 2 * 32) * 8; bit++) {
    const flipped = Buffer.from(bytes)
    flipped[bit >>> 3] = (flipped[bit >>> 3] as number) ^ (1 << (bit & 7))
    assert.throws(() => decodeBlock(flipped, place.position), /damaged/, 'what it holds is not')
    assert.equal(decodeDamagedHead(flipped, place.position)?.directory, directory, `bit ${bit}`)
  }
})

test('the link depends on the head too, also without a directory', () => {
  const link = (position: number) => encodeBlock({ ...place, position }, [], operations).link
  assert.is.not(link(1), link(2))
})

test('a block that is rewritten keeps its link', () => {
  const { link, bytes } = encoded()
  const smaller = encodeBlock({ ...place, link }, [logOf(7, 40, batchOf('b'))], [])
  assert.ok(smaller.bytes.length < bytes.length)
  assert.is(decodeBlock(smaller.bytes, place.position).link, link)
})

test.run()
