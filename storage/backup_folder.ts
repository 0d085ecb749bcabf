import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { MillraceError } from '../protocol/index.js'
import { decodeEntries } from './backup_entries.js'
import type { EngineEntry } from './engine.js'
import { replaceFile, syncFolder } from './set_aside.js'

const format = { name: 'millrace-backup', version: 1 } as const
const manifestName = 'BACKUP.json'
const headerBytes = 8
/** Far more than a chunk has: a length above it is damaged. */
const chunkBytesMax = 64 * 1024 * 1024

export const backupParts = ['state', 'journal'] as const
export type BackupPart = (typeof backupParts)[number]

/** The file of one part. */
export interface BackupFile {
  readonly bytes: number
  readonly entries: number
  readonly sha256: string
}

/** The manifest of a backup. A backup without it is not complete. */
export interface BackupManifest {
  /** Position of the newest block of the journal. */
  readonly position: number
  readonly createdAtMs: number
  readonly brokerVersion: string
  readonly files: Readonly<Record<BackupPart, BackupFile>>
}

/** A chunk as the broker sends it. */
export interface BackupPayload {
  readonly part: BackupPart
  readonly entries: number
  readonly checksum: number
  readonly payload: Uint8Array
}

export type BackupAbout = Pick<BackupManifest, 'position' | 'brokerVersion'>

/**
 * Stores a backup in `dir`, which must be empty or missing: the files, then the manifest, all synced. After an error
 * nothing of it is left.
 * @param onBytes called with all bytes so far
 * @throws MillraceError BAD_OPTION for a folder that is not empty, BAD_BACKUP for a chunk with a wrong checksum; the error
 * of the system, such as ENOSPC; what `chunks` throws
 */
export async function writeBackup(
  dir: string,
  about: BackupAbout,
  chunks: AsyncIterable<BackupPayload>,
  onBytes: (bytes: number) => void = () => {},
): Promise<BackupManifest> {
  await makeEmptyFolder(dir)
  try {
    const files = await writeFiles(dir, chunks, onBytes)
    const manifest: BackupManifest = { ...about, createdAtMs: Date.now(), files }
    const fields = { format: format.name, version: format.version, ...manifest }
    await replaceFile(dir, manifestName, `${JSON.stringify(fields, undefined, 2)}\n`)
    return manifest
  } catch (error) {
    for (const part of backupParts) await rm(join(dir, fileName(part)), { force: true })
    throw error
  }
}

async function writeFiles(
  dir: string,
  chunks: AsyncIterable<BackupPayload>,
  onBytes: (bytes: number) => void,
): Promise<BackupManifest['files']> {
  const files = { state: await PartFile.create(dir, 'state'), journal: await PartFile.create(dir, 'journal') }
  try {
    let bytes = 0
    for await (const { part, entries, checksum, payload } of chunks) {
      if (crc32(payload) !== checksum)
        throw new MillraceError('BAD_BACKUP', 'a chunk of the backup was damaged during the transfer')
      await files[part].write(entries, checksum, payload)
      bytes += payload.length
      onBytes(bytes)
    }
    return { state: await files.state.finish(), journal: await files.journal.finish() }
  } finally {
    await files.state.close()
    await files.journal.close()
  }
}

class PartFile {
  readonly #file: FileHandle
  readonly #hash: Hash = createHash('sha256')
  #bytes = 0
  #entries = 0

  private constructor(file: FileHandle) {
    this.#file = file
  }

  static async create(dir: string, part: BackupPart): Promise<PartFile> {
    return new PartFile(await open(join(dir, fileName(part)), 'wx'))
  }

  async write(entries: number, checksum: number, payload: Uint8Array): Promise<void> {
    const header = Buffer.alloc(headerBytes)
    header.writeUInt32LE(payload.length, 0)
    header.writeUInt32LE(checksum, 4)
    for (const bytes of [header, payload]) {
      await this.#file.writeFile(bytes)
      this.#hash.update(bytes)
      this.#bytes += bytes.length
    }
    this.#entries += entries
  }

