/**
 * Kinds of journal operations. They stand on disk and are never changed or reused. Record batches are no operations of
 * this table: a block holds them apart (block.ts). Payloads are written and read by the owner of a kind; all are msgpack
 * but those of delayed messages, of which there are many.
 */
export const opKinds = {
  boot: 1,
  topicCreated: 2,
  topicAltered: 3,
  topicDeleted: 4,
  /** Drops records of partition logs before an offset: retention. Applied by the store itself. */
  logsTrimmed: 5,
  offsetsCommitted: 6,
  groupDeleted: 7,
  groupPaused: 8,
  queueConfigured: 20,
  queueSubscribed: 21,
  queueLeased: 22,
  queueSettled: 23,
  queueRedriven: 24,
  queueDeleted: 25,
  transaction: 26,
  queueLeaseBounded: 27,
  messagesDelayed: 9,
  delayedFired: 10,
  delayedCancelled: 11,
  scheduleSet: 12,
  scheduleDeleted: 13,
  scheduleFired: 14,
  /** Ids of messages that were appended at once, for deduplication. */
  messageIds: 15,
} as const

export type OpKind = (typeof opKinds)[keyof typeof opKinds]
