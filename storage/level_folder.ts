import { join } from 'node:path'
import { MillraceError } from '../protocol/index.js'
import { removeTrial, tryWriting } from './disk_trial.js'
import type { EngineFactory } from './engine.js'
import { LevelEngine } from './level_engine.js'
import { type FileProblem, type Inspection, inspectDatabase } from './leveldb/index.js'
import { replaceManifest } from './mended_manifest.js'
import { openMirror } from './mirror.js'
import { mendWriteAhead } from './salvage.js'
import { keepCopy, replaceFile } from './set_aside.js'

/** What opening the databases finds. */
export interface LevelReports {
  /** Damage. */
  problem(text: string): void
  /** What is no damage for sure, and should be known. */
  notice(text: string): void
}

const silent: LevelReports = { problem: () => {}, notice: () => {} }

/**
 * The two databases of a shard as folders inside `dir`. Their files are verified by LevelDB's own checksums before it opens
 * them, since it drops damaged parts without a word: what that means stands in FORMAT.md.
 */
export function levelEngines(dir: string, reports: LevelReports = silent): EngineFactory {
  return {
    open: (name) => (name === 'journal' ? openJournal(dir, reports) : openMirror(dir, reports)),
    tryWriting: () => tryWriting(dir),
  }
}

async function openJournal(shardDir: string, reports: LevelReports): Promise<LevelEngine> {
  await removeTrial(shardDir)
  const folder = join(shardDir, 'journal')
  let found = await inspectDatabase(folder)
  if (found.onlyManifest !== undefined) {
    await restoreCurrent(shardDir, found.onlyManifest, reports)
    found = await inspectDatabase(folder)
  }
  if (found.broken.length > 0) throw brokenError(folder, found.broken)
  if (found.mendedManifest !== undefined)
    await replaceManifest(shardDir, 'journal', found.mendedManifest, reports)
  await mendWriteAheadFiles(shardDir, found, reports)
  return LevelEngine.open(folder)
}

function brokenError(folder: string, broken: readonly FileProblem[]): MillraceError {
  const files = broken.slice(0, 3).map(({ file, problem }) => `${file}: ${problem}`)
  const more = broken.length > files.length ? ` (and ${broken.length - files.length} more)` : ''
  return new MillraceError(
    'CORRUPT',
    `the database ${folder} is damaged and was left as it is: ${files.join('; ')}${more}. "millrace repair --data DIR" rebuilds what can be rebuilt`,
  )
}

/** CURRENT only names the MANIFEST: where there is just one, and it is intact, nothing has to be guessed. */
async function restoreCurrent(shardDir: string, manifest: string, { problem }: LevelReports): Promise<void> {
  const copy = await keepCopy(shardDir, 'journal', 'CURRENT').catch(() => undefined)
  await replaceFile(join(shardDir, 'journal'), 'CURRENT', `${manifest}\n`)
  problem(
    `the file journal/CURRENT was damaged; it was written anew${copy === undefined ? '' : `, the old one is ${copy}`}`,
  )
}

/** Takes the damage out of write-ahead files of the journal; copies of them are kept. */
export async function mendWriteAheadFiles(
  shardDir: string,
  { writeAhead }: Pick<Inspection, 'writeAhead'>,
  { problem, notice }: LevelReports,
): Promise<void> {
  for (const { name, bytes, log, damaged } of writeAhead) {
    if (damaged) {
      const copy = await keepCopy(shardDir, 'journal', name)
      await replaceFile(join(shardDir, 'journal'), name, mendWriteAhead(log))
      problem(
        `the file journal/${name} was damaged; what could be read was written anew, the old one is ${copy}`,
      )
    } else if (log.tailBytes > 0) {
      notice(
        `the last ${log.tailBytes} of ${bytes.length} bytes of journal/${name} make no whole write and were dropped: a write that a crash cut short, which nobody was told of, or damage`,
      )
    }
  }
}
