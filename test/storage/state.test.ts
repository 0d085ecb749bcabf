import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import type { EngineEntry } from '../../storage/index.js'
import { State } from '../../storage/state.js'
import { suite } from '../helpers/suite.js'
import { FaultyEngines } from './fixtures.js'

const test = suite('storage/state')

const key = (n: number) => Uint8Array.of(0x20, n)
const value = (text: string): Uint8Array => Buffer.from(text)
const everything = { gte: Uint8Array.of(0x20), lt: Uint8Array.of(0x21) }
const show = (entries: readonly EngineEntry[]) => entries.map(([k, v]) => `${k[1]}=${Buffer.from(v)}`)
const at = (position: number) => ({ position, link: position * 3 })

async function openState(engines = new FaultyEngines()): Promise<{ state: State; engines: FaultyEngines }> {
  return { state: await State.open(await engines.open('state')), engines }
}

test('reads see changes at once, and a new opening sees what was checkpointed', async () => {
  const { state, engines } = await openState()
  state.put(key(1), value('a'))
  state.put(key(2), value('b'))
  await state.write(at(10))
  state.put(key(2), value('c'))
  state.del(key(1))
  assert.is(await state.get(key(1)), undefined)
  assert.is(String(await state.get(key(2))), 'c')
  const { state: again } = await openState(engines)
  assert.equal(again.checkpoint, at(10))
  assert.equal(show(await again.range({ ...everything, limit: 10 })), ['1=a', '2=b'])
})

test('while a checkpoint is written, reads see it and what came after', async () => {
  const { state, engines } = await openState()
  state.put(key(1), value('a'))
  state.put(key(2), value('b'))
  state.put(key(4), value('d'))
  let release = () => {}
  engines.beforeCommit = () => new Promise((resolve) => (release = resolve))
  const written = state.write(at(1))
  state.put(key(2), value('newer'))
  state.del(key(1))
  state.put(key(3), value('c'))
  assert.equal(show(await state.range({ ...everything, limit: 10 })), ['2=newer', '3=c', '4=d'])
  assert.is(String(await state.get(key(4))), 'd')
  release()
  await written
  assert.equal(show(await state.range({ ...everything, limit: 10 })), ['2=newer', '3=c', '4=d'])
  assert.equal(show(await state.durableRange({ ...everything, limit: 10 })), ['1=a', '2=b', '4=d'])
})

/** An engine that hands over what it read only when the test says so. */
async function openHeldState() {
  const engines = new FaultyEngines()
  const engine = await engines.open('state')
  let answer: Promise<void> | undefined
  const held = async <T>(read: () => Promise<T>, readsFirst: boolean): Promise<T> => {
    const waiting = answer
    if (!readsFirst) await waiting
    const found = await read()
    if (readsFirst) await waiting
    return found
  }
  const order = { readsFirst: true }
  const state = await State.open({
    get: (k) => held(() => engine.get(k), order.readsFirst),
    getMany: (keys) => held(() => engine.getMany(keys), order.readsFirst),
    range: (options) => held(() => engine.range(options), order.readsFirst),
    commit: (ops) => engine.commit(ops),
    compact: (gte, lt) => engine.compact(gte, lt),
    close: () => engine.close(),
  })
  const hold = (readsFirst: boolean): (() => void) => {
    const { promise, resolve } = deferred()
    answer = promise
    order.readsFirst = readsFirst
    return () => {
      answer = undefined
      resolve()
    }
  }
  return { state, engines, hold }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((settle) => (resolve = settle))
  return { promise, resolve }
}

/** What each kind of read says of the keys 1 to 4, as `range` would show it. */
const kindsOfRead: Record<string, (state: State) => Promise<string[]>> = {
  range: async (state) => show(await state.range({ ...everything, limit: 10 })),
  'range against the order': async (state) =>
    show(await state.range({ ...everything, limit: 10, reverse: true })).reverse(),
  'range in small steps': async (state) => show(await state.range({ ...everything, limit: 2 })),
  getMany: async (state) => {
    const keys = [key(1), key(2), key(3), key(4)]
    const values = await state.getMany(keys)
    const found = keys.flatMap((k, at): EngineEntry[] => (values[at] ? [[k, values[at]]] : []))
    return show(found)
  },
}

