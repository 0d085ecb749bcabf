import { cpSync } from 'node:fs'
import fs, { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { isMillraceError, type MillraceError } from '../../protocol/index.js'
import { checkFolder, encodeTrims, opKinds, repairFolder } from '../../storage/index.js'
import { LevelEngine } from '../../storage/level_engine.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { batchOf, batchOfBytes, createLogs, logOf, openTestStore, TestViews, valuesOf } from './fixtures.js'

const test = suite('storage/missing_parts')

const settings = { journalSegmentBytes: 50_000, tailCacheBytes: 0 }
const oldMarker = '{"format":"millrace","version":2}\n'
const count = 15

/** A folder with one log whose journal is in several databases, closed. */
async function writtenFolder(
  context: TestContext,
): Promise<{ dir: string; shard: string; values: string[] }> {
  const dir = join(await context.tempDir(), 'data')
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < count; n++) await store.commit([{ log, batch: batchOfBytes(Buffer.alloc(10_000, n)) }])
  const values = await valuesOf(store, log)
  await store.close()
  return { dir, shard: join(dir, 'shard-0'), values }
}

const journalsIn = async (shard: string): Promise<string[]> =>
  (await readdir(shard)).filter((name) => name.startsWith('journal')).sort()

async function refusal(context: TestContext, dir: string): Promise<MillraceError> {
  const before = await readdir(dir, { recursive: true })
  const error = await openTestStore(context, { dir, ...settings }).then(
    () => assert.unreachable('the folder was not refused'),
    (error: MillraceError) => error,
  )
  assert.equal(await readdir(dir, { recursive: true }), before, 'nothing was changed')
  return error as MillraceError
}

async function assertWhole(context: TestContext, dir: string, values: readonly string[]): Promise<void> {
  const { store } = await openTestStore(context, { dir, ...settings })
  assert.equal(store.health.reasons, [])
  assert.equal(await valuesOf(store, logOf(store, 1)), values)
  await store.close()
}

test('the marker lists the databases of the folder', async (context) => {
  const { dir, shard } = await writtenFolder(context)
  const { holds } = JSON.parse(await readFile(join(dir, 'MILLRACE'), 'utf8'))
  const journals = await journalsIn(shard)
  assert.ok(journals.length > 2)
  assert.equal(holds, { 'shard-0': [...journals, 'state', 'state-copy'] })
})

test('a missing shard is refused, and starts once it is back', async (context) => {
  const { dir, shard, values } = await writtenFolder(context)
  await rename(shard, `${dir}-elsewhere`)
  const error = await refusal(context, dir)
  assert.ok(isMillraceError(error, 'CORRUPT'))
  assert.match(error.message, /shard-0 is missing in .*Mount it or copy it back, or restore/)
  assert.ok(isMillraceError(await repairFolder(dir).catch((error: unknown) => error), 'CORRUPT'))
  await rename(`${dir}-elsewhere`, shard)
  await assertWhole(context, dir, values)
})

test('a shard folder without files, like an unmounted volume, is refused', async (context) => {
  const { dir, shard, values } = await writtenFolder(context)
  await rename(shard, `${dir}-elsewhere`)
  await mkdir(shard)
  const error = await refusal(context, dir)
  assert.match(error.message, /journal, journal-\d+, .*state, state-copy are missing/)
  await rm(shard, { recursive: true })
  await rename(`${dir}-elsewhere`, shard)
  await assertWhole(context, dir, values)
})

