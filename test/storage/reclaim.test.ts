import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { encodeTrims, opKinds, type PartitionLog, retentionOffset, type Store } from '../../storage/index.js'
import { suite } from '../helpers/suite.js'
import {
  batchOf,
  batchOfBytes,
  createLogs,
  FaultyEngines,
  logOf,
  openTestStore,
  valuesOf,
} from './fixtures.js'

const test = suite('storage/reclaim')

const trim = (store: Store, log: PartitionLog, offset: number): Promise<void> =>
  store.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims([[log.id, offset]]) }])

/** Two rounds: garbage has to be in a checkpoint before it is swept. */
async function reclaimAll(store: Store): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await store.reclaim()
    await store.checkpoint()
  }
  await store.reclaim()
}

test('retention finds the offset by age and by bytes, in whole blocks', async (context) => {
  const { store } = await openTestStore(context)
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 200; n++)
    await store.commit([{ log, batch: batchOfBytes(new Uint8Array(100), 1_000 + n) }])
  assert.is(await retentionOffset(log, {}), 0)
  assert.is(await retentionOffset(log, { olderThanMs: 1_150 }), 150)
  assert.is(await retentionOffset(log, { olderThanMs: 5_000 }), 200)
  const batchBytes = log.liveBytes / 200
  assert.is(await retentionOffset(log, { bytesMax: batchBytes * 30 }), 170)
  assert.is(await retentionOffset(log, { bytesMax: 0 }), 200)
  assert.is(await retentionOffset(log, { bytesMax: batchBytes * 30, olderThanMs: 1_190 }), 190)
})

test('trimmed records are out of range at once, and their blocks are deleted', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 150; n++) await store.commit([{ log, batch: batchOf(`v${n}`) }])
  const liveBefore = log.liveBytes
  await trim(store, log, 100)
  const [gone] = await store.read([{ log, offset: 99, bytesMax: 100 }])
  assert.ok(isMillraceError(gone?.error, 'OFFSET_OUT_OF_RANGE'))
  const before = (await engines.entries('journal')).length
  await reclaimAll(store)
  assert.is(before - (await engines.entries('journal')).length, 102, 'also those of the control operations')
  assert.ok(log.liveBytes < liveBefore * 0.4)
  assert.equal((await valuesOf(store, log)).length, 50)
})

test('a shared block is rewritten without dropped records, and the chain after it is still valid', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [kept, minute] = await createLogs(store, 1, 2)
  for (let n = 0; n < 50; n++) {
    await store.commit([
      { log: kept, batch: batchOf(`k${n}`) },
      { log: minute, batch: batchOfBytes(new Uint8Array(5_000)) },
    ])
  }
  await trim(store, minute, 50)
  await reclaimAll(store)
  const bytes = (await engines.entries('journal')).reduce((sum, [, value]) => sum + value.length, 0)
  assert.ok(bytes < 50 * 300, `${bytes} bytes are left of 50 small batches`)
  assert.is((await valuesOf(store, kept)).length, 50)
  await store.close()
  const again = await openTestStore(context, { engines, tailCacheBytes: 0 })
  assert.is(again.store.health.status, 'ok')
  assert.is((await valuesOf(again.store, logOf(again.store, 1))).at(-1), '49=k49')
})

test('a part of a shared block of which some records live is kept whole when the block is rewritten', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [half, dead] = await createLogs(store, 1, 2)
  const values = Array.from({ length: 10 }, (_, index) => `v${index}`)
  await store.commit([
    { log: half, batch: batchOf(...values) },
    { log: dead, batch: batchOfBytes(new Uint8Array(5_000)) },
  ])
  await trim(store, half, 5)
  await trim(store, dead, 1)
  await reclaimAll(store)
  const bytes = (await engines.entries('journal')).reduce((sum, [, value]) => sum + value.length, 0)
  assert.ok(bytes < 4_000, `the block was not rewritten: ${bytes} bytes`)
  assert.equal(await valuesOf(store, half), ['5=v5', '6=v6', '7=v7', '8=v8', '9=v9'])
})

