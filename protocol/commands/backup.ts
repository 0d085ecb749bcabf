import { integer, oneOf, optional, record, text } from '../shape.js'
import { command } from './command.js'
import { bytes, label } from './fields.js'

const backupId = text(100)

/**
 * Begins a backup of all data that is durable now. The broker runs one backup at a time, and reclaims no space
 * meanwhile.
 */
export const backupBegin = command({
  number: 70,
  name: 'backup.begin',
  since: 1,
  request: record({}),
  reply: record({
    backupId,
    /** Position of the newest block of the journal in the backup. */
    position: integer(),
    /** Approximate size of the backup. */
    bytes,
    brokerVersion: label,
  }),
})

/**
 * Reads a chunk: 0, then 1 and so on, first of the state, then of the journal. The client can read the last chunk
 * again. The payload holds the entries: u32 bytes of the key, u32 bytes of the value, key, value, little-endian.
 */
export const backupRead = command({
  number: 71,
  name: 'backup.read',
  since: 1,
  request: record({ backupId, chunk: integer() }),
  reply: record({
    /** Absent after the last chunk. */
    part: optional(oneOf('state', 'journal')),
    entries: integer(),
    /** CRC-32 of the payload. */
    checksum: integer(0, 0xffff_ffff),
  }),
})

/** Ends a backup, complete or not. */
export const backupEnd = command({
  number: 72,
  name: 'backup.end',
  since: 1,
  request: record({ backupId }),
  reply: record({}),
})
