import * as assert from 'uvu/assert'
import type { Engine } from '../../storage/index.js'
import { suite, type TestContext } from '../helpers/suite.js'

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString()

/** What every engine has to do; `open` gives a new, empty one. Registers and runs the suite. */
export function engineContract(name: string, open: (context: TestContext) => Promise<Engine>): void {
  const test = suite(`storage/engine: ${name}`)

  test('returns committed values, and nothing for other keys', async (context) => {
    const engine = await open(context)
    await engine.commit([{ type: 'put', key: bytes('a'), value: bytes('1') }])
    assert.is(text(await engine.get(bytes('a'))), '1')
    assert.is(await engine.get(bytes('b')), undefined)
    assert.equal((await engine.getMany([bytes('b'), bytes('a')])).map(text), [undefined, '1'])
  })

  test('applies the operations of a commit in order', async (context) => {
    const engine = await open(context)
    await engine.commit([
      { type: 'put', key: bytes('a'), value: bytes('1') },
      { type: 'put', key: bytes('a'), value: bytes('2') },
      { type: 'put', key: bytes('b'), value: bytes('3') },
      { type: 'del', key: bytes('b') },
    ])
    assert.is(text(await engine.get(bytes('a'))), '2')
    assert.is(await engine.get(bytes('b')), undefined)
  })

  test('a commit of thousands of operations is one commit, in order', async (context) => {
    const engine = await open(context)
    const key = (n: number) => Buffer.from(String(n).padStart(5, '0'))
    const puts = Array.from(
      { length: 3_000 },
      (_, n) => ({ type: 'put', key: key(n), value: key(n) }) as const,
    )
    await engine.commit([
      ...puts,
      { type: 'del', key: key(1) },
      { type: 'put', key: key(2), value: bytes('new') },
    ])
    const found = await engine.range({ gte: key(0), lt: bytes('9'), limit: 10_000 })
    assert.is(found.length, 2_999)
    assert.equal(
      found.slice(0, 3).map(([, value]) => text(value)),
      ['00000', 'new', '00003'],
    )
    assert.is(text(found.at(-1)?.[1]), '02999')
  })

  test('keeps its own copy of keys and values', async (context) => {
    const engine = await open(context)
    const key = bytes('key')
    const value = bytes('value')
    await engine.commit([{ type: 'put', key, value }])
    key.fill(0)
    value.fill(0)
    assert.is(text(await engine.get(bytes('key'))), 'value')
  })

  test('ranges are ordered by unsigned bytes, bounded and reversible', async (context) => {
    const engine = await open(context)
    const keys = [[0], [0, 0], [0, 255], [1], [127], [128], [255], [255, 1]]
    await engine.commit(
      [...keys].reverse().map((key) => ({ type: 'put', key: Uint8Array.from(key), value: bytes('v') })),
    )
    const range = async (options: { limit: number; reverse?: boolean }) =>
      (await engine.range({ gte: Uint8Array.of(0, 0), lt: Uint8Array.of(255), ...options })).map(([key]) => [
        ...key,
      ])
    assert.equal(await range({ limit: 100 }), keys.slice(1, 6))
    assert.equal(await range({ limit: 2 }), keys.slice(1, 3))
    assert.equal(await range({ limit: 2, reverse: true }), [[128], [127]])
  })

  test('deletes a range and works after compacting it', async (context) => {
    const engine = await open(context)
    const key = (n: number) => Uint8Array.of(n)
    await engine.commit([1, 2, 3].map((n) => ({ type: 'put', key: key(n), value: new Uint8Array(1000) })))
    await engine.commit([{ type: 'del', key: key(2) }])
    await engine.compact(key(1), key(3))
    const left = await engine.range({ gte: key(0), lt: key(9), limit: 9 })
    assert.equal(
      left.map(([found]) => found[0]),
      [1, 3],
    )
  })

  test.run()
}
