import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../protocol/index.js'
import type { Engine, EngineEntry, EngineOp, EngineSnapshot, RangeOptions } from './engine.js'
import { stateEndKey } from './keys.js'
import { LevelEngine } from './level_engine.js'
import type { LevelReports } from './level_folder.js'
import { type Inspection, inspectDatabase, type MendedManifest } from './leveldb/index.js'
import type { ShardContents } from './marker.js'
import { replaceManifest } from './mended_manifest.js'
import { setAside, syncFolder } from './set_aside.js'
import { stateNames } from './shard_contents.js'
import { checkpointIn } from './state.js'

const names = stateNames
type Name = (typeof names)[number]
const entriesPerCommit = 1_000

/** A database and its copy. Writes go to the copy first, so every entry that a reader sees is in both. */
class MirroredEngine implements Engine {
  readonly copy: Engine
  readonly #first: LevelEngine

  constructor(first: LevelEngine, copy: LevelEngine) {
    this.#first = first
    this.copy = copy
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#first.get(key)
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#first.getMany(keys)
  }

  range(options: RangeOptions): Promise<EngineEntry[]> {
    return this.#first.range(options)
  }

  snapshot(): EngineSnapshot {
    return this.#first.snapshot()
  }

  async commit(ops: readonly EngineOp[]): Promise<void> {
    await this.copy.commit(ops)
    await this.#first.commit(ops)
  }

  async compact(gte: Uint8Array, lt: Uint8Array): Promise<void> {
    await this.copy.compact(gte, lt)
    await this.#first.compact(gte, lt)
  }

  async close(): Promise<void> {
    await this.copy.close()
    await this.#first.close()
  }
}

/**
 * Opens the state and its copy and verifies every byte of both. It replaces a database that is damaged or older by a
 * copy of the other.
 * @throws MillraceError CORRUPT if both are damaged, or the only one is; and the errors of LevelDB
 */
export async function openMirror(
  shardDir: string,
  reports: LevelReports,
  { databases }: Pick<ShardContents, 'databases'>,
): Promise<Engine> {
  const { problem, notice } = reports
  for (const name of names) for (const suffix of ['.new', '.old']) await remove(join(shardDir, name + suffix))
  const found = await Promise.all(names.map((name) => inspect(shardDir, name)))
  const damaged = found.filter(({ damage }) => damage !== undefined)
  if (damaged.length > 0 && !found.some(({ damage, isNew }) => damage === undefined && !isNew))
    throw noCopyLeft(shardDir, damaged)
  for (const { name, damage } of damaged) {
    const path = await setAside(shardDir, join(shardDir, name))
    problem(
      `the database ${name} was damaged (${damage}); the broker replaced it with its copy and kept the old database as ${path}`,
    )
  }
  for (const { name, damage, tornManifest } of found)
    if (damage === undefined && tornManifest !== undefined)
      await replaceManifest(shardDir, name, tornManifest, reports)
  for (const { name, tailBytes } of found.filter((one) => one.damage === undefined && one.tailBytes > 0))
    notice(
      `the last ${tailBytes} bytes of the write-ahead file of ${name} are an incomplete write and were removed. The cause is a crash during a write, or damage`,
    )
  for (const { name } of found.filter(({ name, isNew }) => isNew && databases?.includes(name) === true))
    notice(`the database ${name} was missing; the broker created it again from its copy`)
  const engines = await openBoth(shardDir)
  const [first, copy] = await Promise.all(engines.map(checkpointIn)).catch(async (error: unknown) => {
    for (const engine of engines) await engine.close()
    throw error
  })
  if (first === copy) return new MirroredEngine(...engines)
  return new MirroredEngine(...(await level(shardDir, engines, (first ?? 0) > (copy ?? 0))))
}

interface Found {
  readonly name: Name
  /** Describes its damage; undefined if it is intact or new. */
  readonly damage: string | undefined
  readonly isNew: boolean
  /** Both databases write at about the same time, so one power cut can tear both. */
  readonly tornManifest: MendedManifest | undefined
  readonly tailBytes: number
}

async function inspect(shardDir: string, name: Name): Promise<Found> {
  const inspection = await inspectDatabase(join(shardDir, name), { tables: true })
  const tailBytes = inspection.writeAhead.reduce((sum, { log }) => sum + log.tailBytes, 0)
  const { isNew, mendedManifest } = inspection
  const tornManifest = mendedManifest?.wasTorn === true ? mendedManifest : undefined
  return { name, damage: damageOf(inspection), isNew, tornManifest, tailBytes }
}

function damageOf({ broken, damagedTables, writeAhead, mendedManifest }: Inspection): string | undefined {
  if (mendedManifest?.wasTorn === false) return `${mendedManifest.name}: a record is damaged`
  const [first] = [...broken, ...damagedTables]
  if (first !== undefined) return `${first.file}: ${first.problem}`
  const file = writeAhead.find(({ damaged }) => damaged)
  return file === undefined ? undefined : `${file.name}: a record before its end is damaged`
}

function noCopyLeft(shardDir: string, damaged: readonly Found[]): MillraceError {
  const what = damaged.length === names.length ? 'both copies of the state' : 'the only copy of the state'
  const are = damaged.length === names.length ? 'are damaged' : 'is damaged'
  const files = damaged.map(({ name, damage }) => `${name}/${damage}`).join('; ')
  return new MillraceError('CORRUPT', `${what} in ${shardDir} ${are}: ${files}. Nothing was changed`)
}

async function openBoth(shardDir: string): Promise<[LevelEngine, LevelEngine]> {
  const first = await LevelEngine.open(join(shardDir, names[0]))
  try {
    return [first, await LevelEngine.open(join(shardDir, names[1]))]
  } catch (error) {
    await first.close()
    throw error
  }
}

/** Replaces the older one by a copy of the other; a crash leaves the old one, none, or the new one. */
async function level(
  shardDir: string,
  [first, copy]: readonly [LevelEngine, LevelEngine],
  firstIsNewer: boolean,
): Promise<[LevelEngine, LevelEngine]> {
  const [source, target, name] = firstIsNewer ? [first, copy, names[1]] : [copy, first, names[0]]
  try {
    await target.close()
    const path = join(shardDir, name)
    const made = await LevelEngine.open(`${path}.new`)
    try {
      await copyEntries(source, made)
    } finally {
      await made.close()
    }
    // A folder in the middle of its removal would look damaged.
    await rename(path, `${path}.old`)
    await rename(`${path}.new`, path)
    await syncFolder(shardDir)
    await remove(`${path}.old`)
    const opened = await LevelEngine.open(path)
    return firstIsNewer ? [source, opened] : [opened, source]
  } catch (error) {
    await source.close()
    throw error
  }
}

function remove(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true })
}

async function copyEntries(source: Engine, target: Engine): Promise<void> {
  for (let gte: Uint8Array = new Uint8Array(0); ; ) {
    const entries = await source.range({ gte, lt: stateEndKey, limit: entriesPerCommit })
    await target.commit(entries.map(([key, value]) => ({ type: 'put', key, value })))
    const last = entries.at(-1)
    if (last === undefined || entries.length < entriesPerCommit) return
    gte = Buffer.concat([last[0], Uint8Array.of(0)])
  }
}
