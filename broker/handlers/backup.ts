import type { commands } from '../../protocol/index.js'
import { brokerVersion } from '../version.js'
import type { Handler } from './handler.js'

const backupBegin: Handler<typeof commands.backupBegin> = async ({ broker }) => {
  const { id, position } = await broker.backups.begin()
  const bytes = broker.shard.store.stats.liveBytes
  return { body: { backupId: id, position, bytes, brokerVersion } }
}

const backupRead: Handler<typeof commands.backupRead> = async ({ broker }, { backupId, chunk }) => {
  const { part, entries, checksum, payload } = await broker.backups.read(backupId, chunk)
  return { body: { part, entries, checksum }, payload: [payload] }
}

const backupEnd: Handler<typeof commands.backupEnd> = async ({ broker }, { backupId }) => {
  await broker.backups.end(backupId)
  return { body: {} }
}

export const backupHandlers = { backupBegin, backupRead, backupEnd }
