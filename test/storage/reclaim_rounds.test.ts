import * as assert from 'uvu/assert'
import {
  type Engine,
  type EngineFactory,
  encodeTrims,
  memoryEngines,
  opKinds,
  type PartitionLog,
  retentionOffset,
  type Store,
} from '../../storage/index.js'
import { positionOf, stateTables } from '../../storage/keys.js'
import { delayedEngines } from '../helpers/delayed_engine.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import {
  batchOf,
  batchOfBytes,
  createLogs,
  FaultyEngines,
  logOf,
  noteKind,
  openTestStore,
  valuesOf,
} from './fixtures.js'

const test = suite('storage/reclaim rounds')

const trim = (store: Store, ...trims: [PartitionLog, number][]): Promise<void> => {
  const payload = encodeTrims(trims.map(([log, offset]) => [log.id, offset] as const))
  return store.commit([{ kind: opKinds.logsTrimmed, payload }])
}

const countOf = async (engines: FaultyEngines, table: number): Promise<number> =>
  (await engines.entries('state')).filter(([key]) => key[0] === table).length

/** Commits where both logs share each block, half of it each. */
async function commitShared(store: Store, logs: readonly PartitionLog[], count: number): Promise<void> {
  for (let n = 0; n < count; n++)
    await store.commit(logs.map((log) => ({ log, batch: batchOfBytes(new Uint8Array(1_000).fill(n)) })))
}

/** Sizes of the journal's blocks that hold batches. */
async function blockSizes(engines: FaultyEngines): Promise<number[]> {
  const sizes = (await engines.entries('journal')).map(([, value]) => value.length)
  return sizes.filter((size) => size > 500)
}

/** Holds the first call that reaches it while it is shut; other calls pass. */
class Gate {
  isShut = false
  /** Resolves once a call is held. */
  readonly reached: Promise<void>
  #reach = (): void => {}
  readonly #opened: Promise<void>
  open = (): void => {}

  constructor() {
    this.reached = new Promise((resolve) => {
      this.#reach = resolve
    })
    this.#opened = new Promise((resolve) => {
      this.open = resolve
    })
  }

  async pass(): Promise<void> {
    if (!this.isShut) return
    this.isShut = false
    this.#reach()
    await this.#opened
  }
}

test('large blocks are deleted without being read', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 5; n++) await store.commit([{ log, batch: batchOfBytes(new Uint8Array(40_000)) }])
  await trim(store, [log, 4])
  const read: number[] = []
  engines.beforeRead = (name, keys) => {
    if (name === 'journal') read.push(...keys.map((key) => positionOf(key)))
  }
  await store.reclaim()
  assert.is((await blockSizes(engines)).length, 1)
  assert.equal(read, [1, 7], 'only the operations of creation and trim were looked at')
  assert.is((await valuesOf(store, log)).length, 1)
})

test('a partly live block waits before it is rewritten', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reclaim: { rewriteDelayMs: 3_600_000 } })
  const [a, b] = await createLogs(store, 1, 2)
  await commitShared(store, [a, b], 10)
  await trim(store, [a, 10])
  await store.reclaim()
  const waiting = await blockSizes(engines)
  assert.is(waiting.length, 10)
  assert.ok(waiting.every((size) => size > 2_000))
  assert.is(await countOf(engines, stateTables.garbage), 1)
  await trim(store, [b, 4])
  await store.reclaim()
  assert.equal(await blockSizes(engines), waiting.slice(4))
})

test('a block that waited long enough is rewritten, also by the next process', async (context) => {
  const engines = new FaultyEngines()
  const first = await openTestStore(context, { engines, reclaim: { rewriteDelayMs: 3_600_000 } })
  const [a, b] = await createLogs(first.store, 1, 2)
  await commitShared(first.store, [a, b], 10)
  await trim(first.store, [a, 10])
  await first.store.reclaim()
  await first.store.close()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  await store.reclaim()
  const sizes = await blockSizes(engines)
  assert.is(sizes.length, 10)
  assert.ok(sizes.every((size) => size < 1_500))
  assert.is((await valuesOf(store, logOf(store, 2))).length, 10)
  await store.checkpoint()
  assert.is(await countOf(engines, stateTables.garbage), 0)
})

