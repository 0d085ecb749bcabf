import type { GroupTopic, JoinRequest, MemberSession } from './types.js'

/** A member of a group. Only its Group changes it. */
export interface Member {
  readonly group: string
  readonly memberId: string
  readonly instanceId: string | undefined
  /** Subscribed names, and the ids of existing topics. */
  topics: readonly string[]
  topicIds: ReadonlySet<number>
  sessionTimeoutMs: number
  /** Absent while a static member is disconnected. */
  session: MemberSession | undefined
  clientName: string
  address: string
  lastHeartbeatMs: number
  /**
   * Increases whenever the assignment of the member may have changed; and its value at the last answer to the member.
   */
  version: number
  toldVersion: number
  /** Its partitions, including those that it must give up. */
  readonly slots: Set<Slot>
}

/**
 * One partition in a group. `owner` may read and commit under `epoch`; `target` is the member that should own it. They
 * differ
 * until the owner has given it up.
 */
export interface Slot {
  readonly topic: GroupTopic
  readonly partition: number
  owner: Member | undefined
  epoch: number
  target: Member | undefined
  /** Time at which the group asked the owner to give it up. */
  revokedAtMs: number | undefined
  /** Number of the last heartbeat that listed it. */
  listedIn: number
}

/** A member without subscriptions and partitions. */
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

/** A partition without an owner. */
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
