import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { type DirectoryEntry, decodeBlock, encodeBlock } from '../../storage/block.js'
import { encodeTrims, opKinds } from '../../storage/index.js'
import { positionKey } from '../../storage/keys.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { batchOf, createLogs, FaultyEngines, logOf, openTestStore, valuesOf } from './fixtures.js'

const test = suite('storage/recovery')

/** A journal of one block that creates two logs and six that fill them, left without a checkpoint. */
async function writtenEngines(context: TestContext): Promise<FaultyEngines> {
  const engines = new FaultyEngines()
  const { store } = await openTestStore(context, { engines })
  const [a, b] = await createLogs(store, 1, 2)
  await store.checkpoint()
  for (let n = 0; n < 3; n++) {
    await store.commit([{ log: a, batch: batchOf(`a${n}`) }])
    await store.commit([{ log: b, batch: batchOf(`b${n}`) }])
  }
  const copied = new FaultyEngines()
  for (const name of ['journal', 'state'] as const) {
    for (const [key, value] of await engines.entries(name)) await copied.put(name, key, value)
  }
  return copied
}

const flip = (bytes: Uint8Array, at: number): Uint8Array => {
  const flipped = Uint8Array.from(bytes)
  flipped[at] = (flipped[at] as number) ^ 0x10
  return flipped
}

test('replays an undamaged journal without a health reason', async (context) => {
  const { store } = await openTestStore(context, { engines: await writtenEngines(context) })
  assert.equal(store.health, { status: 'ok', reasons: [] })
  assert.equal(await valuesOf(store, logOf(store, 1)), ['0=a0', '1=a1', '2=a2'])
})

test('a damaged block behind the checkpoint is reported, and only its records are lost', async (context) => {
  const engines = await writtenEngines(context)
  const blocks = await engines.entries('journal')
  const [key, value] = blocks[3] as [Uint8Array, Uint8Array]
  await engines.put('journal', key, flip(value, value.length - 1))
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  assert.is(store.health.status, 'degraded')
  assert.match(store.health.reasons.join('\n'), /block 4 of the journal is damaged: its checksum is wrong/)
  const log = logOf(store, 1)
  assert.is(store.problemOf(log), 'offsets 1 to 1 are damaged or lost')
  const [result] = await store.read([{ log, offset: 1, bytesMax: 100 }])
  assert.ok(isMillraceError(result?.error, 'CORRUPT'))
  assert.match(result?.error?.message ?? '', 'offsets 1 to 1 of partition log 1 are lost')
  assert.equal(await valuesOf(store, log, 2), ['2=a2'])
  assert.equal(await valuesOf(store, logOf(store, 2)), ['0=b0', '1=b1', '2=b2'])
})

test('records that are lost at the end of a log are lost too, and stay reported', async (context) => {
  const engines = await writtenEngines(context)
  const blocks = await engines.entries('journal')
  const [key, value] = blocks[5] as [Uint8Array, Uint8Array]
  await engines.put('journal', key, flip(value, value.length - 1))
  for (const reasons of [2, 1]) {
    const { store } = await openTestStore(context, { engines })
    const log = logOf(store, 1)
    assert.is(store.health.reasons.length, reasons, store.health.reasons.join('\n'))
    assert.is(store.health.reasons.at(-1), 'partition log 1: offsets 2 to 2 are damaged or lost')
    const [result] = await store.read([{ log, offset: 2, bytesMax: 100 }])
    assert.ok(isMillraceError(result?.error, 'CORRUPT'), 'also when memory holds what is before it')
    assert.is(log.endOffset, 3)
    await store.close()
  }
})

