import { MillraceError } from '../../protocol/index.js'
import { assign } from './assignor.js'
import { type Member, newMember, newSlot, type Slot } from './member.js'
import type { GroupTopic, JoinRequest, MemberSession, OwnedEntry, TopicSource } from './types.js'

export interface GroupOptions {
  /** Unique forever: becomes the epoch of a grant. */
  readonly uniqueId: () => number
  readonly topics: TopicSource
  readonly membersMax: number
  /** Paused: no member may own a partition. */
  readonly isPaused: () => boolean
}

const fencedMembersMax = 1_000

/**
 * Membership and ownership of one stream group, as a state machine: no sockets, no timers, time is an argument
 * (ms of a monotonic clock). A change of membership only marks the group (`rebalanceNeeded`), so that a burst of joins
 * and
 * leaves costs one `rebalance`. A partition moves in two steps: `rebalance` sets its target, and the group grants it
 * under a
 * new epoch once its owner has sent a heartbeat without it or is gone. A rebalance does not touch other partitions.
 */
export class Group {
  readonly name: string
  /** Increases with every change of membership or topics. */
  generation = 0
  /** Whether membership or topics changed since the last rebalance. */
  rebalanceNeeded = false
  /** One member owns everything, the others stand by; the first member decides. */
  singleActive = false
  readonly members = new Map<string, Member>()
  readonly #options: GroupOptions
  readonly #memberIdByInstance = new Map<string, string>()
  /** Members whose instance another member took over; bounded, the oldest leaves first. */
  readonly #fenced = new Set<string>()
  readonly #slots = new Map<number, Slot[]>()
  /** Seeks in progress, counted by partition: members must not overwrite them with a commit. */
  readonly #seeks = new Map<string, number>()
  #changed = new Set<Member>()
  #heartbeats = 0

  constructor(name: string, options: GroupOptions) {
    this.name = name
    this.#options = options
  }

  /** Rebalancing: some partition does not belong to its target yet. */
  get state(): 'empty' | 'stable' | 'rebalancing' {
    if (this.members.size === 0) return 'empty'
    if (this.rebalanceNeeded) return 'rebalancing'
    for (const slot of this.slots()) if (slot.owner !== slot.target) return 'rebalancing'
    return 'stable'
  }

