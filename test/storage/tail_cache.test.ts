import * as assert from 'uvu/assert'
import { encodeBlock } from '../../storage/block.js'
import { LogTail, TailCache } from '../../storage/tail_cache.js'
import { suite } from '../helpers/suite.js'
import { batchOf, batchOfBytes, createLogs, openTestStore } from './fixtures.js'

const test = suite('storage/tail_cache')

function blockOf(position: number, logId: number, firstOffset: number, valueBytes = 1_000) {
  const batch = batchOfBytes(new Uint8Array(valueBytes))
  const place = { position, previousLink: 0, indexInCommit: 0, blocksInCommit: 1 }
  const logs = [{ logId, firstOffset, batches: [batch], bytes: batch.length }]
  return { position, operations: [], ...encodeBlock(place, logs, []) }
}

const firsts = (tail: LogTail, offset: number, bytesMax = 100_000) =>
  tail.from(offset, bytesMax)?.map(({ firstOffset }) => firstOffset)

test('the oldest block leaves first, from the log that it belongs to', () => {
  const tails = [new LogTail(), new LogTail()]
  const cache = new TailCache(20_000, (id) => tails[id])
  for (let n = 0; n < 200; n++) cache.add(blockOf(n + 1, n % 2, Math.floor(n / 2)))
  assert.ok(cache.bytes <= 20_000)
  for (const tail of tails) {
    assert.is(firsts(tail, 80), undefined)
    assert.equal(firsts(tail, 97), [97, 98, 99])
    assert.equal(firsts(tail, 97, 1), [97], 'at least one')
  }
})

test('memory of blocks that are tiny is counted too', () => {
  const tail = new LogTail()
  const cache = new TailCache(100_000, () => tail)
  for (let n = 0; n < 1_000; n++) cache.add(blockOf(n + 1, 1, n, 10))
  assert.ok(cache.bytes <= 100_000)
  assert.is(firsts(tail, 800), undefined, 'blocks take more than their bytes')
  assert.is(firsts(tail, 950)?.length, 50)
})

test('evicted blocks are not held in memory', async () => {
  const tails = Array.from({ length: 20 }, () => new LogTail())
  const cache = new TailCache(300_000, (id) => tails[id])
  let freed = 0
  const registry = new FinalizationRegistry(() => freed++)
  for (let n = 0; n < 200; n++) {
    const block = blockOf(n + 1, n % 20, Math.floor(n / 20), 20_000)
    registry.register(block.bytes.buffer, n)
    cache.add(block)
  }
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let tries = 0; tries < 50 && freed < 180; tries++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(freed >= 180, `${freed} of 200 blocks were freed`)
})

test('a gap of lost records is never skipped', () => {
  const tail = new LogTail()
  const cache = new TailCache(100_000, () => tail)
  for (const [position, offset] of [
    [1, 0],
    [2, 1],
    [4, 3],
    [5, 4],
  ] as const)
    cache.add(blockOf(position, 1, offset))
  assert.equal(firsts(tail, 0), [0, 1])
  assert.is(firsts(tail, 2), undefined)
  assert.equal(firsts(tail, 3), [3, 4])
})

test('a removed log is not read from reused memory', async (context) => {
  const { store } = await openTestStore(context, { tailCacheBytes: 100_000 })
  const [gone, other] = await createLogs(store, 1, 2)
  await store.commit([{ log: gone, batch: batchOf('g'.repeat(50_000)) }])
  store.dropLog(gone.id)
  await store.checkpoint()
  await store.reclaim()
  for (let n = 0; n < 4; n++) await store.commit([{ log: other, batch: batchOf('o'.repeat(50_000)) }])
  const chunks = store.readTail({ log: gone, offset: 0, bytesMax: 100_000 })?.chunks ?? []
  assert.not.ok(Buffer.concat(chunks).includes('oooo'))
})

test.run()
