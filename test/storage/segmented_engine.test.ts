import { setImmediate } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import type { Engine } from '../../storage/index.js'
import { positionKey, positionOf } from '../../storage/keys.js'
import { MemoryEngine } from '../../storage/memory_engine.js'
import { SegmentedEngine, type SegmentStore } from '../../storage/segmented_engine.js'
import { suite } from '../helpers/suite.js'
import { engineContract } from './engine_contract.js'

const first = new Uint8Array(0)

/** Segments in memory, and what was done with them. */
class MemorySegments implements SegmentStore {
  readonly engines = new Map<string, MemoryEngine>()
  readonly openNow = new Set<string>()
  opened = 0
  /** What ranges wait for. */
  gate: Promise<void> | undefined
  /** How often opening fails from now on. */
  failures = 0

  async open(from: Uint8Array): Promise<Engine> {
    if (this.failures-- > 0) throw new Error('too many open files')
    return this.#open(from)
  }

  async create(from: Uint8Array): Promise<Engine> {
    return this.#open(from)
  }

  async remove(from: Uint8Array): Promise<void> {
    assert.not(this.openNow.has(name(from)), 'it is closed')
    this.engines.delete(name(from))
  }

  #open(from: Uint8Array): Engine {
    const id = name(from)
    assert.not(this.openNow.has(id), 'it is not open yet')
    this.openNow.add(id)
    this.opened++
    const engine = this.engines.get(id) ?? new MemoryEngine()
    this.engines.set(id, engine)
    return {
      get: (key) => engine.get(key),
      getMany: (keys) => engine.getMany(keys),
      range: async (options) => {
        await this.gate
        return engine.range(options)
      },
      commit: (ops) => engine.commit(ops),
      compact: () => engine.compact(),
      close: async () => void this.openNow.delete(id),
    }
  }
}

function name(from: Uint8Array): string {
  return Buffer.from(from).toString('hex')
}

engineContract('segments', () => {
  const starts = [first, Uint8Array.of(0, 255), Uint8Array.of(2), Buffer.from('00100'), Uint8Array.of(128)]
  return SegmentedEngine.open(new MemorySegments(), { starts, newestBytes: 0 }, 1e9)
})

const test = suite('storage/segmented_engine')

/** Appends blocks of 100 bytes as a journal does, one in a commit. */
async function append(engine: Engine, from: number, to: number): Promise<void> {
  for (let position = from; position <= to; position++) {
    await engine.appending?.(positionKey(position))
    await engine.commit([
      { type: 'put', key: positionKey(position), value: new Uint8Array(100).fill(position) },
    ])
  }
}

async function positionsOf(engine: Engine, from: number, to: number, limit = 1_000, reverse = false) {
  const entries = await engine.range({ gte: positionKey(from), lt: positionKey(to), limit, reverse })
  return entries.map(([key]) => positionOf(key))
}

const span = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, n) => from + n)

test('a segment that is full is followed by another one, and all are read as one', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(engine, 1, 55)
  assert.equal([...segments.engines.keys()], [first, ...[11, 21, 31, 41, 51].map(positionKey)].map(name))
  assert.equal(await positionsOf(engine, 0, 100), span(1, 55))
  assert.equal(await positionsOf(engine, 8, 33), span(8, 32))
  assert.equal(await positionsOf(engine, 8, 100, 5), span(8, 12))
  assert.equal(await positionsOf(engine, 8, 33, 14, true), span(19, 32).reverse())
  const wanted = [55, 1, 30, 31, 99, 12]
  const values = await engine.getMany(wanted.map(positionKey))
  assert.equal(
    values.map((value) => value?.[0]),
    [55, 1, 30, 31, undefined, 12],
  )
  assert.is((await engine.get(positionKey(20)))?.[0], 20)
  assert.ok(segments.openNow.size <= 4, `${segments.openNow.size} are open`)
})

test('a block that is written again stays in its segment, also when the newest is full', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(engine, 1, 20)
  assert.is(segments.engines.size, 2)
  const again = (position: number) =>
    ({ type: 'put', key: positionKey(position), value: new Uint8Array(1).fill(position) }) as const
  await engine.commit([again(20), again(3), { type: 'del', key: positionKey(10) }])
  assert.is(segments.engines.size, 2)
  assert.is((await segments.engines.get(name(first))?.get(positionKey(3)))?.length, 1)
  assert.equal(await positionsOf(engine, 0, 100), [...span(1, 9), ...span(11, 20)])
  await append(engine, 21, 21)
  assert.is(segments.engines.size, 3)
})

