import { readdirSync, watch } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'

/** LevelDB names its write-ahead files so (leveldb/db/filename.cc). */
const walName = /^\d{6,}\.log$/

/**
 * Calls back as soon as LevelDB begins a new write-ahead file in a folder: the moment when a memtable is about to
 * become a table, the manifest and the old file are still needed, and a crash meets the most half-done work. Told by
 * inotify, so it takes a turn of the event loop; a file that comes and goes within that turn is told all the same.
 * @param onChange gets the name of the new file, like `000007.log`; never called for files that were there before
 * @returns ends the watch; the context's cleanup does so, too
 */
export function watchWal(context: TestContext, dir: string, onChange: (name: string) => void): () => void {
  const known = new Set(readdirSync(dir).filter((name) => walName.test(name)))
  const watcher = watch(dir, (_event, name) => {
    if (name === null || !walName.test(name) || known.has(name)) return
    known.add(name)
    onChange(name)
  })
  // A folder whose power was cut gives errors; the watch just ends.
  watcher.on('error', () => watcher.close())
  const end = (): void => watcher.close()
  context.defer(end)
  return end
}

/**
 * The same for the journal of a shard, which also may go on in another database.
 * @param onChange gets the name of the new file or database
 */
export function watchJournal(
  context: TestContext,
  shardDir: string,
  onChange: (name: string) => void,
): () => void {
  const isDatabase = (name: string): boolean => name.startsWith('journal')
  const databases = readdirSync(shardDir).filter(isDatabase).sort()
  const endWal = watchWal(context, join(shardDir, databases.at(-1) ?? 'journal'), onChange)
  const watcher = watch(shardDir, (_event, name) => {
    if (name !== null && isDatabase(name) && !databases.includes(name)) onChange(name)
  })
  watcher.on('error', () => watcher.close())
  const end = (): void => {
    endWal()
    watcher.close()
  }
  context.defer(end)
  return end
}