test('a block with few dropped records is not rewritten', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reclaim: { rewriteShareMin: 0.6 } })
  const [a, b] = await createLogs(store, 1, 2)
  await commitShared(store, [a, b], 3)
  const before = await blockSizes(engines)
  await trim(store, [a, 3])
  await store.reclaim()
  assert.equal(await blockSizes(engines), before)
  await trim(store, [b, 3])
  await store.reclaim()
  assert.equal(await blockSizes(engines), [])
})

test('records that retention drops during a read of the index are out of range, not lost', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 200; n++) await store.commit([{ log, batch: batchOf(`${n}`) }])
  const gate = new Gate()
  engines.afterRange = () => gate.pass()
  gate.isShut = true
  const read = store.read([{ log, offset: 3, bytesMax: 1_000 }])
  await gate.reached
  await trim(store, [log, 150])
  await store.reclaim()
  gate.open()
  const [result] = await read
  assert.is(result?.error?.code, 'OFFSET_OUT_OF_RANGE')
  assert.equal(store.health, { status: 'ok', reasons: [] })
})

for (const what of ['index', 'journal'] as const) {
  test(`a log that is dropped while its ${what} is read is deleted, and not damaged`, async (context) => {
    const inner = new FaultyEngines()
    const gate = new Gate()
    if (what === 'index') inner.afterRange = () => gate.pass()
    const engines: EngineFactory = {
      open: async (name) => {
        const engine = await inner.open(name)
        const getMany: Engine['getMany'] = async (keys) => {
          if (what === 'journal' && name === 'journal') await gate.pass()
          return engine.getMany(keys)
        }
        return { ...engine, getMany }
      },
    }
    const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
    const [log, other] = await createLogs(store, 1, 2)
    for (let n = 0; n < 200; n++) await store.commit([{ log, batch: batchOf(`${n}`) }])
    await store.commit([{ log: other, batch: batchOf('other') }])
    gate.isShut = true
    const reading = store.read([
      { log, offset: 3, bytesMax: 1_000 },
      { log: other, offset: 0, bytesMax: 1_000 },
    ])
    await gate.reached
    store.dropLog(log.id)
    for (let round = 0; round < 3; round++) {
      await store.checkpoint()
      await store.reclaim()
    }
    gate.open()
    const [result, good] = await reading
    assert.is(result?.error?.code, 'UNKNOWN_TOPIC')
    assert.is(good?.error, undefined)
    assert.is(good?.chunks.length, 1)
    assert.equal(store.health, { status: 'ok', reasons: [] })
  })
}

