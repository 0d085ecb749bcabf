import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachRecord, type LogFile, readLogFile, writeLogFile } from './log_format.js'
import { type TableFile, type Version, VersionReader } from './manifest.js'
import { tableProblem } from './table.js'

/** Something that is wrong with a file of a database. */
export interface FileProblem {
  /** Name in the database's folder. */
  readonly file: string
  /** For people: "its record at byte 7 is damaged". */
  readonly problem: string
}

/** A write-ahead file that LevelDB will replay when it opens the database. */
export interface WriteAheadFile {
  readonly name: string
  readonly bytes: Buffer
  readonly log: LogFile
  /** Records behind damage exist, so it isn't a write that was cut short. */
  readonly damaged: boolean
}

/** What the files of a database are worth, as its own checksums tell. */
export interface Inspection {
  /** Nothing was ever stored here. */
  readonly isNew: boolean
  /** Files without which LevelDB opens nothing, or less than there was. */
  readonly broken: readonly FileProblem[]
  /** Tables with damaged blocks; only looked for when asked. */
  readonly damagedTables: readonly FileProblem[]
  readonly writeAhead: readonly WriteAheadFile[]
  /** The one intact MANIFEST that there is, when CURRENT doesn't name it. */
  readonly onlyManifest: string | undefined
  /**
   * The MANIFEST as it should be, when damage to it is no loss: only headers of records are damaged, or the last bytes make
   * no record, and all that the others name is there.
   */
  readonly mendedManifest: MendedManifest | undefined
}

export interface MendedManifest {
  readonly name: string
  readonly bytes: Uint8Array
  /** Nothing but bytes at the end was dropped, as a write leaves that a power cut tore. */
  readonly wasTorn: boolean
}

const manifestPattern = /^MANIFEST-(\d+)$/
const logPattern = /^(\d+)\.log$/
const tablePattern = /^(\d+)\.(?:ldb|sst)$/
/** A journal of 100 GB has 70,000 tables. */
const statsAtOnce = 64

/**
 * Looks at the files of a closed LevelDB database before LevelDB does, which would drop what it can't read without a word.
 * @param tables whether every block of every table is verified too, which reads all there is
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
    // What a process that was killed while it made the database leaves.
    const empty = !names.some((name) => tablePattern.test(name) || logPattern.test(name))
    if (empty && !names.includes('CURRENT')) return { ...nothing, isNew: true }
    const broken = [{ file: 'CURRENT', problem: 'it does not name a MANIFEST that is there' }]
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

/** Whether nothing was ever written to a database, however far the making of it came: a power cut may leave it broken. */
export async function isBlank(folder: string): Promise<boolean> {
  const names = await namesIn(folder)
  if (names.some((name) => tablePattern.test(name))) return false
  for (const name of names.filter((name) => logPattern.test(name)))
    if ((await readFile(join(folder, name))).some((byte) => byte !== 0)) return false
  return true
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
 * A MANIFEST that is intact to its last byte; undefined when it is not. LevelDB appends to it for as long as the database
 * is open, some hundred bytes for each table that was ever written: its records are not gathered.
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
  if (records.length === 0) return { file: name, problem: 'it holds no intact record' }
  try {
    const reader = new VersionReader()
    for (const { data } of records) reader.add(data)
    const { version } = reader
    // A first record alone, without what comes when the database is opened, is none that LevelDB would take.
    if (version.logNumber === undefined) return { file: name, problem: 'its last record is damaged' }
    const isWhole = tailBytes === 0 && !damagedHeaders
    const mended = isWhole ? undefined : writeLogFile(records.map(({ data }) => data))
    return { version, tailBytes, damagedHeaders, mended }
  } catch {
    return { file: name, problem: 'a record of it makes no sense' }
  }
}

/** The only MANIFEST, if it is intact to its last byte and all that it names is there. */
async function soleManifest(folder: string, names: readonly string[]): Promise<string | undefined> {
  const [name, other] = names.filter(isManifest)
  if (name === undefined || other !== undefined) return undefined
  const manifest = await readManifest(folder, name)
  if ('problem' in manifest || manifest.mended !== undefined) return undefined
  const missing = await missingFiles(folder, names, 0, name, manifest.version)
  return missing.length === 0 ? name : undefined
}

/**
 * Files that must be there. A last record of the MANIFEST that was cut short is no harm where these are: LevelDB deletes
 * what a record makes superfluous only once that is durable.
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
  // 0 is what LevelDB's repair leaves: there is none.
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
  return size === table.bytes ? undefined : { file, problem: `it should have ${table.bytes} bytes` }
}

/** Write-ahead files from a number on, in the order in which they were written. */
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
  // A write is synced before the next begins, in the next file too.
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
