import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type BackupManifest,
  type BackupPart,
  makeEmptyFolder,
  readPart,
  verifyBackup,
} from './backup_folder.js'
import type { Engine } from './engine.js'
import { openFolder } from './folder.js'
import { levelEngines } from './level_folder.js'
import { markerName } from './marker.js'
import { syncFolder } from './set_aside.js'

const shardName = 'shard-0'
const workName = 'restoring'

/**
 * Makes a data folder of a backup. It verifies the backup first, and moves the marker into place last: a broker does not
 * start on a folder that was restored in part. The marker says that the folder was restored, so that the next broker skips
 * the ids that the lost one may have given out after the backup.
 * @param target an empty or new folder
 * @param onBytes called with all bytes of entries so far
 * @throws MillraceError BAD_BACKUP, BAD_OPTION for a folder that is not empty; the error of the system, such as ENOSPC
 */
export async function restoreBackup(
  from: string,
  target: string,
  onBytes: (bytes: number) => void = () => {},
): Promise<BackupManifest> {
  const manifest = await verifyBackup(from)
  await makeEmptyFolder(target)
  const work = join(target, workName)
  await mkdir(work)
  try {
    await fill(work, from, manifest, onBytes)
    await rename(join(work, shardName), join(target, shardName))
    await syncFolder(target)
    await rename(join(work, markerName), join(target, markerName))
    await syncFolder(target)
  } catch (error) {
    await rm(join(target, shardName), { recursive: true, force: true })
    throw error
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  return manifest
}

async function fill(
  work: string,
  from: string,
  { files }: BackupManifest,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const folder = await openFolder(work)
  try {
    const factory = levelEngines(await folder.shard(0), undefined, undefined, folder.contents(0))
    let bytes = 0
    const put = async (engine: Engine, part: BackupPart): Promise<void> => {
      for await (const entries of readPart(from, part, files[part])) {
        const [first] = entries
        if (first !== undefined) await engine.appending?.(first[0])
        await engine.commit(entries.map(([key, value]) => ({ type: 'put', key, value })))
        bytes += entries.reduce((sum, [key, value]) => sum + key.length + value.length, 0)
        onBytes(bytes)
      }
    }
    for (const part of ['journal', 'state'] as const) {
      const engine = await factory.open(part)
      try {
        await put(engine, part)
      } finally {
        await engine.close()
      }
    }
    await folder.contents(0).setRestored(true)
  } finally {
    await folder.release()
  }
}
