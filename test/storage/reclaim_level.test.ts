import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { RecordCursor, splitBatches } from '../../protocol/index.js'
import { encodeTrims, opKinds, type PartitionLog, type Store } from '../../storage/index.js'
import { spawnNode } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'
import { batchOfBytes, createLogs, logOf, openTestStore } from './fixtures.js'
import { keptValue } from './reclaim_load_values.js'

const test = suite('storage/reclaim on LevelDB')

const program = fileURLToPath(new URL('./reclaim_load.fixture.js', import.meta.url))

const trim = (store: Store, log: PartitionLog, offset: number): Promise<void> =>
  store.commit([{ kind: opKinds.logsTrimmed, payload: encodeTrims([[log.id, offset]]) }])

test('space of records that were dropped before they reached a table is freed too', async (context) => {
  const { store } = await openTestStore(context, { dir: await context.tempDir(), tailCacheBytes: 0 })
  const [log] = await createLogs(store, 1)
  const value = context.random().bytes(50_000)
  for (let n = 0; n < 100; n++) await store.commit([{ log, batch: batchOfBytes(value) }])
  assert.ok((await store.diskBytes()) > 5_000_000)
  await trim(store, log, log.endOffset)
  await store.reclaim()
  const bytes = await store.diskBytes()
  assert.ok(bytes < 300_000, `${bytes} bytes are left of nothing`)
})

test('the folder stays small during publishing', (context) => publishAndShrink(context), {
  deadlineMs: 60_000,
})

/** Timers do all the work here, as in a broker; one log is kept forever, its neighbor for 200 blocks. */
async function publishAndShrink(context: TestContext): Promise<void> {
  const { store } = await openTestStore(context, {
    dir: await context.tempDir(),
    tailCacheBytes: 0,
    checkpointIntervalMs: 50,
    reclaimIntervalMs: 20,
    reclaim: { garbageBytesMin: 500_000, garbageShareMin: 0.1, rewriteDelayMs: 50, restFactor: 1 },
  })
  const [kept, brief] = await createLogs(store, 1, 2)
  const random = context.random()
  const sizes = [800, 3_000, 40_000]
  const values = sizes.map((bytes) => random.bytes(bytes))
  const publish = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      const value = values[n % values.length] ?? new Uint8Array(0)
      await store.commit([kept, brief].map((log) => ({ log, batch: batchOfBytes(value) })))
      if (n % 20 === 0) await trim(store, brief, Math.max(0, brief.endOffset - 200))
    }
  }
  await publish(1_000)
  const ratio = async (): Promise<number> => (await store.diskBytes()) / store.stats.liveBytes
  let publishing = true
  const more = publish(600).finally(() => {
    publishing = false
  })
  await waitFor('the folder to shrink under load', async () => (await ratio()) <= 1.5, { deadlineMs: 30_000 })
  assert.ok(publishing, 'it shrank during publishing')
  await more
  await waitFor('the folder to shrink at rest', async () => (await ratio()) <= 1.5, { deadlineMs: 30_000 })
  assert.is(kept.startOffset, 0)
  assert.is(store.health.status, 'ok')
}

test(
  'kill -9 at any moment of a reclaim loses no live record',
  async (context) => {
    const dir = await context.tempDir()
    const random = context.random()
    for (let round = 0; round < 6; round++) {
      const child = spawnNode(context, program, [dir])
      await child.waitForOutput('stdout', /acknowledged/, { deadlineMs: 15_000 })
      const already = lastAcknowledged(child.output.stdout)
      const until = already + 50 + random.int(0, 150)
      await waitFor('more to be acknowledged', () => lastAcknowledged(child.output.stdout) >= until, {
        deadlineMs: 15_000,
      })
      child.kill('SIGKILL')
      await child.exited
      await verify(context, dir, lastAcknowledged(child.output.stdout))
    }
  },
  { deadlineMs: 90_000 },
)

function lastAcknowledged(output: string): number {
  const complete = output.slice(0, output.lastIndexOf('\n'))
  return Number(complete.slice(complete.lastIndexOf(' ') + 1))
}

async function verify(context: TestContext, dir: string, acknowledged: number): Promise<void> {
  const { store } = await openTestStore(context, { dir, tailCacheBytes: 0 })
  const [kept, brief] = [logOf(store, 1), logOf(store, 2)]
  assert.is(store.health.status, 'ok', store.health.reasons.join('; '))
  assert.ok(kept.endOffset >= acknowledged, `${kept.endOffset} of ${acknowledged} acknowledged records`)
  assert.is(brief.endOffset, kept.endOffset)
  assert.ok(brief.startOffset >= brief.endOffset - 30)
  assert.is(await countValues(store, brief), brief.endOffset - brief.startOffset)
  assert.is(await countValues(store, kept, keptValue), kept.endOffset)
  await store.reclaim()
  assert.is(await countValues(store, kept, keptValue), kept.endOffset)
  const [disk, live] = [await store.diskBytes(), store.stats.liveBytes]
  assert.ok(disk <= live * 1.5 + 200_000, `the folder has ${disk} bytes, ${live} live`)
  await store.close()
}

/** Reads a log to its end and compares each value with what it should be. */
async function countValues(
  store: Store,
  log: PartitionLog,
  expected?: (offset: number) => Uint8Array,
): Promise<number> {
  let count = 0
  for (let offset = log.startOffset; offset < log.endOffset; ) {
    const [result] = await store.read([{ log, offset, bytesMax: 1_000_000 }])
    if (result?.error !== undefined) throw result.error
    for (const batch of (result?.chunks ?? []).flatMap((chunk) => splitBatches(chunk))) {
      const cursor = new RecordCursor(batch)
      while (cursor.next()) {
        assert.is(cursor.offset, offset)
        const value = cursor.records.subarray(cursor.valueStart, cursor.valueEnd)
        if (expected !== undefined && Buffer.compare(value, expected(offset)) !== 0)
          throw new Error(`offset ${offset} has another value`)
        offset++
        count++
      }
    }
  }
  return count
}

test.run()
