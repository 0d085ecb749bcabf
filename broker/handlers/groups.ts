import type { commands } from '../../protocol/index.js'
import type { Handler } from './handler.js'
import { withHealth } from './with_health.js'
import { withOldest } from './with_oldest.js'

const groupJoin: Handler<typeof commands.groupJoin> = async ({ broker, session }, request) => ({
  body: await broker.groups.join(request, session),
})

const groupHeartbeat: Handler<typeof commands.groupHeartbeat> = async ({ broker, session }, request) => ({
  body: await broker.groups.heartbeat(request, session),
})

const groupLeave: Handler<typeof commands.groupLeave> = ({ broker }, { group, memberId }) => {
  broker.groups.leave(group, memberId)
  return { body: {} }
}

const groupCommit: Handler<typeof commands.groupCommit> = async ({ broker }, request) => ({
  body: await broker.groups.commit(request),
})

const groupList: Handler<typeof commands.groupList> = ({ broker }) => ({ body: broker.groups.list() })

const groupDescribe: Handler<typeof commands.groupDescribe> = async ({ broker }, { group }) => {
  const description = broker.groups.describe(group)
  const partitions = await withOldest(
    broker.shard,
    description.partitions,
    ({ endOffset, lag }) => endOffset - lag,
  )
  return { body: withHealth(broker, { ...description, partitions }) }
}

const groupSeek: Handler<typeof commands.groupSeek> = async ({ broker }, request) => ({
  body: await broker.groups.seek(request),
})

const groupDelete: Handler<typeof commands.groupDelete> = async ({ broker }, { group }) => {
  await broker.groups.delete(group)
  return { body: {} }
}

const groupPause: Handler<typeof commands.groupPause> = async ({ broker }, { group, paused }) => {
  await broker.groups.setPaused(group, paused)
  return { body: {} }
}

export const groupHandlers = {
  groupJoin,
  groupHeartbeat,
  groupLeave,
  groupCommit,
  groupList,
  groupDescribe,
  groupSeek,
  groupDelete,
  groupPause,
}