  async finish(): Promise<BackupFile> {
    await this.#file.sync()
    return { bytes: this.#bytes, entries: this.#entries, sha256: this.#hash.digest('hex') }
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/**
 * Reads the manifest of a backup.
 * @throws MillraceError BAD_BACKUP if there is none, or none that this version knows
 */
export async function readManifest(dir: string): Promise<BackupManifest> {
  const text = await readFile(join(dir, manifestName), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
    throw new MillraceError(
      'BAD_BACKUP',
      `${dir} contains no complete backup: the file ${manifestName} is missing, which "millrace backup" writes last`,
    )
  })
  let fields: BackupManifest & { readonly format?: unknown; readonly version?: unknown }
  try {
    fields = JSON.parse(text)
  } catch (cause) {
    throw new MillraceError('BAD_BACKUP', `${join(dir, manifestName)} is damaged`, { cause })
  }
  if (fields.format !== format.name || fields.version !== format.version)
    throw new MillraceError(
      'BAD_BACKUP',
      `${dir} has format ${String(fields.format)} ${String(fields.version)}, this version of Millrace supports ${format.name} ${format.version}`,
    )
  return fields
}

/**
 * Reads all bytes of a backup and compares them with its manifest.
 * @throws MillraceError BAD_BACKUP that names the file
 */
export async function verifyBackup(dir: string): Promise<BackupManifest> {
  const manifest = await readManifest(dir)
  for (const part of backupParts) for await (const _ of readPart(dir, part, manifest.files[part]));
  return manifest
}

/**
 * The entries of a part, a chunk at a time. A difference from the manifest is thrown at the end at the latest.
 * @throws MillraceError BAD_BACKUP
 */
export async function* readPart(
  dir: string,
  part: BackupPart,
  expected: BackupFile,
): AsyncGenerator<EngineEntry[]> {
  const name = fileName(part)
  const bad = (what: string): MillraceError => new MillraceError('BAD_BACKUP', `${join(dir, name)} ${what}`)
  const file = await open(join(dir, name), 'r').catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? bad('is missing') : error
  })
  try {
    const { size } = await file.stat()
    if (size !== expected.bytes) throw bad(`has ${size} bytes, expected ${expected.bytes} as in the manifest`)
    const hash = createHash('sha256')
    const read = async (length: number): Promise<Buffer> => {
      const bytes = Buffer.allocUnsafe(length)
      for (let at = 0; at < length; ) {
        const { bytesRead } = await file.read(bytes, at, length - at)
        if (bytesRead === 0) throw bad('is damaged: its last chunk is incomplete')
        at += bytesRead
      }
      hash.update(bytes)
      return bytes
    }
    let count = 0
    for (let at = 0; at < size; ) {
      const header = await read(headerBytes)
      const length = header.readUInt32LE(0)
      if (length > Math.min(chunkBytesMax, size - at - headerBytes)) throw bad(`is damaged at byte ${at}`)
      const payload = await read(length)
      if (crc32(payload) !== header.readUInt32LE(4)) throw bad(`is damaged at byte ${at}`)
      const entries = decodeEntries(payload)
      count += entries.length
      at += headerBytes + length
      yield entries
    }
    if (count !== expected.entries || hash.digest('hex') !== expected.sha256)
      throw bad('does not match the manifest of the backup')
  } finally {
    await file.close()
  }
}

/**
 * Creates a folder, or accepts an empty one.
 * @throws MillraceError BAD_OPTION for a folder that is not empty
 */
export async function makeEmptyFolder(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  const [name] = (await readdir(dir)).filter((found) => found !== 'lost+found')
  if (name !== undefined)
    throw new MillraceError(
      'BAD_OPTION',
      `${dir} is not empty: it contains "${name}"; give an empty or new folder`,
    )
  await syncFolder(dir)
}

function fileName(part: BackupPart): string {
  return `${part}.entries`
}
