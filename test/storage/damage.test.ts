import { appendFile, cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { isMillraceError, type MillraceError } from '../../protocol/index.js'
import { checkFolder, repairFolder } from '../../storage/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { batchOf, createLogs, logOf, openTestStore, TestViews, valuesOf } from './fixtures.js'

const test = suite('storage/damage')

const values = Array.from({ length: 20 }, (_, n) => `value ${n} ${'x'.repeat(1_000)}`)
const served = values.map((value, offset) => `${offset}=${value}`)

/** Log 1 with twenty commits, closed twice so that both databases have tables. */
async function writtenFolder(context: TestContext): Promise<string> {
  const dir = await context.tempDir()
  for (const part of [values.slice(0, 10), values.slice(10)]) {
    const views = new TestViews()
    const { store } = await openTestStore(context, { dir }, views)
    const log = store.log(1) ?? (await createLogs(store, 1))[0]
    for (const value of part) await store.commit([{ log, batch: batchOf(value) }])
    await store.close()
  }
  return dir
}

/** Flips a bit in the only file of this folder whose name matches, or in all of them. */
async function flip(folder: string, pattern: RegExp, at: (bytes: Buffer) => number): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!pattern.test(name)) continue
    const bytes = await readFile(join(folder, name))
    if (bytes.length === 0) continue
    const place = at(bytes)
    bytes[place] = (bytes[place] as number) ^ 0x04
    await writeFile(join(folder, name), bytes)
  }
}

const middle = (bytes: Buffer): number => bytes.length >>> 1

test(
  'either copy of the state is replaced by the other, whatever file of it is damaged',
  async (context) => {
    const written = await writtenFolder(context)
    for (const name of ['state', 'state-copy']) {
      for (const pattern of [/\.ldb$/, /^MANIFEST/, /^CURRENT/]) {
        const dir = await context.tempDir()
        await cp(written, dir, { recursive: true })
        await flip(join(dir, 'shard-0', name), pattern, middle)
        const { store } = await openTestStore(context, { dir })
        assert.match(store.health.reasons.join('\n'), new RegExp(`the database ${name} was damaged`))
        assert.equal(await valuesOf(store, logOf(store, 1)), served)
        await store.close()
        const again = await openTestStore(context, { dir })
        assert.equal(again.store.health.reasons, [], `${name} ${pattern}: mended for good`)
        const kept = await readdir(join(dir, 'shard-0', 'damaged'))
        assert.ok(kept.length === 1 && kept[0]?.endsWith(name), 'the damaged one is kept')
        await again.store.close()
      }
    }
  },
  { deadlineMs: 30_000 },
)

test('a state from before there were copies gets one, and a copy that is behind is replaced', async (context) => {
  const dir = await writtenFolder(context)
  const shard = join(dir, 'shard-0')
  await rm(join(shard, 'state-copy'), { recursive: true })
  const { store } = await openTestStore(context, { dir })
  assert.equal(store.health.reasons, [])
  await store.close()
  await flip(join(shard, 'state'), /^CURRENT/, middle)
  const again = await openTestStore(context, { dir })
  assert.equal(await valuesOf(again.store, logOf(again.store, 1)), served)
})

test('both copies damaged: nothing is changed, and the error names the files', async (context) => {
  const dir = await writtenFolder(context)
  for (const name of ['state', 'state-copy']) await flip(join(dir, 'shard-0', name), /^CURRENT/, middle)
  const before = await readdir(join(dir, 'shard-0'))
  const error = await openTestStore(context, { dir }).catch((error: MillraceError) => error)
  assert.ok(isMillraceError(error, 'CORRUPT'))
  assert.match(error.message, /state\/CURRENT: .*state-copy\/CURRENT: /)
  assert.equal(await readdir(join(dir, 'shard-0')), before)
})

test('a damaged state without a copy is refused, not replaced by an empty one', async (context) => {
  const dir = await writtenFolder(context)
  const shard = join(dir, 'shard-0')
  await rm(join(shard, 'state-copy'), { recursive: true })
  await flip(join(shard, 'state'), /^CURRENT/, middle)
  const before = await readdir(shard)
  const error = await openTestStore(context, { dir }).catch((error: MillraceError) => error)
  assert.ok(isMillraceError(error, 'CORRUPT'))
  assert.match(error.message, /the only copy of the state .* is damaged: state\/CURRENT/)
  assert.equal(await readdir(shard), before)
})