  *slots(): Iterable<Slot> {
    for (const slots of this.#slots.values()) yield* slots
  }

  slot(topicId: number, partition: number): Slot | undefined {
    return this.#slots.get(topicId)?.[partition]
  }

  /** Members whose assignment may have changed since the last call, including removed ones. */
  takeChanged(): ReadonlySet<Member> {
    const changed = this.#changed
    if (changed.size > 0) this.#changed = new Set()
    return changed
  }

  /**
   * Adds a member, or refreshes one that joins again. With an `instanceId` that another member has, the new one
   * takes over its partitions under new epochs and the group fences the old one.
   * @throws MillraceError BAD_REQUEST, FENCED, LIMIT_EXCEEDED
   */
  join(request: JoinRequest, session: MemberSession, nowMs: number): Member {
    const { memberId, instanceId, singleActive = false } = request
    if (this.members.size > 0 && this.singleActive !== singleActive)
      throw new MillraceError(
        'BAD_REQUEST',
        `singleActive is ${singleActive}, expected ${this.singleActive} as for the other members of group "${this.name}"`,
      )
    this.singleActive = singleActive
    if (this.#fenced.has(memberId)) throw this.#fencedError(memberId)
    const known = this.members.get(memberId)
    if (known !== undefined && known.instanceId === instanceId) {
      this.#attach(known, session, nowMs)
      known.sessionTimeoutMs = request.sessionTimeoutMs
      this.#subscribe(known, request.topics)
      return known
    }
    if (known !== undefined) this.remove(memberId)
    const previous = instanceId === undefined ? undefined : this.#memberIdByInstance.get(instanceId)
    if (previous === undefined && this.members.size >= this.#options.membersMax) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `group "${this.name}" has ${this.members.size} members, which is the maximum`,
      )
    }
    const member = newMember(request, session, nowMs)
    this.members.set(memberId, member)
    this.generation += 1
    if (previous !== undefined) this.#takeOver(previous, member)
    if (instanceId !== undefined) this.#memberIdByInstance.set(instanceId, memberId)
    this.#subscribe(member, request.topics)
    return member
  }

  /**
   * Records that a member is alive, and releases partitions that it must give up and no longer lists.
   * @returns whether `owned` equals the assignment of the member
   * @throws MillraceError UNKNOWN_MEMBER, FENCED
   */
  heartbeat(memberId: string, owned: readonly OwnedEntry[], session: MemberSession, nowMs: number): boolean {
    const member = this.member(memberId)
    this.#attach(member, session, nowMs)
    this.#heartbeats += 1
    let settled = true
    for (const [topicId, partition, epoch] of owned) {
      const slot = this.slot(topicId, partition)
      if (slot?.owner !== member) settled = false
      else {
        slot.listedIn = this.#heartbeats
        if (slot.target !== member || slot.epoch !== epoch) settled = false
      }
    }
    for (const slot of member.slots) {
      if (slot.listedIn === this.#heartbeats) continue
      if (slot.target === member) settled = false
      else this.#release(slot)
    }
    return settled
  }

  /** The assignment of a member, without the partitions that it must give up. */
  assigned(member: Member): Slot[] {
    const slots: Slot[] = []
    for (const slot of member.slots) if (slot.target === member) slots.push(slot)
    return slots
  }

  /** @throws MillraceError UNKNOWN_MEMBER, FENCED */
  member(memberId: string): Member {
    const member = this.members.get(memberId)
    if (member !== undefined) return member
    if (this.#fenced.has(memberId)) throw this.#fencedError(memberId)
    throw new MillraceError('UNKNOWN_MEMBER', `group "${this.name}" has no member "${memberId}"; join again`)
  }

  /** Removes a member; others get the partitions that they are waiting for at once. */
  remove(memberId: string): void {
    const member = this.members.get(memberId)
    if (member === undefined) return
    this.members.delete(memberId)
    if (member.instanceId !== undefined) this.#memberIdByInstance.delete(member.instanceId)
    for (const slot of member.slots) {
      if (slot.target === member) slot.target = undefined
      this.#release(slot)
    }
    this.#touch(member)
    this.#membershipChanged()
  }

  /** The connection of a member has ended: a dynamic member leaves at once, a static one at its timeout. */
  disconnect(memberId: string, session: MemberSession): void {
    const member = this.members.get(memberId)
    if (member?.session !== session) return
    if (member.instanceId === undefined) this.remove(memberId)
    else member.session = undefined
  }

  /**
   * Removes members without a heartbeat for their session timeout, and revokes partitions from members that
   * send heartbeats but have not given them up for as long.
   * @returns the ids of removed members
   */
  expire(nowMs: number): string[] {
    const expired: string[] = []
    for (const member of this.members.values()) {
      if (nowMs - member.lastHeartbeatMs > member.sessionTimeoutMs) expired.push(member.memberId)
      for (const slot of member.slots) {
        if (slot.revokedAtMs !== undefined && nowMs - slot.revokedAtMs > member.sessionTimeoutMs) {
          this.#release(slot)
        }
      }
    }
    for (const memberId of expired) this.remove(memberId)
    return expired
  }

  /** Updates a topic that was created, deleted or changed. */
  topicChanged({ topicId, name }: Pick<GroupTopic, 'topicId' | 'name'>): void {
    const topic = this.#options.topics.byId(topicId)
    for (const member of this.members.values()) {
      if (!member.topics.includes(name)) continue
      this.#subscribe(member, member.topics)
      // Its new generation tells also a member without partitions that something is gone.
      if (topic === undefined) this.#touch(member)
    }
    const slots = this.#slots.get(topicId)
    if (slots === undefined) return
    if (topic === undefined) this.#dropSlots(topicId)
    else if (topic.partitions > slots.length) this.#membershipChanged()
  }

  /** Computes a new assignment, and grants partitions without an owner. */
  rebalance(nowMs: number): void {
    this.rebalanceNeeded = false
    this.#createSlots()
    const members = this.#eligible()
    const indices = new Map(members.map((member, index) => [member, index]))
    const slots = [...this.#slots.keys()].sort((a, b) => a - b).flatMap((id) => this.#slots.get(id) ?? [])
    const holderOf = ({ owner, target }: Slot): number =>
      (target && indices.get(target)) ?? (owner && indices.get(owner)) ?? -1
    const targets = assign(
      members,
      slots.map((slot) => ({ topicId: slot.topic.topicId, holder: holderOf(slot) })),
    )
    for (const [at, slot] of slots.entries()) this.#retarget(slot, members[targets[at] as number], nowMs)
    this.#removeUnusedSlots()
  }

  /** Members that may own partitions. The single active one stays so while it lives; then the oldest member follows. */
  #eligible(): Member[] {
    if (this.#options.isPaused()) return []
    const members = [...this.members.values()]
    if (!this.singleActive || members.length <= 1) return members
    const active = members.find((member) => this.assigned(member).length > 0) ?? (members[0] as Member)
    return [active]
  }

  /** Prevents commits of a partition by members until `endSeek`. */
  beginSeek(topicId: number, partition: number): void {
    const key = `${topicId}/${partition}`
    this.#seeks.set(key, (this.#seeks.get(key) ?? 0) + 1)
  }

  /** The seek is committed or has failed: the owner of the partition starts again under a new epoch. */
  endSeek(topicId: number, partition: number): void {
    const key = `${topicId}/${partition}`
    const left = (this.#seeks.get(key) ?? 1) - 1
    if (left === 0) this.#seeks.delete(key)
    else this.#seeks.set(key, left)
    const slot = this.slot(topicId, partition)
    if (slot?.owner === undefined) return
    slot.epoch = this.#options.uniqueId()
    this.#touch(slot.owner)
  }

  /** The reason why `member` may not commit a partition under `epoch`; undefined if it may. */
  commitProblem(member: Member, topicId: number, partition: number, epoch: number): string | undefined {
    const slot = this.slot(topicId, partition)
    if (slot?.owner !== member) return `member "${member.memberId}" does not own partition ${partition}`
    if (slot.epoch !== epoch) return `partition ${partition} has a newer epoch`
    if (this.#seeks.size > 0 && this.#seeks.has(`${topicId}/${partition}`)) {
      return `the broker is moving the committed offset of partition ${partition}`
    }
    return undefined
  }

  #touch(member: Member): void {
    member.version += 1
    this.#changed.add(member)
  }

  #attach(member: Member, session: MemberSession, nowMs: number): void {
    member.lastHeartbeatMs = nowMs
    if (member.session !== undefined && member.session.id > session.id) return
    member.session = session
    member.clientName = session.clientName
    member.address = session.address
  }

  #subscribe(member: Member, topics: readonly string[]): void {
    const topicIds = this.#resolve(topics)
    member.topics = topics
    if (topicIds.size === member.topicIds.size && [...topicIds].every((id) => member.topicIds.has(id))) return
    member.topicIds = topicIds
    this.#membershipChanged()
  }

  #resolve(topics: readonly string[]): ReadonlySet<number> {
    const ids = new Set<number>()
    for (const name of topics) {
      const topic = this.#options.topics.byName(name)
      if (topic !== undefined) ids.add(topic.topicId)
    }
    return ids
  }

  #membershipChanged(): void {
    this.generation += 1
    this.rebalanceNeeded = true
  }

