import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { levelEngines } from '../../storage/index.js'
import type { IndexEntry } from '../../storage/index_page.js'
import { LogIndex, PageCache } from '../../storage/log_index.js'
import { State } from '../../storage/state.js'
import { type MicroCase, mainOfCases } from './cases.js'

/**
 * Measures the index of a long log, from offset to block: appends, and lookups at the tail, in sequence from the
 * beginning, and
 * at random. Its state is in LevelDB, as in a broker.
 *
 *     node dist/bench/micro/log_index.js
 */

/** Blocks of 256 KiB: a log of 26 GB. */
const entries = 100_000
const recordsPerEntry = 2_000
const appendsPerCall = 1_000
const lookupsPerCall = 100
/** Appends between checkpoints of the state, which a broker makes by time. */
const appendsPerCheckpoint = 10_000

class LongLog {
  readonly #state: State
  readonly #index: LogIndex
  #next = 0
  #sequential = 0
  #random = 1

  private constructor(state: State) {
    this.#state = state
    this.#index = new LogIndex(1, state, new PageCache())
  }

  static async create(dir: string): Promise<{ readonly log: LongLog; close(): Promise<void> }> {
    const engine = await levelEngines(dir).open('state')
    const log = new LongLog(await State.open(engine))
    while (log.#next < entries) {
      log.#append(appendsPerCheckpoint)
      await log.#checkpoint()
    }
    return { log, close: () => engine.close() }
  }

  cases(): readonly MicroCase[] {
    return [
      this.#lookups('at the tail', () => (this.#next - 1) * recordsPerEntry),
      this.#lookups('in order from the beginning', () => {
        this.#sequential = (this.#sequential + 1) % entries
        return this.#sequential * recordsPerEntry
      }),
      this.#lookups('anywhere', () => {
        this.#random = (this.#random * 48_271) % 2_147_483_647
        return (this.#random % entries) * recordsPerEntry
      }),
      {
        name: 'index, appends with their checkpoints',
        unit: 'appends/s',
        perCall: appendsPerCheckpoint,
        work: async () => {
          for (let i = 0; i < appendsPerCheckpoint; i += appendsPerCall) this.#append(appendsPerCall)
          await this.#checkpoint()
        },
      },
    ]
  }

  #lookups(where: string, offset: () => number): MicroCase {
    const work = async (): Promise<void> => {
      for (let i = 0; i < lookupsPerCall; i++) {
        const wanted = offset()
        const found = this.#index.from(wanted)
        const [entry] = found instanceof Promise ? await found : found
        if (entry?.firstOffset !== wanted) throw new Error(`offset ${wanted} was not found`)
      }
    }
    return { name: `index, lookups ${where}`, unit: 'lookups/s', perCall: lookupsPerCall, work }
  }

  #append(count: number): void {
    for (let i = 0; i < count; i++) this.#index.add(entryOf(this.#next++), 0)
  }

  #checkpoint(): Promise<void> {
    this.#index.save()
    return this.#state.write({ position: this.#next, link: 0 })
  }
}

function entryOf(number: number): IndexEntry {
  return {
    firstOffset: number * recordsPerEntry,
    recordCount: recordsPerEntry,
    bytes: 256 * 1024,
    position: number + 1,
    lastTimestamp: 1_700_000_000_000 + number,
  }
}

/** Fills an index on the disk below `root`, and removes it afterwards. */
export async function withIndexCases(
  root: string,
  use: (cases: readonly MicroCase[]) => Promise<void>,
): Promise<void> {
  const dir = await mkdtemp(join(root, 'millrace-index-'))
  try {
    const { log, close } = await LongLog.create(dir)
    try {
      await use(log.cases())
    } finally {
      await close()
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

await mainOfCases(import.meta.url, (measure) => withIndexCases(process.argv[2] ?? tmpdir(), measure))