for (const [kind, read] of Object.entries(kindsOfRead)) {
  for (const readsFirst of [true, false]) {
    const when = readsFirst ? 'after the engine has read' : 'before the engine reads'

    test(`${kind}: a checkpoint that ends ${when} hides no change and brings nothing back`, async () => {
      const { state, hold } = await openHeldState()
      state.put(key(1), value('a'))
      await state.write(at(1))
      state.del(key(1))
      state.put(key(2), value('b'))
      const release = hold(readsFirst)
      const found = read(state)
      await state.write(at(2))
      release()
      assert.equal(await found, ['2=b'])
    })

    test(`${kind}: a checkpoint in flight at the call, and ended ${when}, counts as well`, async () => {
      const { state, engines, hold } = await openHeldState()
      state.put(key(1), value('a'))
      state.put(key(2), value('a'))
      await state.write(at(1))
      state.del(key(1))
      state.put(key(2), value('b'))
      const gate = deferred()
      engines.beforeCommit = () => gate.promise
      const written = state.write(at(2))
      const release = hold(readsFirst)
      const found = read(state)
      gate.resolve()
      await written
      release()
      assert.equal(await found, ['2=b'])
    })

    test(`${kind}: a checkpoint that fails ${when} hides no change`, async () => {
      const { state, engines, hold } = await openHeldState()
      state.put(key(1), value('a'))
      await state.write(at(1))
      state.del(key(1))
      state.put(key(2), value('b'))
      engines.beforeCommit = () => {
        throw new Error('no')
      }
      const release = hold(readsFirst)
      const found = read(state)
      await state.write(at(2)).then(
        () => assert.unreachable(),
        () => {},
      )
      release()
      assert.equal(await found, ['2=b'])
    })

    test(`${kind}: of the changes of a checkpoint that ends ${when} it sees all or none`, async () => {
      const { state, hold } = await openHeldState()
      state.put(key(1), value('moves'))
      const release = hold(readsFirst)
      const found = read(state)
      for (const n of [2, 3, 4]) {
        state.del(key(n - 1))
        state.put(key(n), value('moves'))
        await state.write(at(n))
      }
      release()
      const [first, ...more] = await found
      assert.equal(more, [], 'the value that moves from key to key is there once')
      assert.match(String(first), /=moves$/)
    })
  }
}

test('get sees a key that a checkpoint wrote while the engine read', async () => {
  for (const readsFirst of [true, false]) {
    const { state, hold } = await openHeldState()
    const release = hold(readsFirst)
    const found = state.get(key(1))
    state.put(key(1), value('a'))
    await state.write(at(1))
    release()
    assert.is(String(await found), 'a')
  }
})

test('a checkpoint that fails keeps its changes, and newer ones win', async () => {
  const { state, engines } = await openState()
  state.put(key(1), value('old'))
  state.put(key(2), value('kept'))
  engines.beforeCommit = () => {
    state.put(key(1), value('new'))
    throw new Error('no')
  }
  await state.write(at(5)).then(
    () => assert.unreachable(),
    () => {},
  )
  assert.equal(state.checkpoint, at(0))
  assert.ok(state.dirtyBytes > 0)
  engines.beforeCommit = () => {}
  await state.write(at(6))
  const { state: again } = await openState(engines)
  assert.equal(show(await again.range({ ...everything, limit: 10 })), ['1=new', '2=kept'])
})

test('ranges agree with a plain map under random changes and checkpoints', async (context) => {
  const random = context.random()
  const { state } = await openState()
  const model = new Map<number, string>()
  for (let step = 0; step < 1_500; step++) {
    const n = random.int(0, 60)
    if (random.int(0, 2) > 0) {
      state.put(key(n), value(String(step)))
      model.set(n, String(step))
    } else {
      state.del(key(n))
      model.delete(n)
    }
    if (step % 97 === 0) await state.write(at(step))
    if (step % 5 !== 0) continue
    const [from, to] = [random.int(0, 60), random.int(0, 61)].sort((a, b) => a - b) as [number, number]
    const limit = random.int(1, 8)
    const reverse = random.int(0, 1) === 1
    const expected = [...model]
      .filter(([k]) => k >= from && k < to)
      .sort(([a], [b]) => (reverse ? b - a : a - b))
      .slice(0, limit)
      .map(([k, v]) => `${k}=${v}`)
    assert.equal(show(await state.range({ gte: key(from), lt: key(to), limit, reverse })), expected)
  }
})

test('a damaged, swapped or cut value is noticed', async () => {
  const { state, engines } = await openState()
  state.put(key(1), value('one'))
  state.put(key(2), value('two'))
  await state.write(at(1))
  const stored = new Map((await engines.entries('state')).map(([k, v]) => [k[1], v]))
  const two = stored.get(2) as Uint8Array
  const flipped = Uint8Array.from(two)
  flipped[5] = (flipped[5] as number) ^ 1
  for (const damaged of [flipped, stored.get(1) as Uint8Array, two.subarray(0, 3)]) {
    await engines.put('state', key(2), damaged)
    for (const read of [() => state.get(key(2)), () => state.range({ ...everything, limit: 10 })]) {
      await read().then(
        () => assert.unreachable(),
        (error) => {
          assert.ok(isMillraceError(error, 'CORRUPT'))
          assert.match(error.message, 'state entry 2002 is damaged')
        },
      )
    }
  }
})

test.run()
