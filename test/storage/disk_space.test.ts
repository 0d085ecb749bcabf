import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import type { OpKind } from '../../storage/index.js'
import { diskEffectOf, opKinds } from '../../storage/ops.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, createKind, createLogs, FaultyEngines, openTestStore } from './fixtures.js'

const test = suite('storage/disk_space')

const kinds = Object.values(opKinds).filter((kind) => kind !== opKinds.logsTrimmed)
const outcome = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'accepted',
    (error) => error.code,
  )

function outOfSpace(): Error {
  const cause = new Error('IO error: /data/shard-0/journal/000005.log: No space left on device')
  return Object.assign(new Error('batch failed', { cause }), { code: 'LEVEL_IO_ERROR' })
}

/** A store in a folder that has the reserve, over engines that a test can make fail. */
async function storeWithReserve(context: TestContext, diskWatchIntervalMs: number) {
  const dir = await context.tempDir()
  const reserve = join(dir, 'RESERVE')
  const before = await openTestStore(context, { dir, reserveBytes: 100_000, diskWatchIntervalMs: 1 })
  await waitFor('the reserve to be made', () => existsSync(reserve))
  await before.store.close()
  const engines = new FaultyEngines()
  const options = { dir, engines, reserveBytes: 100_000, diskWatchIntervalMs, reopenDelayMs: 1 }
  const { store } = await openTestStore(context, options)
  return { store, engines, reserve }
}

async function runOutOfSpace({
  store,
  engines,
}: Awaited<ReturnType<typeof storeWithReserve>>): Promise<void> {
  const serving = new Promise<void>((resolve) => {
    store.events.on('health', ({ status }) => status !== 'failed' && resolve())
  })
  engines.beforeCommit = () => {
    engines.beforeCommit = () => {}
    throw outOfSpace()
  }
  assert.is(await outcome(store.commit([{ kind: createKind, payload: Buffer.from('9') }])), 'STORAGE_FAILED')
  await serving
}

test('a low disk refuses every kind of operation that adds data, whatever else is in the commit', async (context) => {
  const dir = await context.tempDir()
  const before = await openTestStore(context, { dir })
  await createLogs(before.store, 1)
  await before.store.close()
  const { store } = await openTestStore(context, { dir, freeBytesMin: Number.MAX_SAFE_INTEGER })
  const log = store.log(1)
  assert.ok(log)
  const refused: OpKind[] = []
  for (const kind of kinds) {
    const result = await outcome(store.commit([{ kind, payload: Buffer.alloc(0) }]))
    if (result === 'STORAGE_FULL') refused.push(kind)
    else assert.is(result, 'accepted')
  }
  const { topicCreated, queueConfigured, queueSubscribed, messagesDelayed, scheduleSet, messageIds } = opKinds
  const grows = [topicCreated, queueConfigured, queueSubscribed, messagesDelayed, scheduleSet, messageIds]
  assert.equal(
    refused.sort((a, b) => a - b),
    [...grows].sort((a, b) => a - b),
  )
  const transaction = { kind: opKinds.transaction, payload: Buffer.alloc(0) }
  assert.is(await outcome(store.commit([transaction, { log, batch: batchOf('x') }])), 'STORAGE_FULL')
  const delayed = { kind: opKinds.messagesDelayed, payload: Buffer.alloc(0) }
  assert.is(await outcome(store.commit([transaction, delayed])), 'STORAGE_FULL')
})

test('an operation of an unknown kind grows the disk', () => {
  assert.is(diskEffectOf(250), 'grows')
})

test('on a full disk the store removes the reserve and accepts only operations that free space', async (context) => {
  const full = await storeWithReserve(context, 3_600_000)
  const { store, reserve } = full
  assert.is(existsSync(reserve), true)
  await runOutOfSpace(full)
  assert.is(statSync(reserve).size, 0)
  assert.is(store.health.status, 'degraded')
  assert.match(store.health.reasons.join(), /the disk is full/)
  const accepted: number[] = []
  for (const kind of kinds)
    if ((await outcome(store.commit([{ kind, payload: Buffer.alloc(0) }]))) === 'accepted')
      accepted.push(kind)
  const frees = kinds.filter((kind) => diskEffectOf(kind) === 'frees')
  assert.equal(accepted, frees)
  for (const kind of [opKinds.topicAltered, opKinds.topicDeleted, opKinds.queueDeleted])
    assert.ok(accepted.includes(kind), `${kind}`)
})

test('a store that starts again on a full disk still leaves the space of the reserve alone', async (context) => {
  const full = await storeWithReserve(context, 3_600_000)
  await runOutOfSpace(full)
  await full.store.close()
  const dir = dirname(full.reserve)
  const { store } = await openTestStore(context, {
    dir,
    reserveBytes: 100_000,
    diskWatchIntervalMs: 3_600_000,
    freeBytesMin: 1,
  })
  assert.match(store.health.reasons.join(), /the disk is full/)
  const delayed = { kind: opKinds.messagesDelayed, payload: Buffer.alloc(0) }
  assert.is(await outcome(store.commit([delayed])), 'STORAGE_FULL')
})

test('the store restores the reserve when space is free, and accepts all operations again', async (context) => {
  const full = await storeWithReserve(context, 1)
  await runOutOfSpace(full)
  await waitFor('the store to be well', () => full.store.health.status === 'ok')
  assert.is(statSync(full.reserve).size, 100_000)
  await createLogs(full.store, 1)
})

test('a rejected write for another reason leaves the reserve alone', async (context) => {
  const { store, engines, reserve } = await storeWithReserve(context, 3_600_000)
  const serving = new Promise<void>((resolve) => {
    store.events.on('health', ({ status }) => status === 'ok' && resolve())
  })
  engines.beforeCommit = () => {
    engines.beforeCommit = () => {}
    throw new Error('input/output error')
  }
  assert.is(await outcome(store.commit([{ kind: createKind, payload: Buffer.from('9') }])), 'STORAGE_FAILED')
  await serving
  assert.is(existsSync(reserve), true)
  await createLogs(store, 1)
})

test.run()
