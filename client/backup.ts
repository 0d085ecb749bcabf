import { commands } from '../protocol/index.js'
import type { Cluster } from './cluster.js'
import { type CallOptions, checkCallOptions } from './options.js'

/** A part of a backup: entries of a database in the layout of PROTOCOL.md. */
export interface BackupChunk {
  readonly part: 'state' | 'journal'
  readonly entries: number
  /** CRC-32 of the payload. */
  readonly checksum: number
  readonly payload: Uint8Array
}

/** A backup that a broker makes; it ends when all chunks are read, with the loop over them, or after a minute of silence. */
export interface Backup {
  /** Position of the newest block of the journal in it. */
  readonly position: number
  /** About its size. */
  readonly bytes: number
  readonly brokerVersion: string
  /** Reads it, one chunk of about 1 MiB at a time; can be called once. */
  chunks(): AsyncGenerator<BackupChunk>
}

/**
 * Begins a backup of all that is durable now.
 * @throws MillraceError BACKUP_RUNNING, STORAGE_FULL, STORAGE_FAILED
 */
export async function beginBackup(cluster: Cluster, options: CallOptions = {}): Promise<Backup> {
  checkCallOptions('client.backup', options)
  const { backupId, ...about } = await cluster.call(commands.backupBegin, {}, options)
  return { ...about, chunks: () => readChunks(cluster, backupId, options) }
}

/** @throws MillraceError UNKNOWN_BACKUP, CORRUPT */
async function* readChunks(
  cluster: Cluster,
  backupId: string,
  options: CallOptions,
): AsyncGenerator<BackupChunk> {
  const repeated = { ...options, repeatable: true }
  try {
    for (let chunk = 0; ; chunk++) {
      const { body, payload } = await cluster.exchange(commands.backupRead, { backupId, chunk }, repeated)
      const { part, entries, checksum } = body
      if (part === undefined) return
      yield { part, entries, checksum, payload }
    }
  } finally {
    // If it does not arrive, the broker ends the backup after a minute.
    await cluster.control(commands.backupEnd, { backupId }, { timeoutMs: 1_000 }).catch(() => {})
  }
}
