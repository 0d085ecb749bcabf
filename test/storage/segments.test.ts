import { cp, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import {
  checkFolder,
  encodeTrims,
  opKinds,
  type PartitionLog,
  repairFolder,
  type Store,
} from '../../storage/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { batchOfBytes, createLogs, logOf, openTestStore, valuesOf } from './fixtures.js'

const test = suite('storage/segments on LevelDB')

const settings = { journalSegmentBytes: 200_000, tailCacheBytes: 0 }
const valueBytes = 10_000

const trim = (store: Store, log: PartitionLog, offset: number): Promise<void> =>
  store.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims([[log.id, offset]]) }])

async function fill(context: TestContext, store: Store, log: PartitionLog, count: number): Promise<void> {
  const random = context.random()
  for (let n = 0; n < count; n++) await store.commit([{ log, batch: batchOfBytes(random.bytes(valueBytes)) }])
}

const segmentsIn = async (dir: string): Promise<string[]> =>
  (await readdir(join(dir, 'shard-0'))).filter((name) => name.startsWith('journal')).sort()

test('a journal of several databases is read after it was opened again', async (context) => {
  const dir = await context.tempDir()
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log] = await createLogs(store, 1)
  await fill(context, store, log, 100)
  const values = await valuesOf(store, log)
  assert.is(values.length, 100)
  assert.is((await segmentsIn(dir)).length, 5)
  await store.close()
  for (let count = 100; count < 130; count += 10) {
    const { store: again } = await openTestStore(context, { dir, ...settings })
    const found = await valuesOf(again, logOf(again, 1))
    assert.is(found.length, count)
    assert.equal(found.slice(0, 100), values)
    assert.equal(again.health.reasons, [])
    await fill(context, again, logOf(again, 1), 10)
    await again.close()
  }
  assert.equal(await checkFolder(dir), [])
  assert.is((await segmentsIn(dir)).length, 7)
})

test('replay crosses from one database to the next', async (context) => {
  const dir = await context.tempDir()
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log] = await createLogs(store, 1)
  await fill(context, store, log, 70)
  const values = await valuesOf(store, log)
  // As a crash leaves it: no checkpoint was ever written.
  const crashed = await context.tempDir()
  await cp(dir, crashed, { recursive: true, filter: (path) => !path.endsWith('LOCK') })
  const { store: again } = await openTestStore(context, { dir: crashed, ...settings })
  assert.is(again.stats.checkpointPosition, 0)
  assert.equal(await valuesOf(again, logOf(again, 1)), values)
  assert.equal(again.health.reasons, [])
})

test('databases without live records are removed', async (context) => {
  const dir = await context.tempDir()
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log, kept] = await createLogs(store, 1, 2)
  await fill(context, store, log, 50)
  await store.commit([{ log: kept, batch: batchOfBytes(Buffer.from('kept')) }])
  await fill(context, store, log, 50)
  const before = await segmentsIn(dir)
  await trim(store, log, 95)
  await store.reclaim()
  await store.reclaim()
  const left = await segmentsIn(dir)
  const [first, second, withKept, fourth, ...rest] = before
  assert.equal(
    left.filter((name) => before.includes(name)),
    [first, withKept, ...rest],
    `of ${before}, without ${second} and ${fourth}`,
  )
  assert.equal(await valuesOf(store, kept), ['0=kept'])
  assert.is((await valuesOf(store, log)).length, 5)
  await store.close()
  const { store: again } = await openTestStore(context, { dir, ...settings })
  assert.equal(await valuesOf(again, logOf(again, 2)), ['0=kept'])
  assert.is((await valuesOf(again, logOf(again, 1))).length, 5)
  assert.equal(again.health.reasons, [])
})

test('files of a database whose creation or removal was killed are removed', (context) =>
  clearLeftovers(context, { LOG: '' }))

test('files of a database whose creation was interrupted by a power cut are removed', (context) =>
  clearLeftovers(context, {
    CURRENT: 'MANIFEST-000001\n',
    'MANIFEST-000001': '',
    '000003.log': Buffer.alloc(4096),
  }))

async function clearLeftovers(
  context: TestContext,
  leftBehind: Readonly<Record<string, string | Uint8Array>>,
): Promise<void> {
  const dir = await context.tempDir()
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log] = await createLogs(store, 1)
  await fill(context, store, log, 30)
  const values = await valuesOf(store, log)
  await store.close()
  const before = await segmentsIn(dir)
  const shard = join(dir, 'shard-0')
  const begun = join(shard, 'journal-0000000000000032')
  await mkdir(begun)
  for (const [name, text] of Object.entries(leftBehind)) await writeFile(join(begun, name), text)
  await mkdir(join(shard, 'removed-journal-0000000000000002'))
  await writeFile(join(shard, 'removed-journal-0000000000000002', '000005.ldb'), 'x')
  const { store: again } = await openTestStore(context, { dir, ...settings })
  assert.equal(await valuesOf(again, logOf(again, 1)), values)
  assert.equal(await segmentsIn(dir), before)
  assert.not((await readdir(shard)).some((name) => name.startsWith('removed-')))
  await fill(context, again, logOf(again, 1), 30)
  assert.is((await valuesOf(again, logOf(again, 1))).length, 60)
}

test('damage to the list of files of an older database is refused, and repair restores it', async (context) => {
  const dir = await context.tempDir()
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log] = await createLogs(store, 1)
  await fill(context, store, log, 50)
  const values = await valuesOf(store, log)
  await store.close()
  const [, second = ''] = await segmentsIn(dir)
  const folder = join(dir, 'shard-0', second)
  const manifest = (await readdir(folder)).find((name) => name.startsWith('MANIFEST')) ?? ''
  await writeFile(join(folder, manifest), Buffer.alloc(100, 1))
  const error = await openTestStore(context, { dir, ...settings }).catch((error: unknown) => error)
  assert.ok(isMillraceError(error, 'CORRUPT'))
  assert.match(error.message, second)
  assert.is((await checkFolder(dir))[0]?.database, second)
  await repairFolder(dir)
  const { store: again } = await openTestStore(context, { dir, ...settings })
  assert.equal(await valuesOf(again, logOf(again, 1)), values)
  assert.equal(again.health.reasons, [])
})

test.run()
