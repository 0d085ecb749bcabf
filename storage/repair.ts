import { readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { MillraceError } from '../protocol/index.js'
import { openFolder } from './folder.js'
import { LevelEngine } from './level_engine.js'
import { mendWriteAheadFiles } from './level_folder.js'
import { firstJournalName, firstPositionOf, journalNames } from './level_segments.js'
import { type FileProblem, inspectDatabase, isManifest, readWriteAheadFiles } from './leveldb/index.js'
import { restoreMarker, type ShardContents } from './marker.js'
import { keepCopy, syncFolder } from './set_aside.js'
import { checkDatabases, lostEndOf, missingDatabases, recordDatabases, stateNames } from './shard_contents.js'

/** A problem of a data folder, for humans. */
export type FolderProblem = FileProblem & { readonly database: string }

/**
 * Reads every byte of the databases of a closed data folder, and changes nothing.
 * @throws MillraceError FOLDER_IN_USE, UNKNOWN_FORMAT
 */
export async function checkFolder(dir: string): Promise<FolderProblem[]> {
  // Do not create missing databases.
  const folder = await openFolder(await realpath(dir))
  try {
    const shard = await folder.shard(0)
    const { journals, states } = await missingDatabases(shard, folder.contents(0).databases ?? [])
    const problems: FolderProblem[] = [...journals, ...states].map((database) => ({
      database,
      file: 'CURRENT',
      problem: 'the whole database is missing',
    }))
    for (const database of [...(await journalNames(shard)), ...stateNames]) {
      const { broken, damagedTables, writeAhead } = await inspectDatabase(join(shard, database), {
        tables: true,
      })
      const damagedLogs = writeAhead
        .filter(({ damaged }) => damaged)
        .map(({ name }) => ({ file: name, problem: 'a record before its end is damaged' }))
      for (const found of [...broken, ...damagedTables, ...damagedLogs]) problems.push({ database, ...found })
    }
    return problems
  } finally {
    await folder.release()
  }
}

export interface RepairOptions {
  /** Rewrites the marker also if it names another version. */
  readonly marker?: boolean | undefined
  /** Goes on without databases of the journal that are missing. */
  readonly missing?: boolean | undefined
}

/**
 * Repairs a closed data folder so that a broker can open it: rewrites a damaged marker, and lets LevelDB rebuild the
 * list of
 * the journal's files from these files. It keeps copies of changed files. A broker repairs, or reports, other damage
 * itself. Returns a description of the repairs.
 * @throws MillraceError FOLDER_IN_USE, UNKNOWN_FORMAT, STORAGE_FAILED
 */
export async function repairFolder(
  dir: string,
  { marker = false, missing = false }: RepairOptions = {},
): Promise<string[]> {
  const done: string[] = []
  if (await restoreMarker(dir, marker)) done.push('rewrote the marker')
  const folder = await openFolder(dir)
  try {
    const shard = await folder.shard(0)
    const contents = folder.contents(0)
    if (missing) done.push(...(await acceptMissing(shard, contents)))
    await checkDatabases(shard, contents)
    // Without the old list nothing shows whether the newest database that is left was the newest of all.
    if (missing && contents.isRelisted) {
      await contents.giveUp([], await newestPositionOf(shard))
      await contents.listVerified()
    }
    for (const name of await journalNames(shard))
      await repairDatabase(shard, name, (text) => void done.push(text))
    await recordDatabases(shard, contents)
  } finally {
    await folder.release()
  }
  return done
}

/** Position of the first block that the newest database of the journal can hold. */
async function newestPositionOf(shardDir: string): Promise<number> {
  return firstPositionOf((await journalNames(shardDir)).at(-1) ?? firstJournalName)
}

/** Databases of the journal only: without the state nothing says which topics there are. */
async function acceptMissing(shardDir: string, contents: ShardContents): Promise<string[]> {
  const { journals, states } = await missingDatabases(shardDir, contents.databases ?? [])
  if (journals.length === 0 || states.length === stateNames.length) return []
  const lostFrom = await lostEndOf(shardDir, journals)
  // The first one always exists, perhaps empty.
  if (journals.includes(firstJournalName)) {
    const first = join(shardDir, firstJournalName)
    await (await LevelEngine.open(first)).close()
    await syncFolder(first)
    await syncFolder(shardDir)
  }
  const gone = journals.filter((name) => name !== firstJournalName)
  await contents.giveUp(gone, lostFrom)
  return journals.map((name) => `${name} is missing: the broker continues without its blocks`)
}

async function repairDatabase(
  shardDir: string,
  database: string,
  done: (text: string) => void,
): Promise<void> {
  const folder = join(shardDir, database)
  const { broken, onlyManifest, isNew } = await inspectDatabase(folder)
  // A broker repairs these itself.
  if (isNew || broken.length === 0 || onlyManifest !== undefined) return
  const names = await readdir(folder)
  for (const name of names.filter((name) => name === 'CURRENT' || isManifest(name)))
    done(`kept a copy of ${database}/${name}: ${await keepCopy(shardDir, database, name)}`)
  // LevelDB drops everything after damage in a write-ahead file.
  const writeAhead = await readWriteAheadFiles(folder, names, 0)
  await mendWriteAheadFiles(shardDir, database, { writeAhead }, { problem: done, notice: done })
  try {
    // Missing in the types, because browsers do not have it.
    await (Level as unknown as { repair(location: string): Promise<void> }).repair(folder)
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    throw new MillraceError('STORAGE_FAILED', `can't rebuild ${folder}: ${String(cause)}`, {
      cause: error,
    })
  }
  for (const { file, problem } of broken) done(`${database}/${file} was damaged (${problem})`)
  done(`rebuilt the file list of ${database}`)
}
