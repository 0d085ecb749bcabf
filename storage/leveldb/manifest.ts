import { Cursor } from './varint.js'

/** A table that a version of the database is made of. */
export interface TableFile {
  readonly number: number
  readonly bytes: number
  /** Smallest and largest key; LevelDB's sequence and type are cut off. */
  readonly smallest: Buffer
  readonly largest: Buffer
}

/** What the records of a MANIFEST come to. */
export interface Version {
  readonly tables: ReadonlyMap<number, TableFile>
  /** Write-ahead files from this number on are needed; undefined when no record says. */
  readonly logNumber: number | undefined
}

/** Tags of a VersionEdit (db/version_edit.cc). */
const tags = {
  comparator: 1,
  logNumber: 2,
  nextFileNumber: 3,
  lastSequence: 4,
  compactPointer: 5,
  deletedFile: 6,
  newFile: 7,
  prevLogNumber: 9,
} as const

const internalBytes = 8

/**
 * Folds the records of a MANIFEST.
 * @throws RangeError when a record is no VersionEdit
 */
export function readVersion(records: readonly Buffer[]): Version {
  const tables = new Map<number, TableFile>()
  let logNumber: number | undefined
  for (const record of records) {
    const cursor = new Cursor(record)
    while (!cursor.atEnd) {
      const tag = cursor.varint()
      if (tag === tags.logNumber) logNumber = cursor.varint()
      else if (tag === tags.deletedFile) {
        cursor.varint()
        tables.delete(cursor.varint())
      } else if (tag === tags.newFile) {
        cursor.varint()
        const table = readTableFile(cursor)
        tables.set(table.number, table)
      } else skip(tag, cursor)
    }
  }
  return { tables, logNumber }
}

function readTableFile(cursor: Cursor): TableFile {
  const number = cursor.varint()
  const bytes = cursor.varint()
  const smallest = userKey(cursor.bytes())
  return { number, bytes, smallest, largest: userKey(cursor.bytes()) }
}

function userKey(internal: Buffer): Buffer {
  return internal.subarray(0, Math.max(0, internal.length - internalBytes))
}

function skip(tag: number, cursor: Cursor): void {
  if (tag === tags.comparator) cursor.bytes()
  else if (tag === tags.nextFileNumber || tag === tags.lastSequence || tag === tags.prevLogNumber)
    cursor.varint()
  else if (tag === tags.compactPointer) {
    cursor.varint()
    cursor.bytes()
  } else throw new RangeError(`unknown tag ${tag}`)
}
