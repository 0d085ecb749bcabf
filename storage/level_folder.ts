import { join } from 'node:path'
import { MillraceError } from '../protocol/index.js'
import { removeTrial, tryWriting } from './disk_trial.js'
import type { Engine, EngineFactory } from './engine.js'
import { journalNames, levelSegments, removeLeftovers, segmentList } from './level_segments.js'
import { type FileProblem, type Inspection, inspectDatabase } from './leveldb/index.js'
import { type ShardContents, unmarkedContents } from './marker.js'
import { replaceManifest } from './mended_manifest.js'
import { openMirror } from './mirror.js'
import { mendWriteAhead } from './salvage.js'
import { SegmentedEngine } from './segmented_engine.js'
import { keepCopy, replaceFile } from './set_aside.js'
import { checkDatabases, recordDatabases, removeUnfinished } from './shard_contents.js'

/** Findings of opening the databases. */
export interface LevelReports {
  /** Damage. */
  problem(text: string): void
  /** Findings that are not certainly damage. */
  notice(text: string): void
}

/** LevelDB lists and walks all files of a database at each flush: these are about 500 (FORMAT.md). */
const segmentBytesDefault = 1024 * 1024 * 1024
const silent: LevelReports = { problem: () => {}, notice: () => {} }

/**
 * The databases of a shard, as folders in `dir`. Their files are verified by LevelDB's own checksums before LevelDB
 * opens them, because it drops damaged parts silently; FORMAT.md explains the consequences.
 * @param segmentBytes size at which the journal starts a new database
 */
export function levelEngines(
  dir: string,
  reports: LevelReports = silent,
  segmentBytes = segmentBytesDefault,
  contents = unmarkedContents(),
): EngineFactory {
  return {
    open: (name) =>
      name === 'journal'
        ? openJournal(dir, reports, segmentBytes, contents)
        : openState(dir, reports, contents),
    tryWriting: () => tryWriting(dir),
  }
}

async function openJournal(
  shardDir: string,
  reports: LevelReports,
  segmentBytes: number,
  contents: ShardContents,
): Promise<SegmentedEngine> {
  await removeTrial(shardDir)
  await removeLeftovers(shardDir)
  await checkDatabases(shardDir, contents)
  await removeUnfinished(shardDir, contents)
  const names = await journalNames(shardDir)
  for (const name of names) await mendDatabase(shardDir, name, reports)
  return SegmentedEngine.open(
    levelSegments(shardDir, contents),
    await segmentList(shardDir, names),
    segmentBytes,
  )
}

async function openState(shardDir: string, reports: LevelReports, contents: ShardContents): Promise<Engine> {
  const engine = await openMirror(shardDir, reports, contents)
  try {
    await recordDatabases(shardDir, contents)
    return engine
  } catch (error) {
    await engine.close()
    throw error
  }
}

/**
 * Checks a database of the journal and repairs it if that is possible without guessing.
 * @throws MillraceError CORRUPT
 */
async function mendDatabase(shardDir: string, database: string, reports: LevelReports): Promise<void> {
  const folder = join(shardDir, database)
  let found = await inspectDatabase(folder)
  if (found.onlyManifest !== undefined) {
    await restoreCurrent(shardDir, database, found.onlyManifest, reports)
    found = await inspectDatabase(folder)
  }
  if (found.broken.length > 0) throw brokenError(folder, found.broken)
  if (found.mendedManifest !== undefined)
    await replaceManifest(shardDir, database, found.mendedManifest, reports)
  await mendWriteAheadFiles(shardDir, database, found, reports)
}

function brokenError(folder: string, broken: readonly FileProblem[]): MillraceError {
  const files = broken.slice(0, 3).map(({ file, problem }) => `${file}: ${problem}`)
  const more = broken.length > files.length ? ` (and ${broken.length - files.length} more)` : ''
  return new MillraceError(
    'CORRUPT',
    `the database ${folder} is damaged: ${files.join('; ')}${more}. Nothing was changed. "millrace repair --data DIR" rebuilds all that is readable`,
  )
}

/** CURRENT only names the MANIFEST: with exactly one intact MANIFEST, its content is certain. */
async function restoreCurrent(
  shardDir: string,
  database: string,
  manifest: string,
  { problem }: LevelReports,
): Promise<void> {
  const copy = await keepCopy(shardDir, database, 'CURRENT').catch(() => undefined)
  await replaceFile(join(shardDir, database), 'CURRENT', `${manifest}\n`)
  problem(
    `the file ${database}/CURRENT was damaged; the broker rewrote it${copy === undefined ? '' : ` and kept the old file as ${copy}`}`,
  )
}

/** Removes damage from write-ahead files of the journal, and keeps copies of them. */
export async function mendWriteAheadFiles(
  shardDir: string,
  database: string,
  { writeAhead }: Pick<Inspection, 'writeAhead'>,
  { problem, notice }: LevelReports,
): Promise<void> {
  for (const { name, bytes, log, damaged } of writeAhead) {
    if (damaged) {
      const copy = await keepCopy(shardDir, database, name)
      await replaceFile(join(shardDir, database), name, mendWriteAhead(log))
      problem(
        `the file ${database}/${name} was damaged; a new file has all records that were readable, the old file is ${copy}`,
      )
    } else if (log.tailBytes > 0) {
      notice(
        `the last ${log.tailBytes} of ${bytes.length} bytes of ${database}/${name} are an incomplete write and were removed. The cause is a crash during an unacknowledged write, or damage`,
      )
    }
  }
}
