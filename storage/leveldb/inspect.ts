import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachRecord, type LogFile, readLogFile, writeLogFile } from './log_format.js'
import { type TableFile, type Version, VersionReader } from './manifest.js'
import { tableProblem } from './table.js'

/** A problem of a file of a database. */
export interface FileProblem {
  /** Name in the database's folder. */
  readonly file: string
  /** For humans: "its record at byte 7 is damaged". */
  readonly problem: string
}

/** A write-ahead file that LevelDB will replay when it opens the database. */
export interface WriteAheadFile {
  readonly name: string
  readonly bytes: Buffer
  readonly log: LogFile
  /** Records follow the damage, so it is not a write that was cut short. */
  readonly damaged: boolean
}

/** The condition of the files of a database, by LevelDB's own checksums. */
export interface Inspection {
  /** The database was never used. */
  readonly isNew: boolean
  /** Missing files without which LevelDB fails, or opens an older state. */
  readonly broken: readonly FileProblem[]
  /** Tables with damaged blocks; checked only on request. */
  readonly damagedTables: readonly FileProblem[]
  readonly writeAhead: readonly WriteAheadFile[]
  /** The only intact MANIFEST, if CURRENT does not name it. */
  readonly onlyManifest: string | undefined
  /**
   * The repaired MANIFEST, if the damage loses nothing: only headers of records are damaged, or the last bytes are
   * no record, and all files exist that the other records name.
   */
  readonly mendedManifest: MendedManifest | undefined
}

export interface MendedManifest {
  readonly name: string
  readonly bytes: Uint8Array
  /** It dropped only bytes at the end, the remains of a write that a power cut tore. */
  readonly wasTorn: boolean
}

const manifestPattern = /^MANIFEST-(\d+)$/
const logPattern = /^(\d+)\.log$/
const tablePattern = /^(\d+)\.(?:ldb|sst)$/
/** A journal of 100 GB has 70,000 tables. */
const statsAtOnce = 64

/**
 * Inspects the files of a closed LevelDB database before LevelDB opens it, because LevelDB silently drops unreadable
 * data.
 * @param tables verify every block of every table too, which reads all files
 */
export async function inspectDatabase(
  folder: string,
  { tables = false }: { readonly tables?: boolean } = {},
): Promise<Inspection> {
  const names = await namesIn(folder)
  const nothing = {
    broken: [],
    damagedTables: [],
    writeAhead: [],
    onlyManifest: undefined,
    mendedManifest: undefined,
  }
  if (!names.some((name) => isData(name))) return { ...nothing, isNew: true }
  const current = names.includes('CURRENT') ? await readFile(join(folder, 'CURRENT'), 'latin1') : ''
  const named = current.endsWith('\n') ? current.slice(0, -1) : ''
  if (!manifestPattern.test(named) || !names.includes(named)) {
    const onlyManifest = await soleManifest(folder, names)
    // The remains of a process that was killed while it created the database.
    const empty = !names.some((name) => tablePattern.test(name) || logPattern.test(name))
    if (empty && !names.includes('CURRENT')) return { ...nothing, isNew: true }
    const broken = [{ file: 'CURRENT', problem: 'it does not name an existing MANIFEST' }]
    return { ...nothing, isNew: false, broken, onlyManifest }
  }
  const manifest = await readManifest(folder, named)
  if ('problem' in manifest) return { ...nothing, isNew: false, broken: [manifest] }
  const { version } = manifest
  const broken = await missingFiles(folder, names, manifest.tailBytes, named, version)
  const writeAhead = await readWriteAheadFiles(folder, names, version.logNumber ?? 0)
  const damagedTables = tables ? await damagedTablesOf(folder, names, version) : []
  const { mended } = manifest
  const isMendable = mended !== undefined && broken.length === 0
  const mendedManifest = isMendable
    ? { name: named, bytes: mended, wasTorn: !manifest.damagedHeaders }
    : undefined
  return { isNew: false, broken, damagedTables, writeAhead, onlyManifest: undefined, mendedManifest }
}

/** Whether a database was never written to, at any point of its creation: a power cut may leave it broken. */
export async function isBlank(folder: string): Promise<boolean> {
  const names = await namesIn(folder)
  if (names.some((name) => tablePattern.test(name))) return false
  for (const name of names.filter((name) => logPattern.test(name)))
    if ((await readFile(join(folder, name))).some((byte) => byte !== 0)) return false
  return true
}

/** Whether a folder has files of a database; LevelDB creates a new one otherwise. */
export async function hasFiles(folder: string): Promise<boolean> {
  return (await namesIn(folder)).some(isData)
}

export function isManifest(name: string): boolean {
  return manifestPattern.test(name)
}

