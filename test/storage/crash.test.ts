import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { suite, type TestContext } from '../helpers/suite.js'
import { logOf, openTestStore, valuesOf } from './fixtures.js'

const test = suite('storage/crash')
const writer = fileURLToPath(new URL('crash_writer.js', import.meta.url))
const rounds = 6

/** Runs a writer until it has acknowledged `lines`, kills it with -9, and returns what it acknowledged, line by line. */
async function writeAndKill(
  { defer }: TestContext,
  dir: string,
  round: number,
  lines: number,
): Promise<string[]> {
  const child = spawn(process.execPath, [writer, dir, String(round)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  defer(() => child.kill('SIGKILL'))
  const closed = once(child, 'close')
  let text = ''
  let count = 0
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (chunk: string) => {
    text += chunk
    count += chunk.split('\n').length - 1
    if (count >= lines) child.kill('SIGKILL')
  })
  const [, signal] = await closed
  assert.is(signal, 'SIGKILL')
  return text.split('\n').slice(0, -1)
}

test(
  'every message that was acknowledged before kill -9 is there afterwards, in order and once',
  async (context) => {
    const dir = await context.tempDir()
    const random = context.random()
    const acknowledged = new Map<string, string>()
    for (let round = 0; round < rounds; round++) {
      for (const line of await writeAndKill(context, dir, round, random.int(100, 3_000))) {
        const [id, offset, value] = line.split(' ')
        const place = `${id} ${offset}`
        assert.is(acknowledged.get(place), undefined, `${place} was given twice`)
        acknowledged.set(place, String(value))
      }
      const { store } = await openTestStore(context, { dir })
      assert.equal(store.health, { status: 'ok', reasons: [] })
      let found = 0
      for (const id of [1, 2, 3]) {
        const values = await valuesOf(store, logOf(store, id))
        assert.is(values.length, logOf(store, id).endOffset)
        const seen = new Set<string>()
        for (const [offset, entry] of values.entries()) {
          const value = entry.slice(entry.indexOf('=') + 1, entry.indexOf('|'))
          assert.not(seen.has(value), `${value} is there twice`)
          seen.add(value)
          const expected = acknowledged.get(`${id} ${offset}`)
          if (expected === undefined) continue
          assert.is(value, expected)
          found++
        }
      }
      assert.is(found, acknowledged.size, `round ${round}: acknowledged records are missing`)
      await store.close()
    }
  },
  { deadlineMs: 60_000 },
)

test.run()