test('retention keeps records that are exactly as old as the limit', async (context) => {
  const { store } = await openTestStore(context)
  const [log] = await createLogs(store, 1)
  for (const timestamp of [1_000, 2_000]) {
    await store.commit([{ log, batch: batchOfBytes(new Uint8Array(100), timestamp) }])
  }
  assert.is(await retentionOffset(log, { olderThanMs: 1_000 }), 0)
  assert.is(await retentionOffset(log, { olderThanMs: 1_001 }), 1)
  assert.is(await retentionOffset(log, { olderThanMs: 2_000 }), 1)
})

test('a dropped log leaves nothing in either database', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 200; n++) await store.commit([{ log, batch: batchOf(`v${n}`) }])
  await store.checkpoint()
  store.dropLog(1)
  assert.is(store.log(1), undefined)
  await reclaimAll(store)
  await store.checkpoint()
  assert.is((await engines.entries('journal')).length, 0)
  assert.is((await engines.entries('state')).length, 1, 'only the checkpoint is left')
})

test('a crash at any write of a reclaim leaves every live record readable and the rest reclaimable', async (context) => {
  for (let crashAt = 1; crashAt <= 12; crashAt++) {
    const engines = new FaultyEngines()
    const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
    const [kept, minute] = await createLogs(store, 1, 2)
    for (let n = 0; n < 20; n++) {
      await store.commit([
        { log: kept, batch: batchOf(`k${n}`) },
        { log: minute, batch: batchOf(`m${n}`.repeat(50)) },
      ])
      if (n === 10) await store.checkpoint()
    }
    await trim(store, minute, 15)
    const image = new FaultyEngines()
    let writes = 0
    let imaged = false
    engines.beforeCommit = async () => {
      if (++writes !== crashAt) return
      imaged = true
      for (const name of ['journal', 'state'] as const) {
        for (const [key, value] of await engines.entries(name)) await image.put(name, key, value)
      }
    }
    await reclaimAll(store)
    if (!imaged) return assert.ok(crashAt > 3, 'a reclaim takes several writes')
    const again = await openTestStore(context, { engines: image, tailCacheBytes: 0 })
    const [keptAgain, minuteAgain] = [logOf(again.store, 1), logOf(again.store, 2)]
    for (let round = 0; round < 2; round++) {
      assert.is(again.store.health.status, 'ok', `crash before write ${crashAt}`)
      assert.is((await valuesOf(again.store, keptAgain)).length, 20)
      assert.is((await valuesOf(again.store, minuteAgain)).length, 5)
      await reclaimAll(again.store)
    }
    const dead = (await image.entries('journal')).filter(([, value]) => Buffer.from(value).includes('m3m3m3'))
    assert.is(dead.length, 0)
  }
})

test(
  'the data folder shrinks to 1.5 times the live data, when another log is kept forever',
  async (context) => {
    for (const valueBytes of [2_000, 50_000]) {
      const dir = await context.tempDir()
      const { store } = await openTestStore(context, { dir, tailCacheBytes: 0 })
      const [forever, minute] = await createLogs(store, 1, 2)
      const random = context.random()
      const total = 60_000_000
      const value = random.bytes(valueBytes)
      for (let bytes = 0; bytes < total; ) {
        const ops = []
        for (let n = 0; n < 8; n++) {
          for (const log of [forever, minute]) ops.push({ log, batch: batchOfBytes(value) })
          bytes += valueBytes * 2
        }
        await store.commit(ops)
      }
      await trim(store, minute, minute.endOffset)
      await reclaimAll(store)
      await store.reclaim()
      const live = store.stats.liveBytes
      const disk = await store.diskBytes()
      assert.ok(live > total * 0.45 && live < total * 0.6, `live ${live}`)
      assert.ok(disk <= live * 1.5, `values of ${valueBytes}: the folder has ${disk} bytes, ${live} live`)
      assert.is(store.health.status, 'ok')
      await store.close()
    }
  },
  { deadlineMs: 60_000 },
)

test.run()
