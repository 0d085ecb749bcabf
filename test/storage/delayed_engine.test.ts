import * as assert from 'uvu/assert'
import { type Engine, type EngineEntry, levelEngines, memoryEngines } from '../../storage/index.js'
import { SortedBytesMap } from '../../storage/sorted_bytes_map.js'
import { State } from '../../storage/state.js'
import { DelayedEngine, delayedEngines } from '../helpers/delayed_engine.js'
import type { Random } from '../helpers/random.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { engineContract } from './engine_contract.js'

const test = suite('storage/delayed_engine')

const key = (n: number) => Uint8Array.of(0x20, n)
const everything = { gte: Uint8Array.of(0x20), lt: Uint8Array.of(0x21) }
const keyCount = 6
const moves = 60

/** What the workload uses of a state. */
type ReadState = Pick<State, 'put' | 'del' | 'write' | 'range'>

/** The fault that these engines are to show: it asks the engine first and looks at its changes in memory afterwards. */
class PlantedState implements ReadState {
  readonly #engine: Engine
  #active = new SortedBytesMap<Uint8Array | null>()
  #frozen = this.#active

  constructor(engine: Engine) {
    this.#engine = engine
  }

  put(k: Uint8Array, value: Uint8Array): void {
    this.#active.set(k, value)
  }

  del(k: Uint8Array): void {
    this.#active.set(k, null)
  }

  async write(): Promise<void> {
    this.#frozen = this.#active
    this.#active = new SortedBytesMap()
    await this.#engine.commit(
      [...this.#frozen.entries()].map(([k, value]) =>
        value === null ? { type: 'del', key: k } : { type: 'put', key: k, value },
      ),
    )
    this.#frozen = this.#active
  }

  async range(options: Parameters<State['range']>[0]): Promise<EngineEntry[]> {
    const found = new SortedBytesMap<Uint8Array | null>()
    for (const [k, value] of await this.#engine.range(options)) found.set(k, value)
    for (const layer of [this.#frozen, this.#active])
      for (const [k, value] of layer.range(options)) found.set(k, value)
    return found.range(options).flatMap(([k, value]): EngineEntry[] => (value === null ? [] : [[k, value]]))
  }
}

/** One value moves from key to key while checkpoints are written. Returns how many reads did not find it exactly once. */
async function misreads(state: ReadState, random: Random): Promise<number> {
  let place = 0
  let moving = true
  let wrong = 0
  state.put(key(place), key(0))
  const move = async (): Promise<void> => {
    for (let left = moves; left > 0; left--) {
      state.del(key(place))
      place = random.int(0, keyCount - 1)
      state.put(key(place), key(0))
      if (random.chance(0.5)) await state.write({ position: moves - left, link: 0 })
    }
    moving = false
  }
  const read = async (): Promise<void> => {
    while (moving) if ((await state.range({ ...everything, limit: keyCount })).length !== 1) wrong++
  }
  await Promise.all([move(), read(), read(), read()])
  return wrong
}

const engines: Record<string, (context: TestContext) => Promise<Engine>> = {
  memory: () => memoryEngines().open('state'),
  LevelDB: async (context) => levelEngines(await context.tempDir()).open('state'),
}

for (const [name, open] of Object.entries(engines)) {
  const openDelayed = async (context: TestContext): Promise<{ engine: Engine; random: Random }> => {
    const random = context.random()
    const engine = new DelayedEngine(await open(context), random)
    context.defer(() => engine.close())
    return { engine, random }
  }

  test(`${name}: the state reads one moment`, async (context) => {
    for (let round = 0; round < 3; round++) {
      const { engine, random } = await openDelayed(context)
      assert.is(await misreads(await State.open(engine), random), 0)
    }
  })

  test(`${name}: a state that mixes moments is detected`, async (context) => {
    let wrong = 0
    for (let round = 0; round < 20 && wrong === 0; round++) {
      const { engine, random } = await openDelayed(context)
      wrong += await misreads(new PlantedState(engine), random)
    }
    assert.ok(wrong > 0, 'no read went wrong in 20 rounds')
  })
}

test('closing waits for the operations that were called before', async (context) => {
  const engine = await delayedEngines(memoryEngines(), context.random()).open('journal')
  let ended = 0
  for (let n = 0; n < 20; n++) {
    void engine.get(key(n)).then(() => ended++)
    void engine.commit([{ type: 'put', key: key(n), value: key(n) }]).then(() => ended++)
  }
  await engine.close()
  assert.is(ended, 40)
})

test.run()

for (const [name, open] of Object.entries(engines))
  engineContract(`${name}, delayed`, async (context) => {
    const engine = new DelayedEngine(await open(context), context.random())
    context.defer(() => engine.close())
    return engine
  })