test('no offset is assigned twice if the logs of a lost block are unknown', async (context) => {
  const engines = await writtenEngines(context)
  const blocks = await engines.entries('journal')
  const [key, value] = blocks[5] as [Uint8Array, Uint8Array]
  await engines.put('journal', key, new Uint8Array(value.length))
  const { store } = await openTestStore(context, { engines })
  const [a, b] = [logOf(store, 1), logOf(store, 2)]
  assert.equal(await valuesOf(store, b), ['0=b0', '1=b1', '2=b2'], 'a newer block shows that it lost nothing')
  assert.match(store.health.reasons.join('\n'), /partition log 1: offsets 2 to \d+ are damaged or lost/)
  await store.commit([{ log: a, batch: batchOf('new') }])
  assert.equal(await valuesOf(store, a, a.endOffset - 1), [`${2 + 2 ** 31}=new`])
})

test('a missing block is noticed by its position, and its records by the gap that they leave', async (context) => {
  const engines = await writtenEngines(context)
  const [key] = (await engines.entries('journal'))[3] as [Uint8Array, Uint8Array]
  await engines.del('journal', key)
  const { store } = await openTestStore(context, { engines })
  assert.equal(store.health.reasons, [
    'blocks 4 to 4 of the journal are missing',
    'partition log 1: offsets 1 to 1 are damaged or lost',
  ])
  assert.equal(await valuesOf(store, logOf(store, 1), 2), ['2=a2'])
})

test('a block at the position of another is not applied', async (context) => {
  const engines = await writtenEngines(context)
  const blocks = await engines.entries('journal')
  const [key] = blocks[3] as [Uint8Array, Uint8Array]
  const [, other] = blocks[5] as [Uint8Array, Uint8Array]
  await engines.put('journal', key, other)
  const { store } = await openTestStore(context, { engines })
  assert.match(store.health.reasons.join('\n'), /block 4 of the journal is damaged: its position field is 6/)
})

test('a block that another history wrote is noticed by the chain', async (context) => {
  const engines = await writtenEngines(context)
  const [key, value] = (await engines.entries('journal'))[3] as [Uint8Array, Uint8Array]
  const { previousLink, indexInCommit, blocksInCommit, directory } = decodeBlock(value, 4)
  const { logId, firstOffset } = directory[0] as DirectoryEntry
  const batch = batchOf('other')
  const { bytes } = encodeBlock(
    { position: 4, previousLink, indexInCommit, blocksInCommit },
    [{ logId, firstOffset, batches: [batch], bytes: batch.length }],
    [],
  )
  await engines.put('journal', key, bytes)
  const { store } = await openTestStore(context, { engines })
  assert.equal(store.health.reasons, [
    'block 5 of the journal does not match the checksum of the block before it',
  ])
})

test('a block whose head is damaged too is noticed, and the records behind it are served', async (context) => {
  const engines = await writtenEngines(context)
  const [key, value] = (await engines.entries('journal'))[3] as [Uint8Array, Uint8Array]
  await engines.put('journal', key, flip(value, 45))
  const { store } = await openTestStore(context, { engines })
  assert.equal(store.health.reasons, [
    'block 4 of the journal is damaged: its checksum is wrong',
    'partition log 1: offsets 1 to 1 are damaged or lost',
  ])
  const log = logOf(store, 1)
  const [result] = await store.read([{ log, offset: 1, bytesMax: 100 }])
  assert.ok(isMillraceError(result?.error, 'CORRUPT'), 'also from memory, where what follows is')
  assert.equal(await valuesOf(store, log, 2), ['2=a2'])
})

test('a journal that ends before its checkpoint is reported', async (context) => {
  const engines = new FaultyEngines()
  const first = await openTestStore(context, { engines })
  const [log] = await createLogs(first.store, 1)
  for (let n = 0; n < 3; n++) await first.store.commit([{ log, batch: batchOf(`a${n}`) }])
  await first.store.close()
  const [key] = (await engines.entries('journal')).at(-1) as [Uint8Array, Uint8Array]
  await engines.del('journal', key)
  const { store } = await openTestStore(context, { engines, tailCacheBytes: 0 })
  assert.equal(store.health.reasons, [
    'block 4 of the journal is missing: the journal has lost its end',
    'partition log 1: offsets 2 to 2 are damaged or lost',
  ])
  const again = logOf(store, 1)
  await store.commit([{ log: again, batch: batchOf('new') }])
  assert.equal(await valuesOf(store, again, 3), ['3=new'], 'a lost offset is never given again')
  const [result] = await store.read([{ log: again, offset: 2, bytesMax: 100 }])
  assert.ok(isMillraceError(result?.error, 'CORRUPT'))
})

