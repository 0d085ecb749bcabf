/**
 * Kinds of journal operations. They are part of the disk format, and never changed or reused. Record batches are not in
 * this table: a block stores them separately (block.ts). The owner of a kind writes and reads its payload. All payloads
 * are msgpack, except those of delayed messages, because there are many of them.
 */
export const opKinds = {
  boot: 1,
  topicCreated: 2,
  topicAltered: 3,
  topicDeleted: 4,
  /** Drops records of partition logs before an offset: retention. The store itself applies it. */
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
  /** Ids of messages that were appended without a delay, for deduplication. */
  messageIds: 15,
  /** Removes the ids of messages that arrived before a time. */
  messageIdsExpired: 16,
  /** Removes idempotent producers that were inactive for too long. */
  producersForgotten: 17,
  /** Skips ids that a lost broker may have given out after the backup from which this one was restored. */
  idsSkipped: 18,
} as const

export type OpKind = (typeof opKinds)[keyof typeof opKinds]

/**
 * The effect of an operation on disk space, which decides whether the store accepts it when space runs out:
 * - `grows`: it adds data that stays. The store refuses it when the disk is low.
 * - `finishes`: it ends work or records progress, and reclaim can soon free its space. The store refuses it when the disk is
 *   full.
 * - `frees`: it removes data or permits its removal, or the broker cannot start without it. The store always accepts it.
 *
 * A commit with a record batch always grows the disk.
 */
export type DiskEffect = 'grows' | 'finishes' | 'frees'

const diskEffects: Readonly<Record<keyof typeof opKinds, DiskEffect>> = {
  boot: 'frees',
  topicCreated: 'grows',
  // It lowers retention. The only data that it can add are empty partitions.
  topicAltered: 'frees',
  topicDeleted: 'frees',
  logsTrimmed: 'frees',
  offsetsCommitted: 'finishes',
  groupDeleted: 'frees',
  groupPaused: 'finishes',
  queueConfigured: 'grows',
  queueSubscribed: 'grows',
  queueLeased: 'finishes',
  queueSettled: 'finishes',
  queueRedriven: 'finishes',
  queueLeaseBounded: 'finishes',
  queueDeleted: 'frees',
  transaction: 'finishes',
  messagesDelayed: 'grows',
  delayedFired: 'finishes',
  delayedCancelled: 'frees',
  scheduleSet: 'grows',
  scheduleDeleted: 'frees',
  scheduleFired: 'finishes',
  messageIds: 'grows',
  messageIdsExpired: 'frees',
  producersForgotten: 'frees',
  idsSkipped: 'frees',
}

const effectByKind: ReadonlyMap<number, DiskEffect> = new Map(
  Object.entries(opKinds).map(([name, kind]) => [kind, diskEffects[name as keyof typeof opKinds]]),
)

/** The effect of an operation of this kind on disk space. An unknown kind grows the disk. */
export function diskEffectOf(kind: number): DiskEffect {
  return effectByKind.get(kind) ?? 'grows'
}