test('it continues in the newest segment, and knows the size of it', async () => {
  const segments = new MemorySegments()
  const one = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(one, 1, 15)
  await one.close()
  assert.is(segments.openNow.size, 0)
  const list = { starts: [first, positionKey(11)], newestBytes: 500 }
  const engine = await SegmentedEngine.open(segments, list, 1_000)
  assert.is(segments.openNow.size, 1, 'what is not needed is not opened')
  await append(engine, 16, 21)
  assert.equal([...segments.engines.keys()], [first, positionKey(11), positionKey(21)].map(name))
  assert.equal(await positionsOf(engine, 0, 100), span(1, 21))
  await engine.close()
  const error = await engine.get(positionKey(1)).catch((error: Error) => error)
  assert.ok(error instanceof Error)
  assert.is(segments.openNow.size, 0)
})

test('only a few segments are open at a time, and none is closed during its use', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(engine, 1, 200)
  const openedBefore = segments.opened
  const reads = span(1, 200).map(async (position) => {
    const value = await engine.get(positionKey(position))
    assert.is(value?.[0], position)
  })
  await Promise.all(reads)
  assert.ok(segments.opened - openedBefore >= 16, 'all were opened')
  await engine.get(positionKey(200))
  assert.ok(segments.openNow.size <= 4, `${segments.openNow.size} are open`)
  for (let n = 0; n < 10; n++) await engine.get(positionKey(5))
  assert.equal(
    [...segments.openNow].sort(),
    [first, positionKey(191)].map(name).sort(),
    'who reads on leaves none open',
  )
})

test('readers of different segments do not close them for each other', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(engine, 1, 50)
  for (const position of [5, 15, 25]) await engine.get(positionKey(position))
  const openedBefore = segments.opened
  for (let n = 0; n < 20; n++) for (const position of [5, 15, 25]) await engine.get(positionKey(position))
  assert.is(segments.opened, openedBefore)
})

test('a segment that could not be opened is opened by the next reader', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(
    segments,
    { starts: [first, positionKey(11)], newestBytes: 0 },
    1e9,
  )
  segments.failures = 1
  const error = await engine.get(positionKey(3)).catch((error: Error) => error)
  assert.is((error as Error).message, 'too many open files')
  assert.is(await engine.get(positionKey(3)), undefined)
})

test('a range read skips a segment that is removed during it', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(engine, 1, 30)
  await engine.commit(span(11, 20).map((position) => ({ type: 'del', key: positionKey(position) })))
  let open = () => {}
  segments.gate = new Promise((resolve) => (open = resolve))
  const reading = positionsOf(engine, 0, 100)
  await setImmediate()
  segments.gate = undefined
  await engine.compact(positionKey(11), positionKey(21))
  assert.not(segments.engines.has(name(positionKey(11))))
  open()
  assert.equal(await reading, [...span(1, 10), ...span(21, 30)])
  assert.not(segments.engines.has(name(positionKey(11))), 'it is not made again')
})

test('an empty segment is removed after its compaction; the first and the newest stay', async () => {
  const segments = new MemorySegments()
  const engine = await SegmentedEngine.open(segments, { starts: [first], newestBytes: 0 }, 1_000)
  await append(engine, 1, 45)
  const remove = (positions: readonly number[]) =>
    engine.commit(positions.map((position) => ({ type: 'del', key: positionKey(position) })))
  await remove([...span(1, 25), ...span(41, 45)])
  await engine.compact(positionKey(1), positionKey(26))
  await engine.compact(positionKey(41), positionKey(46))
  assert.equal([...segments.engines.keys()], [first, ...[21, 31, 41].map(positionKey)].map(name))
  assert.equal(await positionsOf(engine, 0, 100), span(26, 40))
  assert.equal(await positionsOf(engine, 15, 30), span(26, 29))
  assert.is(await engine.get(positionKey(15)), undefined)
  await append(engine, 46, 60)
  assert.equal(await positionsOf(engine, 0, 100), [...span(26, 40), ...span(46, 60)])
})

test.run()
