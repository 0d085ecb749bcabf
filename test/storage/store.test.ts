import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import {
  batchOf,
  batchOfBytes,
  createLogs,
  FaultyEngines,
  logOf,
  noteKind,
  openTestStore,
  TestViews,
  valuesOf,
} from './fixtures.js'

const test = suite('storage/store')

test('assigns offsets in the order of calls and reads them back from memory and from the journal', async (context) => {
  const { store } = await openTestStore(context, { tailCacheBytes: 0 })
  const [a, b] = await createLogs(store, 1, 2)
  const offsets: number[] = []
  const note = (_index: number, offset: number) => offsets.push(offset)
  await Promise.all([
    store.commit(
      [
        { log: a, batch: batchOf('x', 'y') },
        { log: b, batch: batchOf('p') },
      ],
      note,
    ),
    store.commit([{ log: a, batch: batchOf('z') }], note),
  ])
  assert.equal(offsets, [0, 0, 2])
  assert.equal(await valuesOf(store, a), ['0=x', '1=y', '2=z'])
  assert.equal(await valuesOf(store, b), ['0=p'])
  assert.equal(await valuesOf(store, a, 1), ['1=y', '2=z'])
})

test('commits that wait together become one write', async (context) => {
  const { store } = await openTestStore(context)
  const [log] = await createLogs(store, 1)
  const before = store.stats.commits
  await Promise.all(Array.from({ length: 100 }, (_, n) => store.commit([{ log, batch: batchOf(`v${n}`) }])))
  assert.ok(store.stats.commits - before <= 2)
  assert.is(log.endOffset, 100)
})

test('a commit that a listener requests as soon as there is room is written', async (context) => {
  const { store, views } = await openTestStore(context)
  const operation = (text: string) => [{ kind: noteKind, payload: Buffer.from(text) }]
  const second = new Promise<void>((resolve, reject) => {
    store.events.once('writable', () => void store.commit(operation('b')).then(resolve, reject))
  })
  await store.commit(operation('a'))
  await second
  assert.equal(views.applied, ['102:a', '102:b'])
  assert.is(store.pendingBytes, 0)
})

test('a reader sees nothing that is not durable', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  let release = () => {}
  engines.beforeCommit = () => new Promise((resolve) => (release = resolve))
  const committed = store.commit([{ log, batch: batchOf('x') }])
  while (store.pendingBytes === 0) await Promise.resolve()
  assert.is(log.nextOffset, 1)
  assert.is(log.endOffset, 0)
  assert.equal(store.readTail({ log, offset: 0, bytesMax: 100 }), { chunks: [], bytes: 0 })
  await new Promise((resolve) => setImmediate(resolve))
  release()
  engines.beforeCommit = () => {}
  await committed
  assert.is(log.endOffset, 1)
})

test('reads outside of the log name the range', async (context) => {
  const { store } = await openTestStore(context)
  const [log] = await createLogs(store, 1)
  const [result] = await store.read([{ log, offset: 5, bytesMax: 100 }])
  assert.ok(isMillraceError(result?.error, 'OFFSET_OUT_OF_RANGE'))
  assert.match(result?.error?.message ?? '', 'offset 5 is out of range, expected 0 to 0')
})

test('a read returns whole batches, even one that is larger than the requested size, and no more', async (context) => {
  for (const tailCacheBytes of [0, 1 << 20]) {
    const { store } = await openTestStore(context, { tailCacheBytes })
    const [log] = await createLogs(store, 1)
    for (let n = 0; n < 4; n++) await store.commit([{ log, batch: batchOfBytes(new Uint8Array(1000)) }])
    const [one] = await store.read([{ log, offset: 1, bytesMax: 10 }])
    assert.ok((one?.bytes ?? 0) > 1000 && (one?.bytes ?? 0) < 2000)
    const [two] = await store.read([{ log, offset: 1, bytesMax: 2_300 }])
    assert.ok((two?.bytes ?? 0) > 2000 && (two?.bytes ?? 0) <= 2300)
  }
})