  #takeOver(previousId: string, member: Member): void {
    const previous = this.members.get(previousId)
    if (previous === undefined) return
    this.members.delete(previousId)
    this.#touch(previous)
    this.#fenced.add(previousId)
    if (this.#fenced.size > fencedMembersMax) {
      for (const oldest of this.#fenced) {
        this.#fenced.delete(oldest)
        break
      }
    }
    member.topicIds = previous.topicIds
    for (const slot of this.slots()) {
      if (slot.target === previous) slot.target = member
      if (slot.owner === previous) {
        if (slot.target === member) this.#grant(slot, member)
        else this.#release(slot)
      }
    }
    previous.slots.clear()
  }

  #fencedError(memberId: string): MillraceError {
    return new MillraceError(
      'FENCED',
      `another member of group "${this.name}" with the same instanceId replaced member "${memberId}"`,
    )
  }

  #grant(slot: Slot, member: Member): void {
    slot.owner = member
    slot.epoch = this.#options.uniqueId()
    slot.revokedAtMs = undefined
    member.slots.add(slot)
    this.#touch(member)
  }

  /** The owner has given the partition up: its target gets it. */
  #release(slot: Slot): void {
    slot.owner?.slots.delete(slot)
    slot.owner = undefined
    slot.revokedAtMs = undefined
    const { target } = slot
    if (target !== undefined && this.members.get(target.memberId) === target) this.#grant(slot, target)
  }

  #retarget(slot: Slot, target: Member | undefined, nowMs: number): void {
    if (slot.target !== target) {
      slot.target = target
      if (slot.owner !== undefined) this.#touch(slot.owner)
      slot.revokedAtMs = slot.owner === undefined || slot.owner === target ? undefined : nowMs
    }
    if (slot.owner === undefined && target !== undefined) this.#grant(slot, target)
  }

  #createSlots(): void {
    for (const member of this.members.values()) {
      for (const topicId of member.topicIds) {
        const topic = this.#options.topics.byId(topicId)
        if (topic === undefined) continue
        let slots = this.#slots.get(topicId)
        if (slots === undefined) {
          slots = []
          this.#slots.set(topicId, slots)
        }
        while (slots.length < topic.partitions) slots.push(newSlot(topic, slots.length))
      }
    }
  }

  /** Partitions of topics without subscribers stay until their owners have given them up. */
  #removeUnusedSlots(): void {
    for (const [topicId, slots] of this.#slots) {
      if (slots.every((slot) => slot.owner === undefined && slot.target === undefined)) {
        this.#slots.delete(topicId)
      }
    }
  }

  #dropSlots(topicId: number): void {
    for (const slot of this.#slots.get(topicId) ?? []) {
      if (slot.owner === undefined) continue
      slot.owner.slots.delete(slot)
      this.#touch(slot.owner)
    }
    this.#slots.delete(topicId)
  }
}
