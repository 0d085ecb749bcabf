import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as assert from 'uvu/assert'
import { type MessageData, MessageSource } from '../../bench/sdk/messages.js'
import { partitionOf } from '../../client/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/messages')

const take = async (data: MessageData, count: number) => {
  const source = await MessageSource.open(data)
  return Array.from({ length: count }, () => source.next())
}

test('gives values of the size, the same one or random ones that no codec makes smaller', async () => {
  const [first, second] = await take({ kind: 'repeated', messageBytes: 100 }, 2)
  assert.is(first?.value.length, 100)
  assert.equal(first?.value, second?.value)
  assert.is(first?.key, undefined)
  const random = await take({ kind: 'random', messageBytes: 1_000 }, 50)
  assert.is(new Set(random.map(({ value }) => value.toString('hex'))).size, 50)
  const bytes = Buffer.concat(random.map(({ value }) => value))
  assert.ok(gzipSync(bytes).length > bytes.length * 0.99)
})

test('gives the lines of a file one after the other, and from the beginning again', async ({ tempDir }) => {
  const sample = join(await tempDir(), 'lines.gz')
  await writeFile(sample, gzipSync('one\n\nthree\nfour'))
  const data = { kind: 'lines', messageBytes: 1, sample } as const
  const lines = (await take(data, 4)).map(({ value }) => value.toString())
  assert.equal(lines, ['one', 'three', 'four', 'one'])
  assert.is((await MessageSource.open(data)).bytesMean, 4)
  await writeFile(sample, gzipSync('\n'))
  try {
    await MessageSource.open(data)
    assert.unreachable()
  } catch (error) {
    assert.match(String(error), /no lines/)
  }
})

test('spreads keys evenly over the partitions, and never in their order', async () => {
  const partitions = 100
  const counts = new Map<number, number>()
  const messages = await take({ kind: 'repeated', messageBytes: 1, keys: 100_000 }, 50_000)
  for (const { key } of messages) {
    const partition = partitionOf(Buffer.from(key ?? ''), partitions)
    counts.set(partition, (counts.get(partition) ?? 0) + 1)
  }
  assert.is(counts.size, partitions)
  assert.ok(Math.max(...counts.values()) < (50_000 / partitions) * 1.5)
  const numbers = messages.slice(0, 100).map(({ key }) => Number(key?.slice('key-'.length)))
  const rises = numbers.filter((number, i) => number > (numbers[i - 1] ?? 0)).length
  assert.ok(rises > 20 && rises < 80, `${rises} of 100 keys rise`)
})

test.run()