function isData(name: string): boolean {
  return (
    name === 'CURRENT' || [manifestPattern, logPattern, tablePattern].some((pattern) => pattern.test(name))
  )
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

type ManifestRead =
  | {
      readonly version: Version
      readonly tailBytes: number
      readonly damagedHeaders: boolean
      readonly mended: Uint8Array | undefined
    }
  | FileProblem

async function readManifest(folder: string, name: string): Promise<ManifestRead> {
  const file = await readFile(join(folder, name))
  return readWholeManifest(file) ?? readDamagedManifest(file, name)
}

/**
 * A MANIFEST that is intact to its last byte; undefined otherwise. LevelDB appends to it while the database
 * is open, some hundred bytes for each table that was ever written, so this does not collect its records.
 */
function readWholeManifest(file: Buffer): ManifestRead | undefined {
  const reader = new VersionReader()
  try {
    const isWhole = forEachRecord(file, (record) => reader.add(record))
    if (!isWhole || reader.version.logNumber === undefined) return undefined
  } catch {
    return undefined
  }
  return { version: reader.version, tailBytes: 0, damagedHeaders: false, mended: undefined }
}

function readDamagedManifest(file: Buffer, name: string): ManifestRead {
  const { records, tailBytes, damagedHeaders } = readLogFile(file)
  const damaged = records.find(({ intact }) => !intact)
  if (damaged !== undefined) return { file: name, problem: `its record at byte ${damaged.from} is damaged` }
  if (records.length === 0) return { file: name, problem: 'it contains no intact record' }
  try {
    const reader = new VersionReader()
    for (const { data } of records) reader.add(data)
    const { version } = reader
    // LevelDB rejects a MANIFEST with only the first record, without those of an open.
    if (version.logNumber === undefined) return { file: name, problem: 'its last record is damaged' }
    const isWhole = tailBytes === 0 && !damagedHeaders
    const mended = isWhole ? undefined : writeLogFile(records.map(({ data }) => data))
    return { version, tailBytes, damagedHeaders, mended }
  } catch {
    return { file: name, problem: 'one of its records is invalid' }
  }
}

/** The only MANIFEST, if it is intact to its last byte and all files that it names exist. */
async function soleManifest(folder: string, names: readonly string[]): Promise<string | undefined> {
  const [name, other] = names.filter(isManifest)
  if (name === undefined || other !== undefined) return undefined
  const manifest = await readManifest(folder, name)
  if ('problem' in manifest || manifest.mended !== undefined) return undefined
  const missing = await missingFiles(folder, names, 0, name, manifest.version)
  return missing.length === 0 ? name : undefined
}

/**
 * The files that must exist. If they do, a truncated last record of the MANIFEST is harmless: LevelDB deletes
 * the files that a record makes obsolete only once the record is durable.
 */
async function missingFiles(
  folder: string,
  names: readonly string[],
  tailBytes: number,
  manifest: string,
  { tables, logNumber }: Version,
): Promise<FileProblem[]> {
  const problems: FileProblem[] = []
  const there = new Set(names)
  const all = [...tables.values()]
  for (let from = 0; from < all.length; from += statsAtOnce) {
    const some = all.slice(from, from + statsAtOnce)
    const found = await Promise.all(some.map((table) => tableFileProblem(folder, there, table)))
    for (const problem of found) if (problem !== undefined) problems.push(problem)
  }
  // LevelDB's repair leaves 0: there is none.
  const log = `${padded(logNumber ?? 0)}.log`
  if (logNumber !== 0 && !there.has(log)) problems.push({ file: log, problem: 'it is missing' })
  if (problems.length > 0 && tailBytes > 0)
    problems.unshift({ file: manifest, problem: `its last ${tailBytes} bytes are damaged` })
  return problems
}

async function tableFileProblem(
  folder: string,
  names: ReadonlySet<string>,
  table: TableFile,
): Promise<FileProblem | undefined> {
  const file = tableName(names, table)
  if (file === undefined) return { file: `${padded(table.number)}.ldb`, problem: 'it is missing' }
  const { size } = await stat(join(folder, file))
  return size === table.bytes
    ? undefined
    : { file, problem: `it has the wrong size, expected ${table.bytes} bytes` }
}

/** Write-ahead files from a number, in the order of their writes. */
export async function readWriteAheadFiles(
  folder: string,
  names: readonly string[],
  logNumber: number,
): Promise<WriteAheadFile[]> {
  const files: WriteAheadFile[] = []
  const numbers = names.flatMap((name) => Number(logPattern.exec(name)?.[1] ?? Number.NaN))
  for (const number of numbers.filter((number) => number >= logNumber).sort((a, b) => a - b)) {
    const name = `${padded(number)}.log`
    const bytes = await readFile(join(folder, name))
    const log = readLogFile(bytes)
    files.push({ name, bytes, log, damaged: log.damagedHeaders || log.records.some(({ intact }) => !intact) })
  }
  // LevelDB syncs a write before the next begins, in the next file too.
  return files.map((file, index) => {
    const later = files.slice(index + 1).some(({ log }) => log.records.some(({ intact }) => intact))
    return { ...file, damaged: file.damaged || (file.log.tailBytes > 0 && later) }
  })
}

async function damagedTablesOf(
  folder: string,
  names: readonly string[],
  { tables }: Version,
): Promise<FileProblem[]> {
  const problems: FileProblem[] = []
  const there = new Set(names)
  for (const table of tables.values()) {
    const file = tableName(there, table)
    if (file === undefined) continue
    const problem = tableProblem(await readFile(join(folder, file)))
    if (problem !== undefined) problems.push({ file, problem })
  }
  return problems
}

function tableName(names: ReadonlySet<string>, { number }: TableFile): string | undefined {
  return [`${padded(number)}.ldb`, `${padded(number)}.sst`].find((name) => names.has(name))
}

function padded(number: number): string {
  return String(number).padStart(6, '0')
}
