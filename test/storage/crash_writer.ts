import { openStore, type PartitionLog, type ViewHost, type Views } from '../../storage/index.js'
import { batchOf, createKind } from './fixtures.js'

/**
 * A process for a kill: commits to the store in argv[2] as long as it lives, several commits at a time, and writes
 * a line for each acknowledged one: `LOG OFFSET VALUE`.
 */
const [, , dir = '', round = '0'] = process.argv
const logIds = [1, 2, 3]
const inFlight = 20

class WriterViews implements Views {
  #host: ViewHost | undefined

  async load(host: ViewHost): Promise<void> {
    this.#host = host
  }

  apply(kind: number, payload: Uint8Array): void {
    if (kind === createKind) this.#host?.createLog(Number(Buffer.from(payload).toString()))
  }

  appended(): void {}

  save(): void {}

  rolledBack(): void {}
}

const store = await openStore(
  { dir, checkpointIntervalMs: 20, checkpointBytesMax: 20_000, freeBytesMin: 1 },
  new WriterViews(),
)
for (const id of logIds) {
  if (store.log(id) === undefined)
    await store.commit([{ kind: createKind, payload: Buffer.from(String(id)) }])
}
let next = 0

async function write(): Promise<void> {
  for (;;) {
    const value = `${round}.${next++}`
    const logs = logIds.map((id) => store.log(id) as PartitionLog)
    const filler = 'x'.repeat(next % 50 === 0 ? 50_000 : 20)
    const chosen = next % 3 === 0 ? logs : [logs[next % 2] as PartitionLog]
    const lines: string[] = []
    await store.commit(
      chosen.map((log) => ({ log, batch: batchOf(`${value}|${filler}`) })),
      (index, offset) => lines.push(`${chosen[index]?.id} ${offset} ${value}\n`),
    )
    process.stdout.write(lines.join(''))
  }
}

await Promise.all(Array.from({ length: inFlight }, write))
