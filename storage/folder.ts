import { readFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { MillraceError } from '../protocol/index.js'
import { checkMarker, Marker, markerName, type ShardContents } from './marker.js'

const lockName = 'LOCK'
const temporarySuffix = '.new'
/** Files that an interrupted lock of a new folder may leave. */
const ownNames = new Set([lockName, `${lockName}${temporarySuffix}`, `${markerName}${temporarySuffix}`])

/** Folders locked by this process. */
const held = new Set<string>()

interface LockHolder {
  readonly pid: number
  readonly host: string
  readonly startedAt: string
  /**
   * Start of the process in clock ticks since boot (Linux): it distinguishes the lock holder from another process with
   * the same pid.
   */
  readonly startTicks?: string
  /** Device and inode of the folder: they distinguish the folder from a copy of it. */
  readonly folder?: string
}

/** A data folder that this process has locked until `release`. */
export interface DataFolder {
  readonly path: string
  /**
   * Returns the folder of one shard; creates it.
   * @throws MillraceError CORRUPT if the folder is missing and the marker lists it
   */
  shard(index: number): Promise<string>
  /** The contents of the shard according to the marker. */
  contents(index: number): ShardContents
  release(): Promise<void>
}

/**
 * Locks a data folder; creates it if it is missing or empty.
 * @throws MillraceError UNKNOWN_FORMAT if it holds other files, which are left unchanged; FOLDER_IN_USE that names the
 * process with the lock
 */
export async function openFolder(dir: string): Promise<DataFolder> {
  await mkdir(dir, { recursive: true })
  const path = await realpath(dir)
  await checkMarker(path, ownNames)
  await lock(path)
  let marker: Marker
  try {
    marker = await Marker.open(path)
  } catch (error) {
    await unlock(path)
    throw error
  }
  const contents = (index: number): ShardContents => marker.contents(nameOf(index))
  return {
    path,
    contents,
    async shard(index) {
      const folder = join(path, nameOf(index))
      if (contents(index).databases !== undefined) await checkThere(path, nameOf(index))
      await mkdir(folder, { recursive: true })
      await syncFolder(path)
      return folder
    },
    release: () => unlock(path),
  }
}

function nameOf(shard: number): string {
  return `shard-${shard}`
}

async function checkThere(path: string, shard: string): Promise<void> {
  if ((await readdir(path)).includes(shard)) return
  throw new MillraceError(
    'CORRUPT',
    `${shard} is missing in ${path}. It contains all messages. Nothing was changed. Mount it or copy it back, or restore the folder from a backup. To start an empty broker, use a new folder`,
  )
}

async function lock(path: string): Promise<void> {
  if (held.has(path)) throw inUse(path, 'this process')
  held.add(path)
  try {
    const holder = await readHolder(path)
    const folder = await identityOf(path)
    const isCopied = holder?.folder !== undefined && holder.folder !== folder
    if (holder !== undefined && !isCopied && isAlive(holder)) {
      throw inUse(path, `process ${holder.pid} on ${holder.host}, started at ${holder.startedAt}`)
    }
    const startTicks = startTicksOf(process.pid)
    const self: LockHolder = {
      pid: process.pid,
      host: hostname(),
      startedAt: new Date(Date.now() - process.uptime() * 1000).toISOString(),
      ...(startTicks === undefined ? {} : { startTicks }),
      folder,
    }
    await writeSynced(path, lockName, `${JSON.stringify(self)}\n`)
  } catch (error) {
    held.delete(path)
    throw error
  }
}

async function unlock(path: string): Promise<void> {
  // If two processes took over the same stale lock at once, the lock of the winner must stay.
  const holder = await readHolder(path)
  if (holder?.pid === process.pid) await rm(join(path, lockName), { force: true })
  held.delete(path)
}

async function identityOf(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true })
  return `${dev}:${ino}`
}

async function readHolder(path: string): Promise<LockHolder | undefined> {
  try {
    const holder = parseObject(await readFile(join(path, lockName), 'utf8'))
    if (typeof holder?.pid !== 'number' || typeof holder.host !== 'string') return undefined
    return holder as unknown as LockHolder
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isAlive({ pid, host, startTicks }: LockHolder): boolean {
  if (host !== hostname() || pid === process.pid) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  const ticks = startTicksOf(pid)
  return startTicks === undefined || ticks === undefined || ticks === startTicks
}

/** Field 22 of /proc/PID/stat; undefined if there is no such file. */
function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function inUse(path: string, holder: string): MillraceError {
  return new MillraceError('FOLDER_IN_USE', `the data folder ${path} is in use by ${holder}`)
}

/** Writes a small file atomically: after a crash it is either complete or missing. */
async function writeSynced(path: string, name: string, text: string): Promise<void> {
  const temporary = join(path, name + temporarySuffix)
  const file = await open(temporary, 'w')
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, join(path, name))
  await syncFolder(path)
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
