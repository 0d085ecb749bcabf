import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { openTestStore } from './fixtures.js'

const test = suite('storage/folder')

const refusal = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => assert.unreachable('it was not refused'),
    (error) => error,
  )

test('a second opening in the same process is refused, and allowed after the first has closed', async (context) => {
  const dir = join(await context.tempDir(), 'new', 'folder')
  const { store } = await openTestStore(context, { dir })
  const error = await refusal(openTestStore(context, { dir }))
  assert.ok(isMillraceError(error, 'FOLDER_IN_USE'))
  await store.close()
  await openTestStore(context, { dir })
})

test('the error names another process that uses the folder', async (context) => {
  const dir = await context.tempDir()
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  context.defer(async () => {
    child.stdin.end()
    await once(child, 'exit')
  })
  await writeFile(
    join(dir, 'LOCK'),
    JSON.stringify({ pid: child.pid, host: hostname(), startedAt: '2026-01-02T03:04:05Z' }),
  )
  const error = await refusal(openTestStore(context, { dir }))
  assert.ok(isMillraceError(error, 'FOLDER_IN_USE'))
  assert.match(
    (error as Error).message,
    `process ${child.pid} on ${hostname()}, started at 2026-01-02T03:04:05Z`,
  )
})

test('the lock of a dead process is taken over, also when its pid was given to another', async (context) => {
  for (const holder of [
    { pid: 2 ** 22 + 1, host: hostname(), startedAt: 'x' },
    { pid: process.ppid, host: hostname(), startedAt: 'x', startTicks: '1' },
  ]) {
    const dir = await context.tempDir()
    await writeFile(join(dir, 'LOCK'), JSON.stringify(holder))
    const { store } = await openTestStore(context, { dir })
    assert.is(JSON.parse(await readFile(join(dir, 'LOCK'), 'utf8')).pid, process.pid)
    await store.close()
    assert.not((await readdir(dir)).includes('LOCK'))
  }
})

test('a folder with other files is refused and not changed', async (context) => {
  const dir = await context.tempDir()
  await mkdir(join(dir, 'photos'))
  const error = await refusal(openTestStore(context, { dir }))
  assert.ok(isMillraceError(error, 'UNKNOWN_FORMAT'))
  assert.match((error as Error).message, 'it contains "photos" and no MILLRACE file')
  assert.equal(await readdir(dir), ['photos'])
})

test('a copy of a folder opens while the original is open', async (context) => {
  const dir = await context.tempDir()
  const { store } = await openTestStore(context, { dir })
  const copy = join(await context.tempDir(), 'copy')
  await mkdir(copy)
  // As of another process: the pid is alive, and the lock names the original.
  const holder = JSON.parse(await readFile(join(dir, 'LOCK'), 'utf8'))
  const lock = { ...holder, pid: process.ppid, startTicks: undefined }
  await writeFile(join(copy, 'LOCK'), JSON.stringify(lock))
  const copied = await openTestStore(context, { dir: copy })
  await copied.store.close()
  await store.close()
  await writeFile(join(dir, 'LOCK'), JSON.stringify(lock))
  assert.ok(isMillraceError(await refusal(openTestStore(context, { dir })), 'FOLDER_IN_USE'))
})

test('a folder with a newer format is refused and not changed', async (context) => {
  const dir = await context.tempDir()
  const marker = '{"format":"millrace","version":99}'
  await writeFile(join(dir, 'MILLRACE'), marker)
  const error = await refusal(openTestStore(context, { dir }))
  assert.ok(isMillraceError(error, 'UNKNOWN_FORMAT'))
  assert.match(
    (error as Error).message,
    'has format millrace 99, this version of Millrace supports millrace 2',
  )
  assert.equal(await readdir(dir), ['MILLRACE'])
  assert.is(await readFile(join(dir, 'MILLRACE'), 'utf8'), marker)
})

test('a low disk refuses appends with STORAGE_FULL, and reads continue', async (context) => {
  const dir = await context.tempDir()
  const before = await openTestStore(context, { dir })
  await before.store.commit([{ kind: 101, payload: Buffer.from('1') }])
  await before.store.close()
  const { store } = await openTestStore(context, { dir, freeBytesMin: Number.MAX_SAFE_INTEGER })
  const log = store.log(1)
  assert.ok(log)
  const error = await refusal(store.commit([{ log, batch: new Uint8Array(100) }]))
  assert.ok(isMillraceError(error, 'STORAGE_FULL'))
  assert.ok((error as { retryable: boolean }).retryable)
  assert.is(store.health.status, 'degraded')
  assert.equal(store.readTail({ log, offset: 0, bytesMax: 1 }), { chunks: [], bytes: 0 })
})

test.run()
