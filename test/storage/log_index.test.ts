import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { type IndexEntry, IndexPage } from '../../storage/index_page.js'
import { LogIndex, PageCache } from '../../storage/log_index.js'
import { State } from '../../storage/state.js'
import { suite } from '../helpers/suite.js'
import { FaultyEngines } from './fixtures.js'

const test = suite('storage/log_index')

const entry = (firstOffset: number, recordCount = 1): IndexEntry => ({
  firstOffset,
  recordCount,
  bytes: 100,
  position: firstOffset + 7,
  lastTimestamp: 1_700_000_000_000 + firstOffset,
})

test('an entry has these bytes', () => {
  const page = IndexPage.empty()
  page.push({ firstOffset: 0x1_0000_0002, position: 3, lastTimestamp: 4, recordCount: 5, bytes: 6 })
  assert.is(
    Buffer.from(page.encode()).toString('hex'),
    ['0200000001000000', '0300000000000000', '0400000000000000', '05000000', '06000000'].join(''),
  )
})

test('a page that was encoded does not change when the page grows', () => {
  const page = IndexPage.empty()
  for (let n = 0; n < 5; n++) page.push(entry(n))
  const encoded = page.encode()
  const before = Buffer.from(encoded)
  while (!page.isFull) page.push(entry(page.endOffset))
  assert.equal(Buffer.from(encoded), before)
  assert.is(IndexPage.decode(encoded).count, 5)
  assert.is(page.count, 64)
})

test('a page of a wrong size is damage', () => {
  for (const bytes of [0, 31, 33, 65 * 32]) {
    assert.throws(
      () => IndexPage.decode(new Uint8Array(bytes)),
      (error: unknown) => isMillraceError(error, 'CORRUPT'),
    )
  }
})

test('every offset has its entry, in old, new and cached pages, with and without a checkpoint', async (context) => {
  const random = context.random()
  const state = await State.open(await new FaultyEngines().open('state'))
  const cache = new PageCache(2)
  const indexes = [1, 2, 3].map((id) => new LogIndex(id, state, cache))
  const entries = indexes.map(() => [] as IndexEntry[])
  for (let n = 0; n < 1_500; n++) {
    const which = random.int(0, 2)
    const list = entries[which] as IndexEntry[]
    const last = list.at(-1)
    const next = entry(last === undefined ? 0 : last.firstOffset + last.recordCount, random.int(1, 5))
    indexes[which]?.add(next, 0)
    list.push(next)
    if (n % 300 === 0) {
      for (const index of indexes) index.save()
      await state.write({ position: n, link: 0 })
    }
    const asked = random.int(0, 2)
    const known = entries[asked] as IndexEntry[]
    const end = (known.at(-1)?.firstOffset ?? 0) + (known.at(-1)?.recordCount ?? 0)
    const offset = random.int(0, end)
    const expected = known.find(({ firstOffset, recordCount }) => firstOffset + recordCount > offset)
    const found = await indexes[asked]?.from(offset)
    assert.equal(found?.[0], expected, `log ${asked + 1} at ${offset}`)
  }
})

test('a page that was deleted is skipped, and the next one answers', async () => {
  const state = await State.open(await new FaultyEngines().open('state'))
  const index = new LogIndex(1, state, new PageCache())
  for (let n = 0; n < 200; n++) index.add(entry(n), 0)
  assert.is((await index.from(3))[0]?.firstOffset, 3)
  assert.ok(index.deletePage(0))
  assert.is((await index.from(3))[0]?.firstOffset, 64)
  assert.is((await index.pageAt(3))?.count, 64)
  assert.not(index.deletePage(192), 'the newest page stays')
  assert.is((await index.from(199))[0]?.firstOffset, 199)
  assert.equal(await index.from(200), [])
  assert.is(await index.pageAt(200), undefined)
})

test('a page that fills, and is followed by another, while older pages are read is not skipped', async () => {
  for (const added of [0, 1, 54, 55, 64, 200]) {
    for (const when of ['before the read', 'at its end'] as const) {
      const state = await State.open(await new FaultyEngines().open('state'))
      let change = (): void => {}
      const index = new LogIndex(
        1,
        {
          put: (key, value) => state.put(key, value),
          del: (key) => state.del(key),
          range: async (options) => {
            const changeNow = change
            change = () => {}
            if (when === 'before the read') changeNow()
            const found = await state.range(options)
            if (when === 'at its end') changeNow()
            return found
          },
        },
        new PageCache(),
      )
      for (let n = 0; n < 64 + 10; n++) index.add(entry(n), 0)
      // The state has the newest page in part.
      index.save()
      index.deletePage(0)
      index.add(entry(74), 0)
      const grow = (): void => {
        for (let n = 75; n < 75 + added; n++) index.add(entry(n), 0)
      }
      change = () => {
        // The second of the two reads: the first one finds no page before the offset.
        change = grow
      }
      const page = await index.pageAt(3)
      const count = Math.min(64, 11 + added)
      assert.equal([page?.firstOffset, page?.count], [64, count], `${added} entries, ${when}`)
    }
  }
})

test.run()
