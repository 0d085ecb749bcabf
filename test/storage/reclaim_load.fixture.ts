/**
 * Publishes to a log without limits and to one with short retention, in shared blocks or not, and reclaims space
 * all the time, until it is killed. It prints the first unacknowledged offset of the unlimited log, again and again.
 *
 * Usage: reclaim_load.fixture.js DIR
 */
import { encodeTrims, openStore, opKinds } from '../../storage/index.js'
import { batchOfBytes, createKind, TestViews } from './fixtures.js'
import { keptValue } from './reclaim_load_values.js'

const keepRecords = 20
const dir = process.argv[2]
if (dir === undefined) throw new Error('usage: reclaim_load.fixture.js DIR')

const store = await openStore(
  {
    dir,
    tailCacheBytes: 0,
    freeBytesMin: 1,
    checkpointIntervalMs: 20,
    reclaimIntervalMs: 3_600_000,
    reclaim: { garbageBytesMin: 0, garbageShareMin: 0, rewriteDelayMs: 0, restFactor: 0 },
  },
  new TestViews(),
)
if (store.log(1) === undefined)
  await store.commit(['1', '2'].map((id) => ({ kind: createKind, payload: Buffer.from(id) })))
const [kept, brief] = [store.log(1), store.log(2)]
if (kept === undefined || brief === undefined) throw new Error('the logs were not created')

async function publish(): Promise<never> {
  if (kept === undefined || brief === undefined) throw new Error('no logs')
  for (;;) {
    const offset = kept.nextOffset
    await store.commit([
      { log: kept, batch: batchOfBytes(keptValue(offset)) },
      { log: brief, batch: batchOfBytes(new Uint8Array(offset % 8 === 0 ? 40_000 : 4_000).fill(offset)) },
    ])
    console.log(`acknowledged ${kept.endOffset}`)
    if (brief.endOffset % 5 > 0) continue
    const payload = encodeTrims([[brief.id, brief.endOffset - keepRecords]])
    await store.commit([{ kind: opKinds.logsTrimmed, payload }])
  }
}

async function reclaim(): Promise<never> {
  for (;;) {
    await store.reclaim()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

await Promise.all([publish(), reclaim()])