test('finds every record again after a restart, with a checkpoint and without', async (context) => {
  for (const checkpointed of [true, false]) {
    const engines = new FaultyEngines()
    const first = await openTestStore(context, { engines })
    const [a, b] = await createLogs(first.store, 1, 2)
    const expected: string[] = []
    for (let n = 0; n < 300; n++) {
      await first.store.commit([
        { log: a, batch: batchOf(`a${n}`) },
        { log: b, batch: batchOf(`b${n}`) },
      ])
      expected.push(`${n}=a${n}`)
      if (checkpointed && n === 200) await first.store.checkpoint()
    }
    await first.store.commit([{ kind: noteKind, payload: Buffer.from('hi') }])
    // The first store is left as a killed process would leave it: nothing more is written.
    engines.beforeCommit = () => {
      throw new Error('the process is gone')
    }
    const copied = new FaultyEngines()
    for (const name of ['journal', 'state'] as const) {
      for (const [key, value] of await engines.entries(name)) await copied.put(name, key, value)
    }
    engines.beforeCommit = () => {}
    const { store, views } = await openTestStore(context, { engines: copied })
    assert.equal(await valuesOf(store, logOf(store, 1)), expected)
    assert.is(logOf(store, 2).endOffset, 300)
    assert.is(views.applied.at(-1), `${noteKind}:hi`)
    assert.is(views.appendedTo.length, checkpointed ? 198 : 600)
    assert.is(store.health.status, 'ok')
    await store.commit([{ log: logOf(store, 1), batch: batchOf('more') }])
    assert.is((await valuesOf(store, logOf(store, 1))).at(-1), '300=more')
  }
})

test('a real data folder survives closing and opening', async (context) => {
  const dir = await context.tempDir()
  const first = await openTestStore(context, { dir })
  const [log] = await createLogs(first.store, 1)
  const value = Buffer.alloc(70_000, 'v')
  for (let n = 0; n < 20; n++) await first.store.commit([{ log, batch: batchOfBytes(value) }])
  await first.store.close()
  const { store, views } = await openTestStore(context, { dir })
  assert.is((await valuesOf(store, logOf(store, 1))).length, 20)
  assert.equal(views.applied, [])
  assert.ok((await store.diskBytes()) > 20 * 70_000)
})

test('a rejected write fails all waiting commits and voids their offsets, and the log continues after verification', async (context) => {
  const engines = new FaultyEngines()
  const { store, views } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  await store.commit([{ log, batch: batchOf('kept') }])
  const serving = new Promise<void>((resolve) => {
    store.events.on('health', ({ status }) => status === 'ok' && resolve())
  })
  engines.beforeCommit = () => {
    engines.beforeCommit = () => {}
    throw new Error('no space left on device')
  }
  const results = await Promise.allSettled([
    store.commit([{ log, batch: batchOf('lost 1') }]),
    store.commit([{ log, batch: batchOf('lost 2') }]),
  ])
  for (const result of results) {
    assert.ok(result.status === 'rejected' && isMillraceError(result.reason, 'STORAGE_FAILED'))
    assert.ok(result.status === 'rejected' && result.reason.retryable)
  }
  assert.is(store.health.status, 'failed')
  assert.match(store.health.reasons[0] ?? '', 'no space left on device')
  assert.is(log.nextOffset, 1)
  assert.is(views.rollBacks, 1)
  const refused = await store.commit([{ log, batch: batchOf('refused') }]).catch((error) => error)
  assert.ok(isMillraceError(refused, 'STORAGE_FAILED'))
  await serving
  assert.is(engines.opens, 4)
  await store.commit([{ log, batch: batchOf('after') }])
  assert.equal(await valuesOf(store, log), ['0=kept', '1=after'])
})