test('an incomplete last write to each MANIFEST after a power cut is no damage', async (context) => {
  const written = await writtenFolder(context)
  // The existing part of a record of 60 bytes, and one of which the disk has only the length.
  const torn = Buffer.from('aabbccdd3c0001', 'hex')
  for (const end of [Buffer.concat([torn, Buffer.alloc(13, 7)]), Buffer.concat([torn, Buffer.alloc(60)])]) {
    const dir = await context.tempDir()
    await cp(written, dir, { recursive: true })
    for (const name of ['journal', 'state', 'state-copy']) {
      const folder = join(dir, 'shard-0', name)
      for (const file of await readdir(folder))
        if (file.startsWith('MANIFEST')) await appendFile(join(folder, file), end)
    }
    const { store } = await openTestStore(context, { dir })
    assert.equal(store.health.reasons, [])
    assert.is(store.notices.filter((text) => text.includes('MANIFEST')).length, 3)
    assert.equal(await valuesOf(store, logOf(store, 1)), served)
    await store.close()
    assert.equal(await checkFolder(dir), [])
  }
})

test('damage within the write-ahead file of the journal loses only the records that it hit', async (context) => {
  const dir = await writtenFolder(context)
  const inBatch = (bytes: Buffer): number => bytes.indexOf('MBK1', middle(bytes)) + 40 + 32 + 10
  await flip(join(dir, 'shard-0', 'journal'), /\.log$/, inBatch)
  for (const reasons of [2, 1]) {
    const { store } = await openTestStore(context, { dir, tailCacheBytes: 0 })
    const log = logOf(store, 1)
    const lost: number[] = []
    for (let offset = 0; offset < 20; offset++) {
      const [result] = await store.read([{ log, offset, bytesMax: 1 }])
      if (isMillraceError(result?.error, 'CORRUPT')) lost.push(offset)
      else assert.ok((result?.bytes ?? 0) > 0)
    }
    assert.is(lost.length, 1, `${lost}`)
    assert.is(
      store.health.reasons.length,
      reasons,
      'the damage stays known; that the file was mended does not',
    )
    assert.is(store.health.reasons.at(-1), `partition log 1: offsets ${lost} to ${lost} are damaged or lost`)
    await store.close()
  }
})

test('a length in the MANIFEST of the journal that is damaged is repaired; LevelDB would treat it as the end', async (context) => {
  const dir = await writtenFolder(context)
  const folder = join(dir, 'shard-0', 'journal')
  // The length of the first record: its checksum finds the next one.
  await flip(folder, /^MANIFEST/, () => 5)
  const { store } = await openTestStore(context, { dir })
  assert.match(
    store.health.reasons.join('\n'),
    /MANIFEST-\d+ was damaged, and the broker rewrote it without loss/,
  )
  assert.equal(await valuesOf(store, logOf(store, 1)), served)
})

test('a damaged MANIFEST of the journal is refused, and repair restores the folder', async (context) => {
  const dir = await writtenFolder(context)
  await flip(join(dir, 'shard-0', 'journal'), /^MANIFEST/, () => 12)
  const error = await openTestStore(context, { dir }).catch((error: MillraceError) => error)
  assert.ok(isMillraceError(error, 'CORRUPT'))
  assert.match(error.message, /MANIFEST-\d+: its record at byte 0 is damaged.*millrace repair/)
  const [problem] = await checkFolder(dir)
  assert.match(`${problem?.database}/${problem?.file}`, /^journal\/MANIFEST-/)
  const done = await repairFolder(dir)
  assert.match(done.join('\n'), /kept a copy of journal\/MANIFEST-\d+/)
  const { store } = await openTestStore(context, { dir })
  assert.equal(await valuesOf(store, logOf(store, 1)), served)
  await store.close()
  assert.equal(await checkFolder(dir), [])
  assert.equal(await repairFolder(dir), [], 'what is well is left alone')
})

test('a damaged marker is refused, and repair rewrites it; another version only on request', async (context) => {
  const dir = await writtenFolder(context)
  const marker = join(dir, 'MILLRACE')
  const text = await readFile(marker, 'utf8')
  await writeFile(marker, text.replace('format', 'fOrmat'))
  const error = await openTestStore(context, { dir }).catch((error: MillraceError) => error)
  assert.match((error as MillraceError).message, /is damaged, or another program wrote it.*millrace repair/)
  assert.equal(await repairFolder(dir), ['rewrote the marker'])
  // The next start verifies the new list and then writes the same marker as before.
  const restart = async () => (await openTestStore(context, { dir })).store.close()
  await restart()
  assert.is(await readFile(marker, 'utf8'), text)
  await writeFile(marker, text.replace('2', '3'))
  const refusal = await repairFolder(dir).catch((error: MillraceError) => error)
  assert.ok(isMillraceError(refusal, 'UNKNOWN_FORMAT'))
  await repairFolder(dir, { marker: true })
  await restart()
  assert.is(await readFile(marker, 'utf8'), text)
})

test.run()
