import { Level } from 'level'
import * as assert from 'uvu/assert'
import type { EngineOp } from '../../storage/engine.js'
import { LevelEngine } from '../../storage/level_engine.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('storage/level_engine')

type Method = (this: unknown, ...args: unknown[]) => unknown

/** Calls `seen` with the arguments and the result of each call of a method of LevelDB, until the test ends. */
function watch(
  { defer }: TestContext,
  name: 'batch' | 'iterator',
  seen: (args: readonly unknown[], result: unknown) => void,
): void {
  const prototype = Level.prototype as unknown as Record<string, Method>
  const original = prototype[name] as Method
  prototype[name] = function (...args) {
    const result = original.apply(this, args)
    seen(args, result)
    return result
  }
  defer(() => {
    prototype[name] = original
  })
}

async function openEngine(context: TestContext): Promise<LevelEngine> {
  const engine = await LevelEngine.open(await context.tempDir())
  context.defer(() => engine.close())
  return engine
}

function puts(count: number): EngineOp[] {
  return Array.from({ length: count }, (_, index) => ({
    type: 'put',
    key: Uint8Array.of(index >> 8, index & 0xff),
    value: Uint8Array.of(1),
  }))
}

test('every commit asks LevelDB for a sync, however many operations it has', async (context) => {
  const engine = await openEngine(context)
  const syncs: unknown[] = []
  watch(context, 'batch', (args, result) => {
    if (args.length > 0) syncs.push((args[1] as { sync?: boolean } | undefined)?.sync)
    else {
      // A chained batch, whose options come with `write`.
      const chained = result as { write(options?: { sync?: boolean }): Promise<void> }
      const write = chained.write
      chained.write = function (options) {
        syncs.push(options?.sync)
        return write.call(this, options)
      }
    }
  })
  for (const count of [1, 512, 513, 5_000]) await engine.commit(puts(count))
  assert.equal(syncs, [true, true, true, true])
})

test('a range read closes its iterator, also when it fails', async (context) => {
  const engine = await openEngine(context)
  await engine.commit(puts(20))
  const opened = new Set<unknown>()
  const closed = new Set<unknown>()
  let fails = false
  watch(context, 'iterator', (_args, result) => {
    opened.add(result)
    const iterator = result as { close(): Promise<void>; all(): Promise<unknown> }
    const close = iterator.close
    iterator.close = function () {
      closed.add(this)
      return close.call(this)
    }
    if (fails) iterator.all = () => Promise.reject(new Error('the disk does not answer'))
  })
  const all = { gte: Uint8Array.of(0), lt: Uint8Array.of(9), limit: 1_000 }
  assert.is((await engine.range(all)).length, 20)
  assert.is((await engine.range({ ...all, limit: 5 })).length, 5)
  fails = true
  const error = await engine.range(all).catch((reason: unknown) => reason)
  assert.match(String(error), /the disk does not answer/)
  assert.is(opened.size, 3)
  assert.ok([...opened].every((iterator) => closed.has(iterator)))
})

test.run()