for (const place of ['first', 'middle', 'newest'] as const) {
  for (const isEmpty of [false, true]) {
    const what = isEmpty ? 'without files' : 'that is missing'

    test(`the ${place} database of the journal ${what} is refused, and repair continues without it on request`, async (context) => {
      const { dir, shard, values } = await writtenFolder(context)
      const journals = await journalsIn(shard)
      const at = { first: 0, middle: 1, newest: journals.length - 1 }[place]
      const name = journals[at] as string
      await rename(join(shard, name), `${dir}-elsewhere`)
      if (isEmpty) await mkdir(join(shard, name))
      const error = await refusal(context, dir)
      assert.ok(isMillraceError(error, 'CORRUPT'))
      assert.match(
        error.message,
        new RegExp(`^${name} is missing in .*"millrace repair --data DIR --missing"`),
      )
      assert.equal(await checkFolder(dir), [
        { database: name, file: 'CURRENT', problem: 'the whole database is missing' },
      ])
      assert.ok(isMillraceError(await repairFolder(dir).catch((error: unknown) => error), 'CORRUPT'))

      await rm(join(shard, name), { recursive: true, force: true })
      cpSync(`${dir}-elsewhere`, join(shard, name), { recursive: true })
      await assertWhole(context, dir, values)

      await rm(join(shard, name), { recursive: true })
      assert.match((await repairFolder(dir, { missing: true })).join('\n'), `${name} is missing`)
      const { store } = await openTestStore(context, { dir, ...settings })
      const log = logOf(store, 1)
      const read: number[] = []
      for (let offset = 0; offset < count; offset++) {
        const [result] = await store.read([{ log, offset, bytesMax: 1 }])
        if (result?.error === undefined) read.push(offset)
        else assert.is(result.error.code, 'CORRUPT')
      }
      assert.ok(read.length > 0 && read.length < count, `${read}`)
      assert.is(store.health.status, 'degraded')
    })
  }
}

interface LostEnd {
  readonly dir: string
  readonly shard: string
  /** Offset after the last acknowledged message. */
  readonly acknowledged: number
  /** Position after the last acknowledged block. */
  readonly position: number
}

/** A folder whose newest databases of the journal are gone, with a state from before their blocks, as after a crash. */
async function folderWithoutEnd(context: TestContext, databases: number): Promise<LostEnd> {
  const dir = join(await context.tempDir(), 'data')
  const { store } = await openTestStore(context, { dir, ...settings })
  const [log] = await createLogs(store, 1)
  await store.checkpoint()
  for (let n = 0; n < count; n++) await store.commit([{ log, batch: batchOfBytes(Buffer.alloc(10_000, n)) }])
  const crashed = join(await context.tempDir(), 'data')
  cpSync(dir, crashed, { recursive: true })
  const position = store.stats.journalPosition
  await store.close()
  const shard = join(crashed, 'shard-0')
  for (const name of (await journalsIn(shard)).slice(-databases))
    await rm(join(shard, name), { recursive: true })
  return { dir: crashed, shard, acknowledged: count, position }
}

for (const databases of [1, 2, 100]) {
  const what = databases === 1 ? 'the newest database' : `the newest databases (${databases})`

  test(`without ${what} of the journal no offset or position is assigned again`, async (context) => {
    const { dir, acknowledged, position } = await folderWithoutEnd(context, databases)
    await repairFolder(dir, { missing: true })
    const views = new TestViews()
    const { store } = await openTestStore(context, { dir, ...settings }, views)
    assert.is(views.lostEnds, 1)
    assert.is(store.health.status, 'degraded')
    assert.match(store.health.reasons.join('\n'), /the journal may have lost its end from block \d+ on/)
    assert.ok(store.stats.journalPosition > position)
    // Without the first database the creation of the log can be in the state only.
    const log = logOf(store, 1)
    let offset = -1
    await store.commit([{ log, batch: batchOf('new') }], (_, base) => {
      offset = base
    })
    assert.ok(offset >= acknowledged, `${offset}`)
    await store.close()

    const again = new TestViews()
    const reopened = await openTestStore(context, { dir, ...settings }, again)
    assert.is(again.lostEnds, 0, 'offsets are skipped once')
    assert.match(
      reopened.store.health.reasons.join('\n'),
      /^partition log 1: offsets \d+ to \d+ are damaged or lost$/,
    )
    assert.is(logOf(reopened.store, 1).endOffset, offset + 1)
    assert.equal(await valuesOf(reopened.store, logOf(reopened.store, 1), offset), [`${offset}=new`])
  })
}