test('on slow engines, reads find a log that is dropped, or that it is deleted', async (context) => {
  const engines = delayedEngines(memoryEngines(), context.random())
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  const codes = new Set<string>()
  for (let id = 1; id <= 12; id++) {
    const [log] = await createLogs(store, id)
    await Promise.all(Array.from({ length: 5 }, (_, n) => store.commit([{ log, batch: batchOf(`${n}`) }])))
    let isOver = false
    const reader = async (): Promise<void> => {
      while (!isOver) {
        const [result] = await store.read([{ log, offset: 1, bytesMax: 1_000 }])
        codes.add(result?.error?.code ?? 'none')
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const readers = [reader(), reader(), reader()]
    store.dropLog(log.id)
    for (let round = 0; round < 2; round++) {
      await store.checkpoint()
      await store.reclaim()
    }
    isOver = true
    await Promise.all(readers)
  }
  codes.delete('none')
  assert.equal([...codes], ['UNKNOWN_TOPIC'])
  assert.equal(store.health, { status: 'ok', reasons: [] })
})

test('operations of blocks that are written during the checkpoint of a round are dropped in a later one', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const note = () => store.commit([{ kind: noteKind, payload: Buffer.from('x') }])
  for (let n = 0; n < 3; n++) await note()
  let checkpoints = 0
  engines.beforeCommit = async (name) => {
    if (name === 'state' && ++checkpoints === 1) await note()
  }
  await store.reclaim()
  assert.ok(checkpoints > 0)
  engines.beforeCommit = () => {}
  await store.reclaim()
  assert.equal(await engines.entries('journal'), [])
})

test('a record of operations that grows while a round runs is left to a later one', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const ids = Array.from({ length: 150 }, (_, n) => n + 1)
  // A record for each, more than one step of the sweep takes.
  const logs = await createLogs(store, ...ids)
  for (const log of logs) await store.commit([{ log, batch: batchOf('x') }])
  await trim(store, ...logs.map((log): [PartitionLog, number] => [log, 1]))
  const note = () => store.commit([{ kind: noteKind, payload: Buffer.from('x') }])
  let step: 'checkpoint' | 'sweep' | 'done' = 'checkpoint'
  engines.beforeCommit = async (name) => {
    if (step === 'checkpoint' && name === 'state') {
      step = 'sweep'
      await note()
    } else if (step === 'sweep' && name === 'journal' && swept()) {
      step = 'done'
      await store.checkpoint()
      await note()
    }
  }
  let checkpoint = store.stats.checkpointPosition
  const swept = (): boolean => {
    const before = checkpoint
    checkpoint = store.stats.checkpointPosition
    return checkpoint > before
  }
  await store.reclaim()
  assert.is(step, 'done')
  await store.reclaim()
  await store.reclaim()
  assert.equal(await engines.entries('journal'), [])
})

test('garbage that is not worth a round costs no write', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, {
    engines,
    reclaim: { garbageBytesMin: 15_000, patienceMs: 3_600_000 },
  })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 100)
  await trim(store, [log, 10])
  await store.checkpoint()
  let writes = 0
  engines.beforeCommit = () => void writes++
  await store.reclaim()
  assert.is(writes, 0)
  await trim(store, [log, 20])
  await store.reclaim()
  assert.is((await blockSizes(engines)).length, 80)
})

test('more live data raises the minimum gain of a round', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reclaim: { garbageShareMin: 0.5 } })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 90)
  await trim(store, [log, 25])
  await store.reclaim()
  assert.is((await blockSizes(engines)).length, 90)
  await trim(store, [log, 35])
  await store.reclaim()
  assert.is((await blockSizes(engines)).length, 55)
})

test('the next process compacts ranges that a crash left uncompacted', async (context) => {
  const engines = new FaultyEngines()
  const image = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 20)
  await trim(store, [log, 10])
  engines.onCompact = (name, gte) => {
    // Blocks are deleted and a checkpoint says so; now the process dies.
    if (name === 'journal' && gte.length === 8) throw new Error('power cut')
  }
  await store.reclaim()
  for (const name of ['journal', 'state'] as const)
    for (const [key, value] of await engines.entries(name)) await image.put(name, key, value)
  const compacted: [number, number][] = []
  image.onCompact = (name, gte, lt) => {
    if (name === 'journal' && gte.length === 8) compacted.push([positionOf(gte), positionOf(lt)])
  }
  const again = await openTestStore(context, { engines: image })
  await again.store.reclaim()
  assert.equal(compacted, [[1, 23]])
  await again.store.reclaim()
  assert.is(compacted.length, 1)
  await again.store.checkpoint()
  assert.is(await countOf(image, stateTables.freed), 0)
})

test('a round that starts during a checkpoint also frees space that the checkpoint does not know', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 20)
  let end = () => {}
  let begun = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const isWriting = new Promise<void>((resolve) => {
    begun = resolve
  })
  engines.beforeCommit = async (name) => {
    if (name !== 'state') return
    begun()
    await ended
  }
  const checkpoint = store.checkpoint()
  await isWriting
  await trim(store, [log, 20])
  const reclaimed = store.reclaim()
  await new Promise((resolve) => setImmediate(resolve))
  end()
  await checkpoint
  await reclaimed
  assert.equal(await blockSizes(engines), [])
})

