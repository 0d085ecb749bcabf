import { copyFile, mkdir, open, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Folder for original copies of damaged files, next to the databases. Millrace never deletes it. */
const folderName = 'damaged'

/** Moves a file or folder of a shard out of the way. Returns its new path. */
export async function setAside(shardDir: string, path: string): Promise<string> {
  const target = await placeFor(shardDir, basename(path))
  await rename(path, target)
  await syncFolder(dirname(target))
  await syncFolder(shardDir)
  return target
}

/** Keeps a durable copy of a database file before a change. Returns its path. */
export async function keepCopy(shardDir: string, database: string, file: string): Promise<string> {
  const target = await placeFor(shardDir, `${database}-${file}`)
  await copyFile(join(shardDir, database, file), target)
  const copy = await open(target, 'r')
  try {
    await copy.sync()
  } finally {
    await copy.close()
  }
  await syncFolder(dirname(target))
  return target
}

async function placeFor(shardDir: string, name: string): Promise<string> {
  const folder = join(shardDir, folderName)
  await mkdir(folder, { recursive: true })
  await syncFolder(shardDir)
  return join(folder, `${new Date().toISOString().replaceAll(':', '-')}-${name}`)
}

/** Replaces a file so that after a crash it is whole, old or new. */
export async function replaceFile(folder: string, name: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = join(folder, `${name}.new`)
  const file = await open(temporary, 'w')
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, join(folder, name))
  await syncFolder(folder)
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