test('a blank database behind the missing one does not hide that the end is lost', async (context) => {
  const { dir, shard, position } = await folderWithoutEnd(context, 1)
  const blank = `journal-${String(position + 1).padStart(16, '0')}`
  await (await LevelEngine.open(join(shard, blank))).close()
  await repairFolder(dir, { missing: true })
  const { store } = await openTestStore(context, { dir, ...settings })
  assert.ok(logOf(store, 1).nextOffset >= count)
})

test('the marker says that the end is lost until an open has skipped it', async (context) => {
  const { dir } = await folderWithoutEnd(context, 1)
  const lostEnds = async () => JSON.parse(await readFile(join(dir, 'MILLRACE'), 'utf8')).lostEnds
  await repairFolder(dir, { missing: true })
  const [before] = Object.values((await lostEnds()) as Record<string, number>)
  assert.ok(before !== undefined && before > 1)
  await repairFolder(dir)
  assert.equal(await lostEnds(), { 'shard-0': before })
  const failing = new TestViews()
  failing.save = () => {
    throw new Error('cut short')
  }
  const failure = await openTestStore(context, { dir, ...settings }, failing).catch((error: Error) => error)
  assert.is(failure instanceof Error && failure.message, 'cut short')
  assert.equal(await lostEnds(), { 'shard-0': before })
  const { store } = await openTestStore(context, { dir, ...settings })
  assert.is(await lostEnds(), undefined)
  assert.ok(logOf(store, 1).nextOffset >= count)
})

test('with a lost marker, --missing treats the end as lost, because no list shows it', async (context) => {
  const { dir, acknowledged } = await folderWithoutEnd(context, 1)
  await rm(join(dir, 'MILLRACE'))
  await repairFolder(dir, { missing: true })
  const { store } = await openTestStore(context, { dir, ...settings })
  assert.is(store.health.status, 'degraded')
  assert.ok(logOf(store, 1).nextOffset >= acknowledged)
})

test('without the marker and the newest database, a repair refuses to take the rest for the whole', async (context) => {
  const { dir, shard, values } = await writtenFolder(context)
  const newest = join(shard, (await journalsIn(shard)).at(-1) as string)
  const aside = join(await context.tempDir(), 'newest')
  await rename(newest, aside)
  await rm(join(dir, 'MILLRACE'))
  await repairFolder(dir)
  for (let start = 0; start < 2; start++) {
    const error = await openTestStore(context, { dir, ...settings }).catch((reason: unknown) => reason)
    assert.ok(isMillraceError(error, 'CORRUPT'))
    assert.match(
      error.message,
      /the newest databases of the journal may be missing.*repair --data DIR --missing/,
    )
  }
  await rename(aside, newest)
  await assertWhole(context, dir, values)
})

test('a second repair gives up the newest database after a first one has written the marker anew', async (context) => {
  const { dir, shard } = await writtenFolder(context)
  await rm(join(shard, (await journalsIn(shard)).at(-1) as string), { recursive: true })
  await rm(join(dir, 'MILLRACE'))
  await repairFolder(dir)
  await repairFolder(dir, { missing: true })
  const { store, views } = await openTestStore(context, { dir, ...settings })
  assert.is(views.lostEnds, 1)
  assert.is(store.health.status, 'degraded')
  assert.ok(logOf(store, 1).nextOffset > count)
  await store.close()
  const again = new TestViews()
  await openTestStore(context, { dir, ...settings }, again)
  assert.is(again.lostEnds, 0)
})

test('a list that was made anew counts once a broker has started with it', async (context) => {
  const { dir, shard, values } = await writtenFolder(context)
  await rm(join(dir, 'MILLRACE'))
  await repairFolder(dir)
  await assertWhole(context, dir, values)
  await rm(join(shard, (await journalsIn(shard)).at(-1) as string), { recursive: true })
  assert.match((await refusal(context, dir)).message, /journal-\d+ is missing in/)
})

test('a database that is missing before others does not end the journal', async (context) => {
  const { dir, shard } = await writtenFolder(context)
  await rm(join(shard, (await journalsIn(shard))[1] as string), { recursive: true })
  await repairFolder(dir, { missing: true })
  const { store, views } = await openTestStore(context, { dir, ...settings })
  assert.is(views.lostEnds, 0)
  assert.is(logOf(store, 1).nextOffset, count)
})

