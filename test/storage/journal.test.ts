import * as assert from 'uvu/assert'
import { decodeBlock, type LogBatches, type Operation } from '../../storage/block.js'
import { type Engine, memoryEngines } from '../../storage/index.js'
import { Journal, type WrittenBlock } from '../../storage/journal.js'
import { positionKey } from '../../storage/keys.js'
import { suite } from '../helpers/suite.js'
import { batchOfBytes } from './fixtures.js'

const test = suite('storage/journal')

const start = { position: 0, link: 0 }
const logOf = (logId: number, firstOffset: number, ...sizes: number[]): LogBatches => {
  const batches = sizes.map((size) => batchOfBytes(new Uint8Array(size)))
  return { logId, firstOffset, batches, bytes: batches.reduce((sum, { length }) => sum + length, 0) }
}

/** The functions of an engine, to replace some of them. */
const boundTo = (engine: Engine): Engine => ({
  get: (key) => engine.get(key),
  getMany: (keys) => engine.getMany(keys),
  range: (options) => engine.range(options),
  commit: (ops) => engine.commit(ops),
  compact: (...args) => engine.compact(...args),
  close: () => engine.close(),
})

async function write(
  journal: Journal,
  logs: LogBatches[],
  operations: Operation[] = [],
): Promise<readonly WrittenBlock[]> {
  const commit = journal.encode(logs, operations)
  await journal.write(commit)
  return commit.blocks
}

test('a commit that is encoded during the write of another follows it', async () => {
  const journal = new Journal(await memoryEngines().open('journal'), start)
  const first = journal.encode([logOf(1, 0, 10)], [])
  const written = journal.write(first)
  const second = journal.encode([logOf(1, 1, 10)], [])
  await written
  assert.equal(journal.last, first.last)
  await journal.write(second)
  assert.equal(journal.last, second.last)
  const [, block] = (await journal.scan(1, 100)).blocks
  assert.is(decodeBlock((block as { bytes: Uint8Array }).bytes, 2).previousLink, first.last.link)
})

test('positions ascend by one and every block names the link of the one before', async () => {
  const journal = new Journal(await memoryEngines().open('journal'), start)
  for (let n = 0; n < 3; n++) await write(journal, [logOf(1, n * 2, 50_000, 50_000)])
  const blocks = (await journal.scan(1, 100)).blocks.map(({ position, bytes }) =>
    decodeBlock(bytes, position),
  )
  assert.equal(
    blocks.map(({ position }) => position),
    [1, 2, 3, 4, 5, 6],
  )
  let previous = 0
  for (const { previousLink, link } of blocks) {
    assert.is(previousLink, previous)
    previous = link
  }
  assert.equal(journal.last, { position: 6, link: previous })
  assert.equal(
    blocks.map(({ indexInCommit, blocksInCommit }) => [indexInCommit, blocksInCommit]),
    [0, 1, 0, 1, 0, 1].map((index) => [index, 2]),
  )
})

test('small batches and operations of a commit share blocks, large ones have their own', async () => {
  const journal = new Journal(await memoryEngines().open('journal'), start)
  const payload = new Uint8Array(100)
  const written = await write(
    journal,
    [logOf(1, 0, 200), logOf(2, 0, 40_000), logOf(3, 0, 200), logOf(4, 0, 300_000, 100)],
    [{ kind: 9, payload }],
  )
  assert.equal(
    written.map(({ directory, operations }) => [
      directory.map(({ logId, recordCount }) => `${logId}:${recordCount}`).join(),
      operations.length,
    ]),
    [
      ['2:1', 0],
      ['4:1', 0],
      ['4:1', 0],
      ['1:1,3:1', 1],
    ],
  )
})

test('shared blocks end at about 64 KiB', async () => {
  const journal = new Journal(await memoryEngines().open('journal'), start)
  const written = await write(
    journal,
    Array.from({ length: 100 }, (_, n) => logOf(n + 1, 0, 3_000)),
    Array.from({ length: 1_000 }, () => ({ kind: 9, payload: new Uint8Array(300) })),
  )
  for (const { bytes } of written) assert.ok(bytes.length < 70_000)
  assert.ok(written.length <= 12)
  assert.is(
    written.reduce((sum, { operations }) => sum + operations.length, 0),
    1_000,
  )
})

test('a commit that the engine rejects leaves no trace', async () => {
  const inner = await memoryEngines().open('journal')
  const journal = new Journal(
    {
      ...inner,
      getMany: inner.getMany.bind(inner),
      range: inner.range.bind(inner),
      get: inner.get.bind(inner),
      compact: inner.compact.bind(inner),
      close: inner.close.bind(inner),
      commit: () => Promise.reject(new Error('no')),
    },
    { position: 5, link: 77 },
  )
  await write(journal, [logOf(1, 0, 10)]).then(
    () => assert.unreachable(),
    (error) => assert.is(error.message, 'no'),
  )
  assert.equal(journal.last, { position: 5, link: 77 })
})

test('many readers together read no more than 64 blocks at a time, and each gets its own', async () => {
  const engine = await memoryEngines().open('journal')
  let inFlight = 0
  let most = 0
  const slow: Engine = {
    ...boundTo(engine),
    async getMany(keys) {
      inFlight += keys.length
      most = Math.max(most, inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      inFlight -= keys.length
      return keys.map((key) => key)
    },
  }
  const journal = new Journal(slow, start)
  const wanted = Array.from({ length: 40 }, (_, reader) =>
    Array.from({ length: 1 + reader }, (_, index) => reader * 1_000 + index),
  )
  const found = await Promise.all(wanted.map((positions) => journal.readRaw(positions)))
  assert.equal(
    found,
    wanted.map((positions) => positions.map(positionKey)),
  )
  assert.ok(most > 32 && most <= 64, `${most} at a time`)
})

test('a read that fails gives its place to the next', async () => {
  const engine = await memoryEngines().open('journal')
  const failing: Engine = {
    ...boundTo(engine),
    async getMany() {
      throw new Error('planted')
    },
  }
  const journal = new Journal(failing, start)
  const positions = Array.from({ length: 64 }, (_, index) => index + 1)
  for (let n = 0; n < 3; n++) {
    const error = await journal.readRaw(positions).catch((reason: Error) => reason)
    assert.is((error as Error).message, 'planted')
  }
})

test.run()
