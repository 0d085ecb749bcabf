import { appendFile, cp, mkdir, open, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { decodeEntries } from '../../storage/backup_entries.js'
import { type BackupPayload, readManifest } from '../../storage/backup_folder.js'
import type { BackupSource } from '../../storage/backup_source.js'
import {
  type BackupCursor,
  backupStart,
  encodeEntries,
  encodeTrims,
  opKinds,
  restoreBackup,
  verifyBackup,
  writeBackup,
} from '../../storage/index.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, batchOfBytes, createLogs, logOf, openTestStore, valuesOf } from './fixtures.js'

const test = suite('storage/backup')

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => assert.unreachable('it did not fail'),
    (error) => error,
  )

/** Runs `before` ahead of each chunk. */
async function* chunksOf(
  source: BackupSource,
  before: (index: number) => void | Promise<void> = () => {},
): AsyncGenerator<BackupPayload> {
  let cursor: BackupCursor = backupStart
  for (let index = 0; ; index++) {
    await before(index)
    const found = await source.read(cursor)
    if (found === undefined) return
    const { part, entries } = found.chunk
    const payload = encodeEntries(entries)
    yield { part, entries: entries.length, checksum: crc32(payload), payload }
    cursor = found.next
  }
}

const aboutOf = ({ position }: BackupSource) => ({ position, brokerVersion: '0' })

/** A store with 2 MB in one log, and a backup of it. */
async function backedUp(context: TestContext): Promise<{ backup: string }> {
  const { store } = await openTestStore(context, { dir: await context.tempDir() })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 20; n++) await store.commit([{ log, batch: batchOfBytes(new Uint8Array(100_000)) }])
  const backup = join(await context.tempDir(), 'backup')
  const source = await store.beginBackup()
  await writeBackup(backup, aboutOf(source), chunksOf(source))
  await source.close()
  return { backup }
}

test('a backup has all commits from before its start, and none from during it', async (context) => {
  const { store } = await openTestStore(context, { dir: await context.tempDir() })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 100; n++) await store.commit([{ log, batch: batchOf(`${n}`) }])
  await store.checkpoint()
  for (let n = 100; n < 200; n++) await store.commit([{ log, batch: batchOf(`${n}`) }])
  const source = await store.beginBackup()
  const backup = join(await context.tempDir(), 'backup')
  const chunks = chunksOf(source, async (index) => {
    await store.commit([{ log, batch: batchOf(`late-${index}`) }])
    await store.checkpoint()
  })
  await writeBackup(backup, aboutOf(source), chunks)
  await source.close()
  const data = join(await context.tempDir(), 'data')
  const { position } = await restoreBackup(backup, data)
  assert.is(position, source.position)
  const restored = await openTestStore(context, { dir: data })
  assert.is(restored.store.stats.journalPosition, position)
  assert.equal(
    await valuesOf(restored.store, logOf(restored.store, 1)),
    Array.from({ length: 200 }, (_, n) => `${n}=${n}`),
  )
  await restored.store.commit([{ log: logOf(restored.store, 1), batch: batchOf('next') }])
  assert.equal(restored.store.health, { status: 'ok', reasons: [] })
})

test('retention continues during a backup, and its space is freed afterwards', async (context) => {
  const { store } = await openTestStore(context, { dir: await context.tempDir(), tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 50; n++)
    await store.commit([{ log, batch: batchOfBytes(context.random(n).bytes(100_000)) }])
  const source = await store.beginBackup()
  const backup = join(await context.tempDir(), 'backup')
  const chunks = chunksOf(source, async (index) => {
    if (index !== 1) return
    await store.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims([[1, 50]]) }])
    await store.reclaim()
  })
  await writeBackup(backup, aboutOf(source), chunks)
  assert.ok((await store.diskBytes()) > 5_000_000)
  await source.close()
  // LevelDB deletes files in the background.
  await waitFor('the free space', async () => {
    await store.reclaim()
    return (await store.diskBytes()) < 1_000_000
  })
  const data = join(await context.tempDir(), 'data')
  await restoreBackup(backup, data)
  const restored = await openTestStore(context, { dir: data })
  assert.is((await valuesOf(restored.store, logOf(restored.store, 1))).length, 50)
})

test('a store makes one backup at a time, and a rejected or closing store ends it', async (context) => {
  const { store } = await openTestStore(context, { dir: await context.tempDir() })
  await createLogs(store, 1)
  const source = await store.beginBackup()
  assert.ok(isMillraceError(await failure(store.beginBackup()), 'BACKUP_RUNNING'))
  await source.close()
  const again = await store.beginBackup()
  await store.close()
  assert.ok(isMillraceError(await failure(again.read(backupStart)), 'UNKNOWN_BACKUP'))
})