test('one missing copy of the state is created from the other', async (context) => {
  for (const name of ['state', 'state-copy']) {
    const { dir, shard, values } = await writtenFolder(context)
    await rm(join(shard, name), { recursive: true })
    const { store } = await openTestStore(context, { dir, ...settings })
    assert.match(
      store.notices.join('\n'),
      `the database ${name} was missing; the broker created it again from its copy`,
    )
    await store.close()
    const other = name === 'state' ? 'state-copy' : 'state'
    await rm(join(shard, other), { recursive: true })
    await assertWhole(context, dir, values)
  }
})

test("a missing state is refused, with any marker, and repair can't restore it", async (context) => {
  for (const marker of [undefined, oldMarker]) {
    const { dir, shard } = await writtenFolder(context)
    for (const name of ['state', 'state-copy']) await rm(join(shard, name), { recursive: true })
    if (marker !== undefined) await writeFile(join(dir, 'MILLRACE'), marker)
    const error = await refusal(context, dir)
    assert.ok(isMillraceError(error, 'CORRUPT'))
    assert.match(error.message, /^state, state-copy are missing .*The broker can't rebuild the state/)
    const repaired = await repairFolder(dir, { missing: true }).catch((error: unknown) => error)
    assert.ok(isMillraceError(repaired, 'CORRUPT'))
  }
})

test('a folder of an older version gets a list, and is refused without its first journal or its state before that', async (context) => {
  const { dir, shard, values } = await writtenFolder(context)
  const listed = await readFile(join(dir, 'MILLRACE'), 'utf8')
  await writeFile(join(dir, 'MILLRACE'), oldMarker)
  await rename(join(shard, 'journal'), `${dir}-elsewhere`)
  assert.match((await refusal(context, dir)).message, /^journal is missing/)
  await rename(`${dir}-elsewhere`, join(shard, 'journal'))
  await assertWhole(context, dir, values)
  assert.is(await readFile(join(dir, 'MILLRACE'), 'utf8'), listed)
})

test('a missing marker is refused with a way out, and repair rewrites it', async (context) => {
  const { dir, values } = await writtenFolder(context)
  const text = await readFile(join(dir, 'MILLRACE'), 'utf8')
  await rm(join(dir, 'MILLRACE'))
  const error = await refusal(context, dir)
  assert.ok(isMillraceError(error, 'UNKNOWN_FORMAT'))
  assert.match(error.message, /it contains "shard-0" and no MILLRACE file; .*"millrace repair --data DIR"/)
  await repairFolder(dir)
  assert.equal(JSON.parse(await readFile(join(dir, 'MILLRACE'), 'utf8')).holds, JSON.parse(text).holds)
  await assertWhole(context, dir, values)
  assert.is(await readFile(join(dir, 'MILLRACE'), 'utf8'), text)
})

test('repair writes no marker for a shard without databases, like an unmounted volume', async (context) => {
  const { dir, shard, values } = await writtenFolder(context)
  await rm(join(dir, 'MILLRACE'))
  await rename(shard, `${dir}-elsewhere`)
  await mkdir(shard)
  for (const options of [{}, { marker: true, missing: true }]) {
    const error = await repairFolder(dir, options).catch((error: unknown) => error)
    assert.ok(isMillraceError(error, 'UNKNOWN_FORMAT'))
    assert.match(error.message, /shard-0 contains no database\. Nothing was changed/)
    assert.equal(await readdir(dir), ['shard-0'])
  }
  await rm(shard, { recursive: true })
  await rename(`${dir}-elsewhere`, shard)
  await repairFolder(dir)
  await assertWhole(context, dir, values)
})

test('a marker with a damaged list is refused as damaged', async (context) => {
  const { dir, values } = await writtenFolder(context)
  const marker = join(dir, 'MILLRACE')
  await writeFile(marker, (await readFile(marker, 'utf8')).replace('state-copy', 'state-copx'))
  assert.match((await refusal(context, dir)).message, /the marker .* is damaged/)
  await repairFolder(dir)
  await assertWhole(context, dir, values)
})

interface Copy {
  readonly dir: string
  readonly step: string
  /** Offsets that retention had left, and commits had written, for sure. */
  readonly acknowledged: { readonly from: number; readonly to: number }
}

/** Copies the folder before and after each change of it by this process, as a crash there leaves it. */
function copyAtEachStep(
  { defer }: TestContext,
  dir: string,
  target: string,
): { readonly copies: Copy[]; acknowledged: Copy['acknowledged'] } {
  const record = { copies: [] as Copy[], acknowledged: { from: 0, to: 0 } }
  const copy = (step: string): void => {
    const to = join(target, String(record.copies.length))
    for (;;) {
      try {
        cpSync(dir, to, { recursive: true })
        break
      } catch (error) {
        // LevelDB has removed a file while it was copied.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
    record.copies.push({ dir: to, step, acknowledged: record.acknowledged })
  }
  const originals = { mkdir: fs.mkdir, rename: fs.rename, rm: fs.rm, open: fs.open }
  for (const [name, original] of Object.entries(originals)) {
    const watched = async (path: string, ...rest: unknown[]): Promise<unknown> => {
      const isInside = String(path).startsWith(dir)
      if (isInside) copy(`before ${name} ${path}:`)
      try {
        return await (original as (...args: unknown[]) => Promise<unknown>)(path, ...rest)
      } finally {
        if (isInside && name !== 'open') copy(`after ${name} ${path}:`)
      }
    }
    Object.assign(fs, { [name]: watched })
  }
  syncBuiltinESMExports()
  defer(() => {
    Object.assign(fs, originals)
    syncBuiltinESMExports()
  })
  return record
}

test(
  'after a crash at any step of its creation a folder starts',
  async (context) => {
    const dir = await context.tempDir()
    const steps = copyAtEachStep(context, dir, await context.tempDir())
    const { store } = await openTestStore(context, { dir, ...settings })
    const copies = [...steps.copies]
    await store.close()
    assert.ok(copies.length > 20, `${copies.length}`)
    for (const copy of copies) {
      const again = await openTestStore(context, { dir: copy.dir, ...settings }).catch((error: Error) => {
        throw new Error(`${copy.step} ${error.message}`, { cause: error })
      })
      assert.equal(again.store.health.reasons, [], copy.step)
      await createLogs(again.store, 1)
      await again.store.close()
    }
  },
  { deadlineMs: 60_000 },
)

test(
  'after a crash at any step of creating or removing a journal database the folder starts with all data',
  async (context) => {
    const dir = await context.tempDir()
    const { store } = await openTestStore(context, { dir, ...settings })
    const [log] = await createLogs(store, 1)
    const steps = copyAtEachStep(context, dir, await context.tempDir())
    for (let n = 0; n < count; n++) {
      await store.commit([{ log, batch: batchOfBytes(Buffer.alloc(10_000, n)) }])
      steps.acknowledged = { from: 0, to: n + 1 }
    }
    await store.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims([[1, count - 1]]) }])
    steps.acknowledged = { from: count - 1, to: count }
    for (let rounds = 0; rounds < 3; rounds++) await store.reclaim()
    const copies = [...steps.copies]
    await store.close()
    assert.ok(copies.some(({ step }) => step.includes('removed-')))
    for (const copy of copies) {
      const again = await openTestStore(context, { dir: copy.dir, ...settings }).catch((error: Error) => {
        throw new Error(`${copy.step} ${error.message}`, { cause: error })
      })
      assert.equal(again.store.health.reasons, [], copy.step)
      const log = logOf(again.store, 1)
      const { from, to } = copy.acknowledged
      assert.ok(log.startOffset >= from && log.endOffset >= to, copy.step)
      assert.is((await valuesOf(again.store, log)).length, log.endOffset - log.startOffset, copy.step)
      await again.store.close()
    }
  },
  { deadlineMs: 60_000 },
)

test.run()
