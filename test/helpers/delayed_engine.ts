import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { Engine, EngineEntry, EngineFactory, EngineOp, RangeOptions } from '../../storage/index.js'
import type { Random } from './random.js'

/** How long an engine lets its callers wait. */
type Pace = 'quick' | 'slow'

/** Which operations of one engine are slow: an engine that is slow in all of them hides what only their difference shows. */
const paces: readonly { readonly reads: Pace; readonly commits: Pace }[] = [
  { reads: 'quick', commits: 'slow' },
  { reads: 'slow', commits: 'quick' },
  { reads: 'slow', commits: 'slow' },
]
const microtasksMax = 8
const turnsMax = 4
const shortMsMax = 3
const longMsMax = 30

/**
 * Waits that take random time before and after each operation of one engine: none, some microtasks, some turns of the
 * event loop, or up to 30 ms.
 */
export class Delays {
  readonly #random: Random
  readonly #pace: (typeof paces)[number]
  readonly #running = new Set<Promise<unknown>>()

  constructor(random: Random) {
    this.#random = random
    this.#pace = random.pick(paces)
  }

  read<T>(work: () => Promise<T>): Promise<T> {
    return this.#track(this.#around(this.#pace.reads, work))
  }

  commit<T>(work: () => Promise<T>): Promise<T> {
    return this.#track(this.#around(this.#pace.commits, work))
  }

  /** Closes once the operations that were called before have ended, as LevelDB does. */
  async close(work: () => Promise<void>): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running)
    await work()
  }

  async #around<T>(pace: Pace, work: () => Promise<T>): Promise<T> {
    await this.#pause(pace)
    try {
      return await work()
    } finally {
      await this.#pause(pace)
    }
  }

  #track<T>(operation: Promise<T>): Promise<T> {
    this.#running.add(operation)
    const done = (): boolean => this.#running.delete(operation)
    operation.then(done, done)
    return operation
  }

  async #pause(pace: Pace): Promise<void> {
    const random = this.#random
    const draw = random.float()
    const [noneBelow, microtasksBelow, turnsBelow, shortBelow] =
      pace === 'quick' ? [0.6, 0.9, 1, 1] : [0.1, 0.4, 0.75, 0.96]
    if (draw < noneBelow) return
    if (draw < microtasksBelow) {
      for (let left = random.int(1, microtasksMax); left > 0; left--) await undefined
    } else if (draw < turnsBelow) {
      for (let left = random.int(1, turnsMax); left > 0; left--) await setImmediate()
    } else await sleep(random.int(0, draw < shortBelow ? shortMsMax : longMsMax))
  }
}

/** An engine whose operations take random time. What it promises is what the port promises, and no more. */
export class DelayedEngine implements Engine {
  readonly copy: Engine | undefined
  readonly #inner: Engine
  readonly #delays: Delays

  constructor(inner: Engine, random: Random) {
    this.#inner = inner
    this.#delays = new Delays(random)
    this.copy = inner.copy && new DelayedEngine(inner.copy, random)
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#delays.read(() => this.#inner.get(key))
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#delays.read(() => this.#inner.getMany(keys))
  }

  range(options: RangeOptions): Promise<EngineEntry[]> {
    return this.#delays.read(() => this.#inner.range(options))
  }

  commit(ops: readonly EngineOp[]): Promise<void> {
    return this.#delays.commit(() => this.#inner.commit(ops))
  }

  appending(key: Uint8Array): Promise<void> | undefined {
    return this.#inner.appending?.(key)
  }

  compact(gte: Uint8Array, lt: Uint8Array): Promise<void> {
    return this.#delays.commit(() => this.#inner.compact(gte, lt))
  }

  close(): Promise<void> {
    return this.#delays.close(() => this.#inner.close())
  }
}

/** The engines of a factory, each delayed. */
export function delayedEngines(inner: EngineFactory, random: Random): EngineFactory {
  return {
    open: async (name) => new DelayedEngine(await inner.open(name), random),
    ...(inner.tryWriting === undefined
      ? {}
      : { tryWriting: () => inner.tryWriting?.() ?? Promise.resolve() }),
  }
}

/**
 * Makes every engine of a class a delayed one, whoever opens it: those that are made inside of the storage layer, too.
 * @param prototype the prototype of the class
 */
export function delayEngineClass(prototype: Engine, random: Random): void {
  const delaysOf = new WeakMap<Engine, Delays>()
  const delays = (engine: Engine): Delays => {
    const known = delaysOf.get(engine) ?? new Delays(random)
    delaysOf.set(engine, known)
    return known
  }
  const { get, getMany, range, commit, compact, close } = prototype
  Object.assign(prototype, {
    get(this: Engine, key: Uint8Array) {
      return delays(this).read(() => get.call(this, key))
    },
    getMany(this: Engine, keys: readonly Uint8Array[]) {
      return delays(this).read(() => getMany.call(this, keys))
    },
    range(this: Engine, options: RangeOptions) {
      return delays(this).read(() => range.call(this, options))
    },
    commit(this: Engine, ops: readonly EngineOp[]) {
      return delays(this).commit(() => commit.call(this, ops))
    },
    compact(this: Engine, gte: Uint8Array, lt: Uint8Array) {
      return delays(this).commit(() => compact.call(this, gte, lt))
    },
    close(this: Engine) {
      return delays(this).close(() => close.call(this))
    },
  } satisfies Omit<Engine, 'copy'>)
}
