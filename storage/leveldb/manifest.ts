import { Cursor } from './varint.js'

/** A table of a version of the database. */
export interface TableFile {
  readonly number: number
  readonly bytes: number
  /** Smallest and largest key, without LevelDB's sequence and type. */
  readonly smallest: Buffer
  readonly largest: Buffer
}

/** The combined content of the records of a MANIFEST. */
export interface Version {
  readonly tables: ReadonlyMap<number, TableFile>
  /** LevelDB needs the write-ahead files from this number; undefined if no record names it. */
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

/** Applies the records of a MANIFEST, one after the other. */
export class VersionReader {
  readonly #tables = new Map<number, TableFile>()
  #logNumber: number | undefined

  get version(): Version {
    return { tables: this.#tables, logNumber: this.#logNumber }
  }

  /** @throws RangeError if a record is not a VersionEdit */
  add(record: Buffer): void {
    const cursor = new Cursor(record)
    while (!cursor.atEnd) {
      const tag = cursor.varint()
      if (tag === tags.logNumber) this.#logNumber = cursor.varint()
      else if (tag === tags.deletedFile) {
        cursor.varint()
        this.#tables.delete(cursor.varint())
      } else if (tag === tags.newFile) {
        cursor.varint()
        const table = readTableFile(cursor)
        this.#tables.set(table.number, table)
      } else skip(tag, cursor)
    }
  }
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
