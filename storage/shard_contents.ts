import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../protocol/index.js'
import { firstJournalName, firstPositionOf, journalNames } from './level_segments.js'
import { hasFiles, isBlank } from './leveldb/index.js'
import type { ShardContents } from './marker.js'
import { syncFolder } from './set_aside.js'

/** The database of the state and its copy. */
export const stateNames = ['state', 'state-copy'] as const

/**
 * Refuses a shard with missing databases: LevelDB would create empty ones. One copy of the state may be missing.
 * Folders of older versions have no list in the marker; there, the existing databases show which others are missing.
 * @throws MillraceError CORRUPT
 */
export async function checkDatabases(shardDir: string, { databases }: ShardContents): Promise<void> {
  const { journals, states } = await missingDatabases(shardDir, databases ?? [])
  const missing = [...journals, ...(states.length === stateNames.length ? states : [])]
  if (missing.length === 0) return
  const are = missing.length === 1 ? 'is' : 'are'
  const lost =
    states.length === stateNames.length
      ? "The broker can't rebuild the state from the other databases"
      : 'If a database is lost, "millrace repair --data DIR --missing" continues without it: its messages are lost'
  throw new MillraceError(
    'CORRUPT',
    `${missing.join(', ')} ${are} missing in ${shardDir}. Nothing was changed. Mount the missing databases or copy them back, or restore the folder from a backup. ${lost}`,
  )
}

/**
 * The refusal of a shard whose state names blocks behind the end of its journal, while the list of its databases was
 * lost: the newest database may be missing.
 * @param position of a missing block
 */
export function missingEndError(position: number): MillraceError {
  return new MillraceError(
    'CORRUPT',
    `block ${position} of the journal is missing: the newest databases of the journal may be missing, and the marker that named them was lost. Mount the missing databases or copy them back, or restore the folder from a backup. If they are lost, "millrace repair --data DIR --missing" continues without them: their messages are lost`,
  )
}

/** Whether the folder of a shard has files of any database. */
export async function hasDatabases(shardDir: string): Promise<boolean> {
  for (const name of [...(await journalNames(shardDir)), ...stateNames])
    if (await hasFiles(join(shardDir, name))) return true
  return false
}

/**
 * Position from which on the journal has lost its end; undefined if a database with blocks follows the missing ones.
 * @param missing names of the missing databases of the journal
 */
export async function lostEndOf(shardDir: string, missing: readonly string[]): Promise<number | undefined> {
  let newestLeft = ''
  // A database without a write does not show that the one before it was complete.
  for (const name of await journalNames(shardDir))
    if (!missing.includes(name) && !(await isBlank(join(shardDir, name)))) newestLeft = name
  const first = [...missing].sort().find((name) => name > newestLeft)
  return first === undefined ? undefined : firstPositionOf(first)
}

/** Required databases without files. */
export async function missingDatabases(
  shardDir: string,
  listed: readonly string[],
): Promise<{ readonly journals: string[]; readonly states: string[] }> {
  const there: string[] = []
  const written: string[] = []
  const journals = await journalNames(shardDir)
  for (const name of new Set([...journals, ...stateNames, ...listed])) {
    if (!(await hasFiles(join(shardDir, name)))) continue
    there.push(name)
    if (!(await isBlank(join(shardDir, name)))) written.push(name)
  }
  const expected = new Set(listed)
  // The first database of the journal is created before all others, and the state before the first block.
  if (written.length > 0) expected.add(firstJournalName)
  if (written.some((name) => !isState(name))) for (const name of stateNames) expected.add(name)
  const missing = [...expected].filter((name) => !there.includes(name))
  return {
    journals: missing.filter((name) => !isState(name)).sort(),
    states: missing.filter(isState),
  }
}

/**
 * Removes databases whose creation a crash interrupted: they are not in the marker and are empty. Also removes the
 * newest database of the journal if it is in the marker but has no block yet.
 */
export async function removeUnfinished(shardDir: string, contents: ShardContents): Promise<void> {
  const journals = await journalNames(shardDir)
  const blank: string[] = []
  for (const name of [...journals, ...stateNames]) if (await isBlank(join(shardDir, name))) blank.push(name)
  const { databases } = contents
  const isNew = blank.length === journals.length + stateNames.length
  const newest = journals.at(-1)
  for (const name of blank) {
    const isLast = name === newest && name !== firstJournalName
    const isUnfinished = databases === undefined ? isNew : !databases.includes(name)
    if (!isLast && !isUnfinished) continue
    // Change the marker first: after a crash in between, it must not list a removed database.
    if (databases?.includes(name) === true)
      await contents.change((names) => names.filter((one) => one !== name))
    await rm(join(shardDir, name), { recursive: true, force: true })
  }
}

/** Lists the existing databases in the marker. */
export async function recordDatabases(shardDir: string, contents: ShardContents): Promise<void> {
  const names: string[] = []
  for (const name of [...(await journalNames(shardDir)), ...stateNames])
    if (await hasFiles(join(shardDir, name))) names.push(name)
  for (const name of names)
    if (contents.databases?.includes(name) !== true) await syncFolder(join(shardDir, name))
  await syncFolder(shardDir)
  await contents.change(() => names)
}

function isState(name: string): boolean {
  return (stateNames as readonly string[]).includes(name)
}
