import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import type { Engine, EngineFactory, Store } from '../../storage/index.js'
import { levelEngines } from '../../storage/level_folder.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOf, createLogs, FaultyEngines, noteKind, openTestStore, valuesOf } from './fixtures.js'

const test = suite('storage/failures')

const servingAgain = (store: Store): Promise<void> =>
  new Promise((resolve) => {
    store.events.on('health', ({ status }) => status === 'ok' && resolve())
  })

const outcome = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error) => error.code,
  )

const note = (text: string) => [{ kind: noteKind, payload: Buffer.from(text) }]

/** A promise that the test resolves or rejects. */
function gate() {
  let open = () => {}
  let fail = (_error: Error) => {}
  const passed = new Promise<void>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  return { passed, open, fail }
}

test('a commit that is on its way while a checkpoint is rejected keeps its offsets when it succeeds', async (context) => {
  const engines = new FaultyEngines()
  const { store, views } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  const journalGate = gate()
  const entered = gate()
  engines.beforeCommit = (name) => {
    if (name === 'state') throw new Error('state failed')
    entered.open()
    return journalGate.passed
  }
  const pending = store.commit([{ log, batch: batchOf('x') }])
  await entered.passed
  await store.checkpoint()
  assert.is(store.health.status, 'failed')
  const serving = servingAgain(store)
  engines.beforeCommit = () => {}
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.is(engines.opens, 2, 'nothing is reopened before what is on its way has settled')
  journalGate.open()
  await pending
  await serving
  assert.equal(views.appendedTo, ['1@0+1'], 'it is taken in once')
  await store.commit([{ log, batch: batchOf('y') }])
  assert.equal(await valuesOf(store, log), ['0=x', '1=y'])
})

test('a commit that is on its way while a checkpoint is rejected is refused when it fails too', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  const journalGate = gate()
  const entered = gate()
  engines.beforeCommit = (name) => {
    if (name === 'state') throw new Error('state failed')
    entered.open()
    return journalGate.passed
  }
  const pending = outcome(store.commit([{ log, batch: batchOf('x') }]))
  await entered.passed
  await store.checkpoint()
  const serving = servingAgain(store)
  engines.beforeCommit = () => {}
  journalGate.fail(new Error('journal failed'))
  assert.is(await pending, 'STORAGE_FAILED')
  await serving
  assert.is(store.pendingBytes, 0)
  await store.commit([{ log, batch: batchOf('y') }])
  assert.equal(await valuesOf(store, log), ['0=y'])
})

test('checkpoints continue after a failure, also if one was requested during it', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const serving = servingAgain(store)
  engines.beforeCommit = () => {
    engines.beforeCommit = () => {}
    throw new Error('once')
  }
  await outcome(store.commit(note('a')))
  await store.checkpoint()
  await store.reclaim()
  await serving
  await store.commit(note('b'))
  await store.commit([{ kind: 101, payload: Buffer.from('1') }])
  await store.checkpoint()
  assert.is(store.stats.checkpointPosition, store.stats.journalPosition)
})

test('an interrupted verification applies nothing twice', async (context) => {
  const inner = new FaultyEngines()
  let rangesUntilFailure = Number.POSITIVE_INFINITY
  const engines: EngineFactory = {
    open: async (name) => {
      const engine: Engine = await inner.open(name)
      return {
        ...engine,
        range: async (options) => {
          if (name === 'journal' && rangesUntilFailure-- <= 0) throw new Error('input/output error')
          return engine.range(options)
        },
      }
    },
  }
  const { store, views } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const logs = await createLogs(store, 1, 2)
  const large = 'x'.repeat(40_000)
  // As many blocks as one scan takes: the second scan is the one that fails.
  const ops = Array.from({ length: 16 }, (_, n) => {
    const log = logs[n % 2] ?? logs[0]
    return { log, batch: batchOf(`${n}${large}`) }
  })
  const serving = servingAgain(store)
  inner.afterCommit = () => {
    inner.afterCommit = () => {}
    rangesUntilFailure = 1
    setTimeout(() => {
      rangesUntilFailure = Number.POSITIVE_INFINITY
    }, 20)
    throw new Error('the sync failed')
  }
  assert.is(await outcome(store.commit(ops)), 'STORAGE_FAILED')
  await serving
  assert.is(views.appendedTo.length, 16)
  assert.equal([logs[0].endOffset, logs[1].endOffset], [8, 8])
  assert.is((await valuesOf(store, logs[0])).length, 8)
})

