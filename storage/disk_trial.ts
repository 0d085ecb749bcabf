import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

const trialName = 'TRIAL'
/** What opening the databases may write at most: tables of what their write-ahead files hold, and new files of each kind. */
const trialBytes = 4 * 1024 * 1024

/**
 * Writes a file of 4 MiB into a folder, syncs it and removes it again.
 * @throws the system's error, such as ENOSPC or EIO, when the disk does not take it
 */
export async function tryWriting(folder: string): Promise<void> {
  const path = join(folder, trialName)
  try {
    const file = await open(path, 'w')
    try {
      await file.writeFile(Buffer.alloc(trialBytes))
      await file.sync()
    } finally {
      await file.close()
    }
  } finally {
    await removeTrial(folder)
  }
}

/** Removes what a trial leaves that a crash ended. */
export async function removeTrial(folder: string): Promise<void> {
  await rm(join(folder, trialName), { force: true })
}