test('a rejected write leaves the garbage to the next round', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 20)
  await trim(store, [log, 10])
  engines.beforeCommit = (name) => {
    if (name === 'journal') throw new Error('the disk is full')
  }
  await store.reclaim()
  assert.is(store.health.status, 'failed')
  engines.beforeCommit = () => {}
  while (store.health.status === 'failed')
    await new Promise((resolve) => store.events.once('health', resolve))
  assert.is((await blockSizes(engines)).length, 20)
  await store.reclaim()
  assert.is((await blockSizes(engines)).length, 10)
})

test('ranges that a failed engine had compacted are compacted again', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 20)
  await trim(store, [log, 10])
  const compacted: number[] = []
  engines.onCompact = (name, gte) => {
    if (name === 'journal' && gte.length === 8) compacted.push(positionOf(gte))
  }
  await store.reclaim()
  assert.is(compacted.length, 1)
  engines.beforeCommit = () => {
    throw new Error('the disk is full')
  }
  await store.commit([{ log, batch: batchOf('x') }]).catch(() => {})
  engines.beforeCommit = () => {}
  while (store.health.status === 'failed')
    await new Promise((resolve) => store.events.once('health', resolve))
  await store.reclaim()
  assert.is(compacted.length, 2)
})

test('compaction that fails repeatedly is given up, and commits continue', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 5; n++) await store.commit([{ log, batch: batchOfBytes(new Uint8Array(40_000)) }])
  await trim(store, [log, 4])
  let compactions = 0
  let failing = false
  engines.onCompact = (name, gte, lt) => {
    if (name !== 'journal' || Buffer.compare(gte, lt) === 0) return
    compactions++
    failing = true
  }
  // As LevelDB does: the write after the compaction is rejected.
  engines.beforeCommit = (name) => {
    if (name !== 'journal' || !failing) return
    failing = false
    throw new Error('Corruption: bad entry in block')
  }
  for (let round = 0; round < 6; round++) {
    await store.reclaim()
    await store.commit([{ log, batch: batchOf('after') }]).catch(() => {})
    await waitFor('the store to have reopened', () => store.health.status !== 'failed')
  }
  assert.is(compactions, 3)
  assert.match(store.health.reasons.join('\n'), /the broker can't free the disk space of blocks/)
  await store.commit([{ log, batch: batchOf('later') }])
})

/** Makes each compaction fail as LevelDB does: the next write is rejected. Returns how many there were. */
function failCompactions(engines: FaultyEngines, error: Error): () => number {
  let compactions = 0
  let failing = false
  engines.onCompact = (name, gte, lt) => {
    if (name !== 'journal' || Buffer.compare(gte, lt) === 0) return
    compactions++
    failing = true
  }
  engines.beforeCommit = (name) => {
    if (name !== 'journal' || !failing) return
    failing = false
    throw error
  }
  return () => compactions
}

test('a failed compaction is noticed while nobody else writes', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 5; n++) await store.commit([{ log, batch: batchOfBytes(new Uint8Array(40_000)) }])
  await trim(store, [log, 4])
  failCompactions(engines, new Error('Corruption: bad entry in block'))
  await store.reclaim()
  assert.is(store.health.status, 'ok')
  await store.reclaim()
  assert.is(store.health.status, 'failed')
})

test('compaction that fails because the disk is full is never given up', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reopenDelayMs: 1 })
  const [log] = await createLogs(store, 1)
  for (let n = 0; n < 5; n++) await store.commit([{ log, batch: batchOfBytes(new Uint8Array(40_000)) }])
  await trim(store, [log, 4])
  const compactions = failCompactions(engines, new Error('IO error: 000012.ldb: No space left on device'))
  for (let round = 0; round < 12; round++) {
    await store.reclaim()
    await waitFor('the store to have reopened', () => store.health.status !== 'failed')
  }
  assert.is(compactions(), 6)
  assert.is(store.health.status, 'ok')
})