test('a write that was rejected but stored is applied once', async (context) => {
  const engines = new FaultyEngines()
  const { store, views } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  const serving = new Promise<void>((resolve) => {
    store.events.on('health', ({ status }) => status === 'ok' && resolve())
  })
  engines.afterCommit = () => {
    engines.afterCommit = () => {}
    throw new Error('the sync failed')
  }
  await store.commit([{ log, batch: batchOf('there') }]).then(
    () => assert.unreachable(),
    (error) => assert.ok(isMillraceError(error, 'STORAGE_FAILED')),
  )
  await serving
  assert.equal(await valuesOf(store, log), ['0=there'])
  assert.equal(views.appendedTo, ['1@0+1'])
})

test('the store retries to reopen a log, and reports the reason', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  let failures = 0
  engines.beforeCommit = () => {
    if (failures++ < 3) throw new Error('input/output error')
  }
  const serving = new Promise<void>((resolve) => {
    store.events.on('health', ({ status }) => status === 'ok' && resolve())
  })
  await store.commit([{ log, batch: batchOf('x') }]).catch(() => {})
  await serving
  assert.ok(failures > 3)
})

test('damaged, swapped and missing blocks are never served, and other logs are', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [a, b] = await createLogs(store, 1, 2)
  for (let n = 0; n < 3; n++) await store.commit([{ log: a, batch: batchOf(`a${n}`) }])
  await store.commit([{ log: b, batch: batchOf('b') }])
  const blocks = await engines.entries('journal')
  const [second, third] = [blocks[2], blocks[3]] as [[Uint8Array, Uint8Array], [Uint8Array, Uint8Array]]
  const flipped = Uint8Array.from(second[1])
  flipped[flipped.length - 3] = (flipped[flipped.length - 3] ?? 0) ^ 1
  const damages: [string, () => Promise<void>][] = [
    ['flipped', () => engines.put('journal', second[0], flipped)],
    ['swapped', () => engines.put('journal', second[0], third[1])],
    ['missing', () => engines.del('journal', second[0])],
    ['cut', () => engines.put('journal', second[0], second[1].subarray(0, 30))],
  ]
  for (const [name, damage] of damages) {
    await damage()
    const [result, other] = await store.read([
      { log: a, offset: 1, bytesMax: 1000 },
      { log: b, offset: 0, bytesMax: 1000 },
    ])
    assert.ok(isMillraceError(result?.error, 'CORRUPT'), name)
    assert.match(result?.error?.message ?? '', /can't read offsets 1 to 1 of partition log 1: .*block 3/)
    assert.ok((other?.bytes ?? 0) > 0)
    const [before] = await store.read([{ log: a, offset: 0, bytesMax: 1000 }])
    assert.ok((before?.bytes ?? 0) > 0, 'what comes before the damage is served')
    const [after] = await store.read([{ log: a, offset: 2, bytesMax: 1000 }])
    assert.ok((after?.bytes ?? 0) > 0, 'and what comes after it')
  }
})

test('appends beyond what fits one block and one commit keep their order', async (context) => {
  const { store } = await openTestStore(context, { commitBytesMax: 100_000, tailCacheBytes: 0 })
  const logs = await createLogs(store, 1, 2, 3)
  const random = context.random()
  const expected = new Map(logs.map((log) => [log, [] as string[]]))
  await Promise.all(
    Array.from({ length: 200 }, (_, n) => {
      const log = random.pick(logs)
      const values = Array.from(
        { length: random.int(1, 3) },
        (_, i) => `${n}.${i}${'x'.repeat(random.int(0, 20_000))}`,
      )
      const list = expected.get(log) as string[]
      for (const value of values) list.push(`${list.length}=${value}`)
      return store.commit([{ log, batch: batchOf(...values) }])
    }),
  )
  for (const log of logs) assert.equal(await valuesOf(store, log), expected.get(log))
})

test('closing waits for pending commits, and refuses later ones', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  const pending = store.commit([{ log, batch: batchOf('x') }])
  await store.close()
  await pending
  const refused = await store.commit([{ log, batch: batchOf('y') }]).catch((error) => error)
  assert.ok(isMillraceError(refused, 'CLOSED'))
  const again = await openTestStore(context, { engines }, new TestViews())
  assert.equal(await valuesOf(again.store, logOf(again.store, 1)), ['0=x'])
})

test.run()
