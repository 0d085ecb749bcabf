import { join } from 'node:path'
import type { LevelReports } from './level_folder.js'
import type { MendedManifest } from './leveldb/index.js'
import { keepCopy, replaceFile } from './set_aside.js'

/** LevelDB refuses a MANIFEST with a wrong checksum, and takes a wrong length for its end. */
export async function replaceManifest(
  shardDir: string,
  database: string,
  { name, bytes, wasTorn }: MendedManifest,
  { problem, notice }: LevelReports,
): Promise<void> {
  const copy = await keepCopy(shardDir, database, name)
  await replaceFile(join(shardDir, database), name, bytes)
  const file = `${database}/${name}`
  if (wasTorn)
    notice(
      `the last record of ${file} was incomplete, as after a power cut, and was removed. No data was lost. The old file is ${copy}`,
    )
  else
    problem(`the file ${file} was damaged, and the broker rewrote it without loss; the old file is ${copy}`)
}
