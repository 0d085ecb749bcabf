import type { GroupTopic, JoinRequest, MemberSession } from './types.js'

/** A member of a group. Only its Group changes it. */
export interface Member {
  readonly group: string
  readonly memberId: string
  readonly instanceId: string | undefined
  /** Subscribed names, and the ids of those that exist. */
  topics: readonly string[]
  topicIds: ReadonlySet<number>
  sessionTimeoutMs: number
  /** Absent while a static member is disconnected. */
  session: MemberSession | undefined
  clientName: string
  address: string
  lastHeartbeatMs: number
  /** Raised whenever what it should own may have changed, and what it was when the member was told last. */
  version: number
  toldVersion: number
  /** Partitions that it owns, also those that it has to give up. */
  readonly slots: Set<Slot>
}

/**
 * One partition in a group. `owner` may read and commit under `epoch`; `target` is who should own it. They differ
 * until the owner has given it up.
 */
export interface Slot {
  readonly topic: GroupTopic
  readonly partition: number
  owner: Member | undefined
  epoch: number
  target: Member | undefined
  /** Since when the owner has been asked to give it up. */
  revokedAtMs: number | undefined
  /** Number of the heartbeat that listed it last. */
  listedIn: number
}

/** A member that subscribes to nothing and owns nothing yet. */
export function newMember(request: JoinRequest, session: MemberSession, nowMs: number): Member {
  return {
    group: request.group,
    memberId: request.memberId,
    instanceId: request.instanceId,
    topics: [],
    topicIds: new Set(),
    sessionTimeoutMs: request.sessionTimeoutMs,
    session,
    clientName: session.clientName,
    address: session.address,
    lastHeartbeatMs: nowMs,
    version: 1,
    toldVersion: 0,
    slots: new Set(),
  }
}

/** A partition that nobody owns yet. */
export function newSlot(topic: GroupTopic, partition: number): Slot {
  return {
    topic,
    partition,
    owner: undefined,
    epoch: 0,
    target: undefined,
    revokedAtMs: undefined,
    listedIn: 0,
  }
}
