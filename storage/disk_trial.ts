import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

const trialName = 'TRIAL'
/**
 * Upper bound of the writes when the databases open: tables from their write-ahead files, and new files of each kind.
 */
const trialBytes = 4 * 1024 * 1024

/**
 * Writes a file of 4 MiB into a folder, syncs it and removes it again.
 * @throws the error of the system, such as ENOSPC or EIO, if the disk rejects it
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

/** Removes the file of a trial that a crash interrupted. */
export async function removeTrial(folder: string): Promise<void> {
  await rm(join(folder, trialName), { force: true })
}
