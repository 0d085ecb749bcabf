import * as assert from 'uvu/assert'
import { murmur2, partitionOf } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/partitioner')

test("hashes as Kafka's clients do", () => {
  const vectors: [string, number][] = [
    ['21', -973_932_308],
    ['foobar', -790_332_482],
    ['a-little-bit-long-string', -985_981_536],
    ['a-little-bit-longer-string', -1_486_304_829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58_897_971],
    ['abc', 479_470_107],
  ]
  for (const [key, hash] of vectors) assert.is(murmur2(Buffer.from(key)) | 0, hash)
})

test('spreads keys evenly', () => {
  const counts = new Array<number>(16).fill(0)
  for (let n = 0; n < 16_000; n++) {
    const partition = partitionOf(Buffer.from(`key-${n}`), 16)
    counts[partition] = (counts[partition] as number) + 1
  }
  for (const count of counts) assert.ok(count > 850 && count < 1_150, `${count} of 1,000`)
})

test.run()
