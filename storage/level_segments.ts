import { readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { folderBytes } from './disk_watch.js'
import { positionKey, positionOf } from './keys.js'
import { LevelEngine } from './level_engine.js'
import type { ShardContents } from './marker.js'
import type { SegmentList, SegmentStore } from './segmented_engine.js'
import { syncFolder } from './set_aside.js'

export const firstJournalName = 'journal'
const namePattern = /^journal-(\d{16})$/
const removedPrefix = 'removed-'
const removalPauseMs = 5
const firstKey = new Uint8Array(0)

/** Names of the journal databases of a shard, in the order of their blocks; the first one is always in the list. */
export async function journalNames(shardDir: string): Promise<string[]> {
  const names = (await readdir(shardDir)).filter((name) => namePattern.test(name))
  return [firstJournalName, ...names.sort()]
}

/** Finishes the removal of a segment that a killed process began. */
export async function removeLeftovers(shardDir: string): Promise<void> {
  for (const name of await readdir(shardDir))
    if (name.startsWith(removedPrefix) && namePattern.test(name.slice(removedPrefix.length)))
      await rm(join(shardDir, name), { recursive: true, force: true })
}

/** The list of segments with these names. */
export async function segmentList(shardDir: string, names: readonly string[]): Promise<SegmentList> {
  const newest = join(shardDir, names.at(-1) ?? firstJournalName)
  const newestBytes = await folderBytes(newest).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return 0
    throw error
  })
  return { starts: names.map(keyOf), newestBytes }
}

/** Segments of a journal as LevelDB databases, each in its own folder below `shardDir`. */
export function levelSegments(shardDir: string, contents: ShardContents): SegmentStore {
  const folderOf = (from: Uint8Array) => join(shardDir, nameOf(from))
  return {
    open: (from) => LevelEngine.open(folderOf(from)),
    async create(from) {
      const engine = await LevelEngine.open(folderOf(from))
      try {
        await syncFolder(folderOf(from))
        await syncFolder(shardDir)
        await contents.change((names) => [...names, nameOf(from)])
        return engine
      } catch (error) {
        await engine.close()
        throw error
      }
    },
    async remove(from) {
      const removed = join(shardDir, `${removedPrefix}${nameOf(from)}`)
      await contents.change((names) => names.filter((name) => name !== nameOf(from)))
      await rename(folderOf(from), removed)
      await syncFolder(shardDir)
      await removeGently(removed)
    },
  }
}

/** Removes file by file: otherwise a concurrent commit waits until the file system has freed hundreds of files. */
async function removeGently(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    await rm(join(folder, name), { force: true })
    await pause(removalPauseMs)
  }
  await rm(folder, { recursive: true, force: true })
}

/** Position of the first block that a database of the journal can hold. */
export function firstPositionOf(name: string): number {
  return Number(namePattern.exec(name)?.[1] ?? 1)
}

function nameOf(from: Uint8Array): string {
  return from.length === 0
    ? firstJournalName
    : `${firstJournalName}-${String(positionOf(from)).padStart(16, '0')}`
}

function keyOf(name: string): Uint8Array {
  const position = namePattern.exec(name)?.[1]
  return position === undefined ? firstKey : positionKey(Number(position))
}