test('the databases stay open for readers until the disk takes writes again', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  await store.commit([{ log, batch: batchOf('x') }])
  let trials = 0
  engines.beforeReopen = () => {
    trials++
    throw new Error('no space left on device')
  }
  engines.beforeCommit = () => {
    throw new Error('no space left on device')
  }
  assert.is(await outcome(store.commit([{ log, batch: batchOf('y') }])), 'STORAGE_FAILED')
  await waitFor('the disk to be tried', () => trials > 2)
  assert.is(engines.opens, 2, 'nothing was closed')
  assert.equal(await valuesOf(store, log), ['0=x'])
  assert.match(store.health.reasons[0] ?? '', /can't reopen the log: no space left/)
  const serving = servingAgain(store)
  engines.beforeReopen = () => {}
  engines.beforeCommit = () => {}
  await serving
  assert.is(engines.opens, 4)
})

test('the store tests the disk of a data folder before it reopens the folder', async (context) => {
  const dir = await context.tempDir()
  await mkdir(join(dir, 'shard-0'), { recursive: true })
  const [left, shard] = [join(dir, 'shard-0', 'TRIAL'), join(dir, 'shard-0')]
  await writeFile(left, 'left by a crash')
  const engines = levelEngines(shard)
  await (await engines.open('journal')).close()
  assert.not.ok(existsSync(left))
  await engines.tryWriting?.()
  assert.not.ok(existsSync(left))
  await rm(shard, { recursive: true })
  assert.is(await outcome(engines.tryWriting?.() ?? Promise.resolve()), 'ENOENT')
})

test('reads of a closed database fail with a retryable error, each on its own', async (context) => {
  const inner = new FaultyEngines()
  let broken = false
  const engines: EngineFactory = {
    open: async (name) => {
      const engine = await inner.open(name)
      const getMany: Engine['getMany'] = async (keys) => {
        if (broken && name === 'journal') throw new Error('Database is not open')
        return engine.getMany(keys)
      }
      return { ...engine, getMany }
    },
  }
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [a, b] = await createLogs(store, 1, 2)
  await store.commit([{ log: a, batch: batchOf('x') }])
  broken = true
  const [cold, end] = await store.read([
    { log: a, offset: 0, bytesMax: 100 },
    { log: b, offset: 0, bytesMax: 100 },
  ])
  assert.ok(isMillraceError(cold?.error, 'STORAGE_FAILED') && cold.error.retryable)
  assert.is(end?.error, undefined)
  assert.is(store.health.status, 'ok', 'that is no damage')
})

test('damage that a reader finds shows in the health, once', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  await store.commit([{ log, batch: batchOf('x') }])
  await engines.del('journal', (await engines.entries('journal'))[1]?.[0] as Uint8Array)
  for (let n = 0; n < 3; n++) await store.read([{ log, offset: 0, bytesMax: 100 }])
  assert.is(store.health.status, 'degraded')
  assert.equal(store.health.reasons, ['partition log 1: offsets 0 to 0 are damaged or lost'])
})

test('closing a failed store keeps durable commits, and refuses the others', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  await store.commit([{ log, batch: batchOf('kept') }])
  engines.beforeCommit = () => {
    throw new Error('forever')
  }
  const refused = outcome(store.commit([{ log, batch: batchOf('lost') }]))
  await store.close()
  assert.is(await refused, 'STORAGE_FAILED')
  assert.is(await outcome(store.commit(note('late'))), 'CLOSED')
  engines.beforeCommit = () => {}
  const again = await openTestStore(context, { engines })
  const logAgain = again.store.log(1)
  assert.ok(logAgain)
  assert.equal(await valuesOf(again.store, logAgain), ['0=kept'])
})

test.run()