test('closing stops a round between two steps, and the next process continues it', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [a, b] = await createLogs(store, 1, 2)
  await commitShared(store, [a, b], 200)
  await trim(store, [a, 200], [b, 100])
  let closed: Promise<void> | undefined
  let commits = 0
  engines.beforeCommit = (name) => {
    if (name !== 'journal') return
    commits++
    closed ??= store.close()
  }
  let compactions = 0
  engines.onCompact = (name, gte) => {
    if (name === 'journal' && gte.length === 8) compactions++
  }
  await store.reclaim()
  await closed
  assert.equal({ commits, compactions }, { commits: 1, compactions: 0 })
  const again = await openTestStore(context, { engines, tailCacheBytes: 0 })
  await again.store.reclaim()
  assert.is(compactions, 1)
  const sizes = await blockSizes(engines)
  assert.is(sizes.length, 100)
  assert.ok(sizes.every((size) => size < 1_500))
  assert.is((await valuesOf(again.store, logOf(again.store, 2))).length, 100)
})

test('index pages are deleted with their blocks, also if all blocks of a page were dropped before it was full', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  for (let round = 1; round <= 6; round++) {
    await commitShared(store, [log], 64)
    await trim(store, [log, round * 64])
    await store.reclaim()
  }
  await commitShared(store, [log], 1)
  await store.checkpoint()
  assert.is(await countOf(engines, stateTables.indexPage), 1)
})

test('retention by bytes does not count dropped records twice', async (context) => {
  const { store } = await openTestStore(context)
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 100)
  const bytesMax = (log.liveBytes / 100) * 40
  assert.is(await retentionOffset(log, { bytesMax }), 60)
  await trim(store, [log, 60])
  assert.is(await retentionOffset(log, { bytesMax }), 60)
  await store.reclaim()
  assert.is(await retentionOffset(log, { bytesMax }), 60)
})

test('batches in flight to a dropped log leave nothing behind', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [log] = await createLogs(store, 1)
  await commitShared(store, [log], 3)
  store.dropLog(1)
  await commitShared(store, [log], 3)
  await store.reclaim()
  await commitShared(store, [log], 3)
  await store.reclaim()
  assert.is((await engines.entries('journal')).length, 0)
})

test('a damaged index page is reported and keeps no other log from being reclaimed', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [a, b] = await createLogs(store, 1, 2)
  for (const log of [a, b]) await commitShared(store, [log], 100)
  await store.checkpoint()
  const [page] = (await engines.entries('state')).filter(([key]) => key[0] === stateTables.indexPage)
  if (page === undefined) throw new Error('there is no index page')
  await engines.put(
    'state',
    page[0],
    page[1].map((byte, at) => (at === 9 ? byte ^ 1 : byte)),
  )
  await trim(store, [a, 100], [b, 100])
  await store.reclaim()
  assert.is((await blockSizes(engines)).length, 100)
  assert.is(store.health.status, 'degraded')
  assert.match(store.health.reasons[0] ?? '', /can't free the disk space of partition log 1/)
  await store.commit([{ log: b, batch: batchOf('on') }])
})

test('a damaged garbage record stops reclaim, is reported, and hurts nothing else', async (context) => {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines, reclaim: { rewriteDelayMs: 3_600_000 } })
  const [a, b] = await createLogs(store, 1, 2)
  await commitShared(store, [a, b], 5)
  await trim(store, [a, 5])
  await store.reclaim()
  await store.checkpoint()
  const [record] = (await engines.entries('state')).filter(([key]) => key[0] === stateTables.garbage)
  if (record === undefined) throw new Error('there is no garbage record')
  await engines.put(
    'state',
    record[0],
    record[1].map((byte) => byte ^ 1),
  )
  await trim(store, [b, 5])
  await store.reclaim()
  await store.reclaim()
  assert.is(store.health.status, 'degraded')
  assert.is(store.health.reasons.length, 1)
  assert.is((await blockSizes(engines)).length, 5)
  await store.commit([{ log: b, batch: batchOf('on') }])
  assert.equal(await valuesOf(store, b), ['5=on'])
})

test.run()