test('a backup that fails leaves no files', async (context) => {
  const { store } = await openTestStore(context, { dir: await context.tempDir() })
  await createLogs(store, 1)
  const source = await store.beginBackup()
  const dir = await context.tempDir()
  const chunks = chunksOf(source, (index) => {
    if (index === 1) throw new Error('the broker is gone')
  })
  await failure(writeBackup(dir, aboutOf(source), chunks))
  assert.equal(await readdir(dir), [])
  async function* damaged(): AsyncGenerator<BackupPayload> {
    for await (const chunk of chunksOf(source)) yield { ...chunk, checksum: chunk.checksum ^ 1 }
  }
  assert.ok(isMillraceError(await failure(writeBackup(dir, aboutOf(source), damaged())), 'BAD_BACKUP'))
  assert.equal(await readdir(dir), [])
})

test('neither a backup nor a restore touches a folder that is not empty', async (context) => {
  const { backup } = await backedUp(context)
  async function* none(): AsyncGenerator<BackupPayload> {}
  for (const work of [
    (dir: string) => writeBackup(dir, { position: 1, brokerVersion: '0' }, none()),
    (dir: string) => restoreBackup(backup, dir),
  ]) {
    const dir = await context.tempDir()
    await writeFile(join(dir, 'notes'), 'mine')
    const error = await failure(work(dir))
    assert.ok(isMillraceError(error, 'BAD_OPTION'))
    assert.match(error.message, 'it contains "notes"')
    assert.equal(await readdir(dir), ['notes'])
  }
})

test('an incomplete or damaged backup is refused by name, and nothing is restored', async (context) => {
  const random = context.random()
  const flip = async (path: string): Promise<void> => {
    const file = await open(path, 'r+')
    const at = random.int(0, (await file.stat()).size - 1)
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    await file.write(Buffer.of(byte.readUInt8(0) ^ (1 << random.int(0, 7))), 0, 1, at)
    await file.close()
  }
  const damages: readonly (readonly [RegExp, (backup: string) => Promise<unknown>])[] = [
    [/the file BACKUP\.json is missing/, (backup) => rm(join(backup, 'BACKUP.json'))],
    [/BACKUP\.json is damaged/, (backup) => truncate(join(backup, 'BACKUP.json'), 20)],
    [/journal\.entries is missing/, (backup) => rm(join(backup, 'journal.entries'))],
    [/journal\.entries has .* bytes/, (backup) => truncate(join(backup, 'journal.entries'), 1_000)],
    [/state\.entries has .* bytes/, (backup) => appendFile(join(backup, 'state.entries'), 'x')],
    [/journal\.entries/, (backup) => flip(join(backup, 'journal.entries'))],
    [/state\.entries/, (backup) => flip(join(backup, 'state.entries'))],
  ]
  const { backup: intact } = await backedUp(context)
  for (const [message, damage] of damages) {
    const backup = join(await context.tempDir(), 'backup')
    await cp(intact, backup, { recursive: true })
    await damage(backup)
    const data = join(await context.tempDir(), 'data')
    for (const work of [() => verifyBackup(backup), () => restoreBackup(backup, data)]) {
      const error = await failure(work())
      assert.ok(isMillraceError(error, 'BAD_BACKUP'), String(error))
      assert.match(error.message, message)
    }
    assert.not((await readdir(join(data, '..'))).includes('data'))
  }
})

test('a broker refuses a folder with an interrupted restore', async (context) => {
  const { backup } = await backedUp(context)
  const data = await context.tempDir()
  await mkdir(join(data, 'restoring', 'shard-0'), { recursive: true })
  assert.ok(isMillraceError(await failure(openTestStore(context, { dir: data })), 'UNKNOWN_FORMAT'))
  assert.ok(isMillraceError(await failure(restoreBackup(backup, data)), 'BAD_OPTION'))
})

test('entries survive encoding, and incomplete ones are refused', async (context) => {
  const { backup } = await backedUp(context)
  assert.is((await readManifest(backup)).files.journal.entries, 21)
  const entries = [
    [Uint8Array.of(1), new Uint8Array(0)],
    [new Uint8Array(0), Uint8Array.of(2, 3)],
  ] as const
  const bytes = encodeEntries(entries)
  assert.equal(
    decodeEntries(bytes).map(([key, value]) => [[...key], [...value]]),
    [
      [[1], []],
      [[], [2, 3]],
    ],
  )
  for (let end = 1; end < bytes.length; end++) {
    if (end === 9) continue
    assert.throws(() => decodeEntries(bytes.subarray(0, end)), /an entry of the backup is incomplete/)
  }
})

test.run()
