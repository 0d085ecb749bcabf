import { readdirSync, watch } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'

/** Pattern of LevelDB's write-ahead files (leveldb/db/filename.cc). */
const walName = /^\d{6,}\.log$/

/**
 * Calls back as soon as LevelDB begins a new write-ahead file in a folder: at this moment a memtable is about to
 * become a table, the manifest and the old file are still needed, and a crash meets the most unfinished work. It uses
 * inotify, so it takes a turn of the event loop; a file that is created and deleted within that turn is reported too.
 * @param onChange gets the name of the new file, like `000007.log`; never called for existing files
 * @returns ends the watch; the cleanup of the context does so, too
 */
export function watchWal(context: TestContext, dir: string, onChange: (name: string) => void): () => void {
  const known = new Set(readdirSync(dir).filter((name) => walName.test(name)))
  const watcher = watch(dir, (_event, name) => {
    if (name === null || !walName.test(name) || known.has(name)) return
    known.add(name)
    onChange(name)
  })
  // A folder after a power cut gives errors; the watch just ends.
  watcher.on('error', () => watcher.close())
  const end = (): void => watcher.close()
  context.defer(end)
  return end
}

/**
 * The same for the journal of a shard, which may also start another database.
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
