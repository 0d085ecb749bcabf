import * as assert from 'uvu/assert'
import type { Engine, EngineFactory } from '../../storage/index.js'
import { suite } from '../helpers/suite.js'
import { batchOf, batchOfBytes, createLogs, FaultyEngines, openTestStore, valuesOf } from './fixtures.js'

const test = suite('storage/log_reader')

/** Engines that count what is read of the journal. */
function countingEngines() {
  const inner = new FaultyEngines()
  const counts = { requests: 0, blocks: 0, blocksAtOnceMax: 0 }
  const engines: EngineFactory = {
    open: async (name) => {
      const engine = await inner.open(name)
      const getMany: Engine['getMany'] = (keys) => {
        if (name === 'journal') {
          counts.requests++
          counts.blocks += keys.length
          counts.blocksAtOnceMax = Math.max(counts.blocksAtOnceMax, keys.length)
        }
        return engine.getMany(keys)
      }
      return { ...engine, getMany }
    },
  }
  return { engines, counts }
}

test('several logs that share blocks are read with one request, each block once', async (context) => {
  const { engines, counts } = countingEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const logs = await createLogs(store, 1, 2, 3)
  for (let n = 0; n < 10; n++) await store.commit(logs.map((log) => ({ log, batch: batchOf(`${n}`) })))
  const results = await store.read(logs.map((log) => ({ log, offset: 0, bytesMax: 100_000 })))
  for (const { chunks } of results) assert.is(chunks.length, 10)
  assert.equal(counts, { requests: 1, blocks: 10, blocksAtOnceMax: 10 })
})

test('small parts of many shared blocks are read in limited steps, without keeping the blocks in memory', async (context) => {
  const { engines, counts } = countingEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [small, large] = await createLogs(store, 1, 2)
  for (let n = 0; n < 400; n++) {
    await store.commit([
      { log: small, batch: batchOf(`${n}`) },
      { log: large, batch: batchOfBytes(new Uint8Array(30_000)) },
    ])
  }
  const [result] = await store.read([{ log: small, offset: 0, bytesMax: 1_000_000 }])
  assert.ok(counts.blocksAtOnceMax <= 64)
  assert.ok(counts.blocks < 300, 'a read ends before it has read the whole journal')
  const buffers = new Set((result?.chunks ?? []).map((chunk) => chunk.buffer))
  const bytesHeld = [...buffers].reduce((sum, buffer) => sum + buffer.byteLength, 0)
  assert.ok(bytesHeld < 200_000, `${bytesHeld} bytes are held by ${result?.bytes} bytes of batches`)
  assert.is((await valuesOf(store, small)).length, 400, 'and the next read continues')
})

test('one call reads many small blocks of a log', async (context) => {
  const { engines } = countingEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 700; n++) await store.commit([{ log, batch: batchOf(`${n}`) }])
  const [result] = await store.read([{ log, offset: 0, bytesMax: 1_000_000 }])
  assert.is(result?.chunks.length, 700)
})

test('reads begin at the batch that holds the offset, from memory as from the journal', async (context) => {
  for (const tailCacheBytes of [0, 1 << 20]) {
    const { store } = await openTestStore(context, { tailCacheBytes })
    const [log] = await createLogs(store, 1)
    await Promise.all(['ab', 'cde', 'f'].map((text) => store.commit([{ log, batch: batchOf(...text) }])))
    const first = async (offset: number) => {
      const [result] = await store.read([{ log, offset, bytesMax: 1 }])
      return Number(Buffer.from(result?.chunks[0] ?? []).readBigUInt64LE(8))
    }
    assert.equal(await Promise.all([0, 1, 2, 3, 4, 5].map(first)), [0, 0, 2, 2, 2, 5])
    assert.equal(await valuesOf(store, log, 3), ['3=d', '4=e', '5=f'])
  }
})

test.run()
