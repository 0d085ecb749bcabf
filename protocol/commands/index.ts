import * as backup from './backup.js'
import type { Command } from './command.js'
import * as connection from './connection.js'
import * as groups from './groups.js'
import * as later from './later.js'
import * as log from './log.js'
import * as queues from './queues.js'
import * as replies from './replies.js'
import * as topics from './topics.js'

/** Every command of the protocol. */
export const commands = {
  hello: connection.hello,
  ping: connection.ping,
  status: connection.status,
  metadata: topics.metadata,
  topicCreate: topics.topicCreate,
  topicDelete: topics.topicDelete,
  topicAlter: topics.topicAlter,
  topicList: topics.topicList,
  topicDescribe: topics.topicDescribe,
  offsetsList: topics.offsetsList,
  topicPurge: topics.topicPurge,
  producerInit: log.producerInit,
  publish: log.publish,
  fetch: log.fetch,
  groupJoin: groups.groupJoin,
  groupHeartbeat: groups.groupHeartbeat,
  groupLeave: groups.groupLeave,
  groupCommit: groups.groupCommit,
  groupList: groups.groupList,
  groupDescribe: groups.groupDescribe,
  groupSeek: groups.groupSeek,
  groupDelete: groups.groupDelete,
  groupPause: groups.groupPause,
  queueOpen: queues.queueOpen,
  queueLease: queues.queueLease,
  queueSettle: queues.queueSettle,
  queueExtend: queues.queueExtend,
  queueDescribe: queues.queueDescribe,
  queueConfigure: queues.queueConfigure,
  queueDeadLetters: queues.queueDeadLetters,
  queueRedrive: queues.queueRedrive,
  transaction: queues.transaction,
  queueDelete: queues.queueDelete,
  queueList: queues.queueList,
  queueLeave: queues.queueLeave,
  queuePeek: queues.queuePeek,
  replySend: replies.replySend,
  replyPoll: replies.replyPoll,
  publishEach: later.publishEach,
  delayedCancel: later.delayedCancel,
  delayedList: later.delayedList,
  scheduleSet: later.scheduleSet,
  scheduleDelete: later.scheduleDelete,
  scheduleList: later.scheduleList,
  backupBegin: backup.backupBegin,
  backupRead: backup.backupRead,
  backupEnd: backup.backupEnd,
} as const

const byNumber: ReadonlyMap<number, Command<unknown, unknown>> = new Map(
  Object.values(commands).map((command) => [command.number, command as Command<unknown, unknown>]),
)

/** The command with this number, if there is one. */
export function commandOf(number: number): Command<unknown, unknown> | undefined {
  return byNumber.get(number)
}
