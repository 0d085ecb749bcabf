import { readdir, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { MillraceError } from '../protocol/index.js'
import { replaceFile } from './set_aside.js'
import { hasDatabases } from './shard_contents.js'

/** Name and version of the layout in FORMAT.md. */
const format = { name: 'millrace', version: 2 } as const
/** Version 1 had the journal in one database. */
const readableVersions: readonly unknown[] = [1, 2]
export const markerName = 'MILLRACE'

/** The databases that each shard must hold, by the name of its folder. */
type Holds = Readonly<Record<string, readonly string[]>>

/** Position of the first block of a lost end of the journal, by the name of the shard's folder. */
type LostEnds = Readonly<Record<string, number>>

interface MarkerFields {
  readonly holds: Holds
  readonly lostEnds: LostEnds
  /** Folders of restored shards that no broker has opened yet. */
  readonly restored: readonly string[]
  /** Folders of shards whose list was lost and made anew, and that no broker has opened since. */
  readonly relisted: readonly string[]
}

const emptyFields: MarkerFields = { holds: {}, lostEnds: {}, restored: [], relisted: [] }

/** The databases that the folder of one shard must hold, according to the marker. */
export interface ShardContents {
  /** Names of databases; undefined if the marker does not say: the shard is new, or of an older version. */
  readonly databases: readonly string[] | undefined
  /**
   * Changes the list; resolves once the marker has it and would survive a power cut.
   * @throws the error of the system, such as ENOSPC; nothing has changed then
   */
  change(update: (databases: readonly string[]) => readonly string[]): Promise<void>
  /**
   * The journal may have had blocks from this position on that are lost, and no open has skipped their offsets yet;
   * undefined if its end is known.
   */
  readonly lostFrom: number | undefined
  /**
   * Takes lost databases off the list, and sets `lostFrom` in the same write.
   * @throws the error of the system, such as ENOSPC; nothing has changed then
   */
  giveUp(databases: readonly string[], lostFrom: number | undefined): Promise<void>
  /**
   * Clears `lostFrom`, once the state has the skipped offsets.
   * @throws the error of the system, such as ENOSPC; nothing has changed then
   */
  lostEndSkipped(): Promise<void>
  /** Whether the shard comes from a backup and its ids were not renewed since. */
  readonly isRestored: boolean
  /**
   * Sets `isRestored`.
   * @throws the error of the system, such as ENOSPC; nothing has changed then
   */
  setRestored(isRestored: boolean): Promise<void>
  /** Whether `databases` was lost and made anew: nothing shows whether a database is missing behind the newest one. */
  readonly isRelisted: boolean
  /**
   * Clears `isRelisted`.
   * @throws the error of the system, such as ENOSPC; nothing has changed then
   */
  listVerified(): Promise<void>
}

/** The marker file of a data folder that this process holds. */
export class Marker {
  readonly #path: string
  #fields: MarkerFields
  #last: Promise<void> = Promise.resolve()

  private constructor(path: string, fields: MarkerFields) {
    this.#path = path
    this.#fields = fields
  }

  /**
   * Reads the marker, and writes it if it is missing, or of an older version.
   * @throws MillraceError UNKNOWN_FORMAT
   */
  static async open(path: string): Promise<Marker> {
    const text = await readText(path)
    const fields = parse(text)
    if (text !== '' && !isReadable(fields)) throw unreadable(path, fields)
    const marker = new Marker(path, markerFieldsOf(fields))
    if (fields?.version !== format.version) await marker.#write(marker.#fields)
    return marker
  }

  /** @param shard name of the shard's folder */
  contents(shard: string): ShardContents {
    const fields = (): MarkerFields => this.#fields
    const holding = (
      { holds, ...others }: MarkerFields,
      update: (names: readonly string[]) => readonly string[],
    ): MarkerFields => ({
      ...others,
      holds: { ...holds, [shard]: [...new Set(update(holds[shard] ?? []))].sort() },
    })
    const losing = ({ lostEnds, ...others }: MarkerFields, from: number | undefined): MarkerFields => {
      const { [shard]: _, ...rest } = lostEnds
      return { ...others, lostEnds: from === undefined ? rest : { ...rest, [shard]: from } }
    }
    return {
      get databases() {
        return fields().holds[shard]
      },
      get lostFrom() {
        return fields().lostEnds[shard]
      },
      get isRestored() {
        return fields().restored.includes(shard)
      },
      get isRelisted() {
        return fields().relisted.includes(shard)
      },
      change: (update) => this.#change((known) => holding(known, update)),
      giveUp: (gone, from) =>
        this.#change((known) =>
          losing(
            holding(known, (names) => names.filter((name) => !gone.includes(name))),
            from ?? known.lostEnds[shard],
          ),
        ),
      lostEndSkipped: () => this.#change((known) => losing(known, undefined)),
      setRestored: (isRestored) =>
        this.#change(({ restored, ...others }) => {
          const rest = restored.filter((name) => name !== shard)
          return { ...others, restored: isRestored ? [...rest, shard] : rest }
        }),
      listVerified: () =>
        this.#change(({ relisted, ...others }) => ({
          ...others,
          relisted: relisted.filter((name) => name !== shard),
        })),
    }
  }

  /** One write at a time: each has the changes of those before. */
  #change(update: (fields: MarkerFields) => MarkerFields): Promise<void> {
    const work = async (): Promise<void> => {
      const changed = update(this.#fields)
      if (markerText(changed) !== markerText(this.#fields)) await this.#write(changed)
    }
    const turn = this.#last.then(work, work)
    this.#last = turn.catch(() => {})
    return turn
  }

  async #write(fields: MarkerFields): Promise<void> {
    await replaceFile(this.#path, markerName, markerText(fields))
    this.#fields = fields
  }
}

/** Contents that no marker keeps: of engines in a folder without one. */
export function unmarkedContents(): ShardContents {
  const nothing = async (): Promise<void> => {}
  return {
    databases: undefined,
    lostFrom: undefined,
    change: nothing,
    giveUp: nothing,
    lostEndSkipped: nothing,
    isRestored: false,
    setRestored: nothing,
    isRelisted: false,
    listVerified: nothing,
  }
}

/**
 * Refuses a folder that is not empty and has no marker, or one of another format.
 * @param ownNames files that may be there before the marker is
 * @throws MillraceError UNKNOWN_FORMAT
 */
export async function checkMarker(path: string, ownNames: ReadonlySet<string>): Promise<void> {
  const names = await readdir(path)
  if (names.includes(markerName)) {
    const fields = parse(await readText(path))
    if (!isReadable(fields)) throw unreadable(path, fields)
    return
  }
  const other = names.find((name) => !ownNames.has(name) && name !== 'lost+found')
  if (other === undefined) return
  const wayOut = names.includes('shard-0')
    ? `if this is a Millrace data folder whose ${markerName} file was lost, "millrace repair --data DIR" rewrites it`
    : 'give an empty or new folder'
  throw new MillraceError(
    'UNKNOWN_FORMAT',
    `${path} is not a Millrace data folder: it contains "${other}" and no ${markerName} file; ${wayOut}`,
  )
}

/**
 * Rewrites a damaged or missing marker of a folder that has databases. Returns whether this was necessary.
 * @param anyVersion rewrites it also if it names another version, which a flipped bit can cause too
 * @throws MillraceError UNKNOWN_FORMAT
 */
export async function restoreMarker(dir: string, anyVersion: boolean): Promise<boolean> {
  const path = await realpath(dir)
  const fields = parse(await readText(path))
  if (isReadable(fields)) return false
  if (isOtherVersion(fields) && !anyVersion) {
    throw new MillraceError(
      'UNKNOWN_FORMAT',
      `the marker ${join(path, markerName)} has version ${String(fields?.version)}, this version of Millrace supports ${format.version}; if no newer version has used this folder, --marker rewrites the marker`,
    )
  }
  if (!(await readdir(path)).includes('shard-0'))
    throw new MillraceError('UNKNOWN_FORMAT', `${path} contains no journal of Millrace`)
  if (!(await hasDatabases(join(path, 'shard-0')))) {
    throw new MillraceError(
      'UNKNOWN_FORMAT',
      `${join(path, 'shard-0')} contains no database. Nothing was changed: a new marker would make this an empty broker. Mount its databases or copy them back, or restore the folder from a backup. To start an empty broker, use a new folder`,
    )
  }
  // The next start records the databases of the folder.
  await replaceFile(path, markerName, markerText({ ...emptyFields, relisted: ['shard-0'] }))
  return true
}

function markerText({ holds, lostEnds, restored, relisted }: MarkerFields): string {
  const fields = {
    holds,
    ...(Object.keys(lostEnds).length === 0 ? {} : { lostEnds }),
    ...(restored.length === 0 ? {} : { restored }),
    ...(relisted.length === 0 ? {} : { relisted }),
  }
  return `${JSON.stringify({ format: format.name, version: format.version, ...fields, checksum: checksumOf(fields) })}\n`
}

/** Versions without one of the later fields refuse a marker that has it: their checksum does not cover it. */
function checksumOf(fields: { readonly [Name in keyof MarkerFields]?: unknown }): number {
  const { holds, lostEnds, restored, relisted } = fields
  return [holds, lostEnds, restored, relisted].reduce<number>(
    (checksum, field) => (field === undefined ? checksum : crc32(JSON.stringify(field), checksum)),
    0,
  )
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(join(path, markerName), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

function unreadable(path: string, fields: Record<string, unknown> | undefined): MillraceError {
  if (isOtherVersion(fields)) {
    return new MillraceError(
      'UNKNOWN_FORMAT',
      `${path} has format ${format.name} ${String(fields?.version)}, this version of Millrace supports ${format.name} ${format.version}`,
    )
  }
  return new MillraceError(
    'UNKNOWN_FORMAT',
    `the marker ${join(path, markerName)} is damaged, or another program wrote it; if this is a Millrace data folder, "millrace repair --data DIR" rewrites the marker`,
  )
}

function isReadable(fields: Record<string, unknown> | undefined): boolean {
  if (fields?.format !== format.name || !readableVersions.includes(fields.version)) return false
  // Markers of older versions have no list.
  return fields.holds === undefined || fields.checksum === checksumOf(fields)
}

function isOtherVersion(fields: Record<string, unknown> | undefined): boolean {
  return (
    fields?.format === format.name &&
    Number.isInteger(fields.version) &&
    !readableVersions.includes(fields.version)
  )
}

/** @param fields of a marker whose checksum is right */
function markerFieldsOf(fields: Record<string, unknown> | undefined): MarkerFields {
  return {
    holds: (fields?.holds as Holds | undefined) ?? {},
    lostEnds: (fields?.lostEnds as LostEnds | undefined) ?? {},
    restored: (fields?.restored as readonly string[] | undefined) ?? [],
    relisted: (fields?.relisted as readonly string[] | undefined) ?? [],
  }
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