test('an incomplete last commit is removed', async (context) => {
  const engines = new FaultyEngines()
  const first = await openTestStore(context, { engines, commitBytesMax: 10_000_000 })
  const [a, b] = await createLogs(first.store, 1, 2)
  await first.store.checkpoint()
  const large = 'x'.repeat(40_000)
  await first.store.commit([
    { log: a, batch: batchOf(large) },
    { log: b, batch: batchOf(large) },
  ])
  const copied = new FaultyEngines()
  for (const name of ['journal', 'state'] as const) {
    for (const [key, value] of await engines.entries(name)) await copied.put(name, key, value)
  }
  const blocks = await copied.entries('journal')
  assert.is(blocks.length, 3)
  await copied.del('journal', blocks[2]?.[0] as Uint8Array)
  const { store } = await openTestStore(context, { engines: copied })
  assert.is(logOf(store, 1).endOffset, 0)
  assert.equal(store.health.reasons, ['the last commit of the journal is incomplete: blocks 2 were removed'])
  await store.commit([{ log: logOf(store, 1), batch: batchOf('new') }])
  assert.equal(await valuesOf(store, logOf(store, 1)), ['0=new'])
})

test('damage in the state is noticed, and the damaged entry is not used', async (context) => {
  const engines = await writtenEngines(context)
  const states = await engines.entries('state')
  const [key, value] = states.find(([found]) => found[0] === 1) as [Uint8Array, Uint8Array]
  await engines.put('state', key, flip(value, 6))
  try {
    await openTestStore(context, { engines })
    assert.unreachable()
  } catch (error) {
    assert.ok(isMillraceError(error, 'CORRUPT'))
    assert.match((error as Error).message, /state entry .* is damaged/)
  }
})

test('damage stays reported until all of the range is readable, or retention has dropped it', async (context) => {
  const engines = await writtenEngines(context)
  const open = () => openTestStore(context, { engines, tailCacheBytes: 0 })
  await (await open()).store.close()
  const blocks = await engines.entries('journal')
  const [first, second] = [blocks[1], blocks[3]] as [[Uint8Array, Uint8Array], [Uint8Array, Uint8Array]]
  for (const [key, value] of [first, second]) await engines.put('journal', key, flip(value, value.length - 1))
  const { store } = await open()
  for (const offset of [0, 1]) await store.read([{ log: logOf(store, 1), offset, bytesMax: 1 }])
  assert.is(store.problemOf(logOf(store, 1)), 'offsets 0 to 1 are damaged or lost')
  await store.close()
  await engines.put('journal', ...first)
  const half = await open()
  assert.is(half.store.problemOf(logOf(half.store, 1)), 'offsets 0 to 1 are damaged or lost')
  await half.store.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims([[1, 1]]) }])
  await half.store.close()
  await engines.put('journal', ...second)
  const whole = await open()
  assert.equal(whole.store.health.reasons, [], 'what is left of the range is well')
})

test('any number of blocks under impossible keys are skipped', async (context) => {
  const engines = await writtenEngines(context)
  const [, [, value]] = (await engines.entries('journal')) as [unknown, [Uint8Array, Uint8Array]]
  for (let n = 0; n < 40; n++) await engines.put('journal', positionKey(2 ** 50 + n), value)
  const { store } = await openTestStore(context, { engines })
  assert.equal(await valuesOf(store, logOf(store, 1)), ['0=a0', '1=a1', '2=a2'])
  assert.match(store.health.reasons.join('\n'), /under an impossible key/)
})

test.run()
