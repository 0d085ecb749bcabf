import { durationText, limits, MillraceError, nameProblem } from '../../protocol/index.js'
import { coarseWaitMs } from '../coarse_wait.js'
import type { LivenessClock } from '../liveness_clock.js'
import { Group } from './group.js'
import type { Member } from './member.js'
import type { GroupSettings } from './settings.js'
import type {
  Assignment,
  GroupTopic,
  HeartbeatRequest,
  JoinRequest,
  MemberSession,
  TopicSource,
} from './types.js'

/** Delay of a repeated answer to a member that already has its assignment and lists something else. */
const repeatMs = 100
/** Assignment of the partitions of one group takes at most this share of the time: one tenth. */
const rebalanceRestFactor = 10

export interface MembershipOptions {
  readonly settings: GroupSettings
  readonly clock: LivenessClock
  readonly topics: TopicSource
  readonly uniqueId: () => number
  readonly unknownTopic: (name: string) => MillraceError
  readonly committedOffset: (group: string, topicId: number, partition: number) => number | undefined
  /** Whether the group has committed offsets, and so stays when its last member leaves. */
  readonly hasOffsets: (group: string) => boolean
  /** Whether another group may be created. */
  readonly hasRoom: () => boolean
  readonly isPaused: (group: string) => boolean
  readonly onExpired: (group: string, memberIds: readonly string[]) => void
}

interface Running {
  readonly group: Group
  rebalanceTimer: NodeJS.Timeout | undefined
  rebalanced: PromiseWithResolve | undefined
  rebalanceCostMs: number
  /** The newest commit of offsets in progress; never rejects. */
  commitInFlight: Promise<void> | undefined
}

interface PromiseWithResolve {
  readonly promise: Promise<void>
  readonly resolve: () => void
}

/**
 * Runs the groups with members: turns their state machines into answers to `join` and long-polled `heartbeat`,
 * merges bursts of changes into one rebalance, and detects closed connections and silent members.
 */
export class Membership {
  readonly #options: MembershipOptions
  readonly #running = new Map<string, Running>()
  readonly #waiting = new Map<Member, () => void>()
  readonly #membersOfSession = new WeakMap<MemberSession, Set<Member>>()
  #draining = false

  constructor(options: MembershipOptions) {
    this.#options = options
  }

  get names(): Iterable<string> {
    return this.#running.keys()
  }

  group(name: string): Group | undefined {
    return this.#running.get(name)?.group
  }

  hasMembers(name: string): boolean {
    return (this.group(name)?.members.size ?? 0) > 0
  }

  /** @throws MillraceError BAD_NAME, BAD_REQUEST, UNKNOWN_TOPIC, LIMIT_EXCEEDED, FENCED, DRAINING */
  async join(request: JoinRequest, session: MemberSession): Promise<Assignment> {
    this.#refuseWhileDraining()
    this.#checkJoin(request)
    const { settings, clock } = this.#options
    const running = this.#open(request.group)
    const delayMs =
      running.group.members.size === 0 ? settings.groupInitialDelayMs : settings.groupRebalanceDelayMs
    const member = running.group.join(request, session, clock.nowMs)
    this.#follow(session, member)
    this.#settle(running, delayMs)
    await running.rebalanced?.promise
    return this.#assignment(running, member)
  }

  /** @throws MillraceError UNKNOWN_MEMBER, FENCED, DRAINING */
  async heartbeat(request: HeartbeatRequest, session: MemberSession): Promise<Assignment> {
    this.#refuseWhileDraining()
    const running = this.#running.get(request.group)
    if (running === undefined) throw unknownMember(request.group, request.memberId)
    const { group } = running
    const settled = group.heartbeat(request.memberId, request.owned, session, this.#options.clock.nowMs)
    const member = group.member(request.memberId)
    this.#follow(session, member)
    this.#waiting.get(member)?.()
    this.#settle(running)
    if (settled || member.toldVersion === member.version) {
      const waitMsMax = settled ? member.sessionTimeoutMs / 2 : repeatMs
      await this.#wait(member, Math.min(request.waitMs, waitMsMax))
    }
    return this.#assignment(running, member)
  }

  /** Removes a member; an unknown member is no error, so that a retry succeeds. */
  leave(groupName: string, memberId: string): void {
    const running = this.#running.get(groupName)
    if (running === undefined) return
    running.group.remove(memberId)
    this.#settle(running)
  }

  /** Makes assignments wait for a commit of offsets in progress, so that new owners start after it. */
  commitStarted(groupName: string, commit: Promise<void>): void {
    const running = this.#running.get(groupName)
    if (running === undefined) return
    const settled = commit.then(noop, noop).then(() => {
      if (running.commitInFlight === settled) running.commitInFlight = undefined
    })
    running.commitInFlight = settled
  }

  /**
   * Fences the owners of partitions until the caller calls the returned function; they then start from the committed
   * offset.
   */
  seekStarted(groupName: string, topicId: number, partitions: readonly number[]): () => void {
    const running = this.#running.get(groupName)
    if (running === undefined) return noop
    for (const partition of partitions) running.group.beginSeek(topicId, partition)
    return () => {
      for (const partition of partitions) running.group.endSeek(topicId, partition)
      this.#settle(running)
    }
  }

  /** The group was paused or resumed. */
  pauseChanged(groupName: string): void {
    const running = this.#running.get(groupName)
    if (running === undefined) return
    running.group.rebalanceNeeded = true
    this.#settle(running, 0)
  }

  /** Updates a topic that was created, deleted or given more partitions. */
  topicChanged(topic: Pick<GroupTopic, 'topicId' | 'name'>): void {
    for (const running of this.#running.values()) {
      running.group.topicChanged(topic)
      this.#settle(running)
    }
  }

  /** Removes silent members. */
  sweep(): void {
    const { clock, onExpired } = this.#options
    clock.tick()
    if (this.#draining) return
    for (const running of this.#running.values()) {
      const expired = running.group.expire(clock.nowMs)
      if (expired.length > 0) onExpired(running.group.name, expired)
      this.#settle(running)
      this.#closeIfIdle(running)
    }
  }

  /** Answers every waiting request and refuses new ones. */
  drain(): void {
    this.#draining = true
    for (const running of this.#running.values()) {
      clearTimeout(running.rebalanceTimer)
      running.rebalanceTimer = undefined
      running.rebalanced?.resolve()
    }
    for (const answer of [...this.#waiting.values()]) answer()
  }

  #refuseWhileDraining(): void {
    if (this.#draining) throw new MillraceError('DRAINING')
  }

  #checkJoin({ group, memberId, topics, sessionTimeoutMs }: JoinRequest): void {
    checkGroupName(group)
    if (memberId === '') throw new MillraceError('BAD_REQUEST', 'memberId is empty, expected a text')
    if (topics.length === 0) {
      throw new MillraceError('BAD_REQUEST', 'topics is empty, expected at least one topic')
    }
    const { sessionTimeoutMsMin: min, sessionTimeoutMsMax: max } = limits
    if (sessionTimeoutMs < min || sessionTimeoutMs > max) {
      throw new MillraceError(
        'BAD_REQUEST',
        `sessionTimeoutMs is ${durationText(sessionTimeoutMs)}, expected ${durationText(min)} to ${durationText(max)}`,
      )
    }
    for (const name of topics) {
      if (this.#options.topics.byName(name) === undefined) throw this.#options.unknownTopic(name)
    }
  }

  #open(name: string): Running {
    const known = this.#running.get(name)
    if (known !== undefined) return known
    const { settings, topics, uniqueId, hasOffsets, hasRoom } = this.#options
    if (!hasOffsets(name) && !hasRoom()) {
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `the broker has ${settings.groupsMax} stream groups, which is the maximum (groupsMax)`,
      )
    }
    const running: Running = {
      group: new Group(name, {
        uniqueId,
        topics,
        membersMax: settings.groupMembersMax,
        isPaused: () => this.#options.isPaused(name),
      }),
      rebalanceTimer: undefined,
      rebalanced: undefined,
      rebalanceCostMs: 0,
      commitInFlight: undefined,
    }
    this.#running.set(name, running)
    return running
  }

  #closeIfIdle({ group, rebalanceTimer }: Running): void {
    if (group.members.size > 0 || rebalanceTimer !== undefined || this.#options.hasOffsets(group.name)) return
    this.#running.delete(group.name)
  }

  /** Call it after every change: it answers affected members and plans the rebalance. */
  #settle(running: Running, delayMs: number = this.#options.settings.groupRebalanceDelayMs): void {
    const { group } = running
    for (const member of group.takeChanged()) {
      if (group.members.get(member.memberId) !== member && member.session !== undefined) {
        this.#membersOfSession.get(member.session)?.delete(member)
      }
      this.#waiting.get(member)?.()
    }
    if (!group.rebalanceNeeded || running.rebalanceTimer !== undefined || this.#draining) return
    const waitMs = Math.max(delayMs, running.rebalanceCostMs * rebalanceRestFactor)
    running.rebalanced ??= promiseWithResolve()
    running.rebalanceTimer = setTimeout(() => this.#rebalance(running), waitMs)
    running.rebalanceTimer.unref()
  }

  #rebalance(running: Running): void {
    const startMs = performance.now()
    running.rebalanceTimer = undefined
    running.group.rebalance(this.#options.clock.nowMs)
    running.rebalanceCostMs = performance.now() - startMs
    running.rebalanced?.resolve()
    running.rebalanced = undefined
    this.#settle(running)
    this.#closeIfIdle(running)
  }

  #follow(session: MemberSession, member: Member): void {
    let members = this.#membersOfSession.get(session)
    if (members === undefined) {
      members = new Set()
      this.#membersOfSession.set(session, members)
      session.onClose(() => this.#sessionClosed(session))
    }
    members.add(member)
  }

  #sessionClosed(session: MemberSession): void {
    // The client lives and sends heartbeats over its new connection: its members keep their partitions.
    if (this.#draining || session.isReplaced === true) return
    for (const { group, memberId } of [...(this.#membersOfSession.get(session) ?? [])]) {
      const running = this.#running.get(group)
      if (running === undefined) continue
      running.group.disconnect(memberId, session)
      this.#settle(running)
    }
    this.#membersOfSession.delete(session)
  }

  #wait(member: Member, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const answer = (): void => {
        clearTimeout(timer)
        if (this.#waiting.get(member) === answer) this.#waiting.delete(member)
        resolve()
      }
      const timer = setTimeout(answer, coarseWaitMs(waitMs))
      timer.unref()
      this.#waiting.set(member, answer)
    })
  }

  async #assignment(running: Running, member: Member): Promise<Assignment> {
    await running.commitInFlight
    const { group } = running
    if (group.members.get(member.memberId) !== member) {
      group.member(member.memberId)
      throw unknownMember(group.name, member.memberId)
    }
    member.toldVersion = member.version
    const partitions = group.assigned(member).map(({ topic, partition, epoch }) => ({
      topicId: topic.topicId,
      topic: topic.name,
      partition,
      epoch,
      committedOffset: this.#options.committedOffset(group.name, topic.topicId, partition),
    }))
    return { generation: group.generation, partitions }
  }
}

/** @throws MillraceError BAD_NAME */
export function checkGroupName(name: string): void {
  const problem = nameProblem(name, limits.groupNameBytesMax)
  if (problem !== undefined)
    throw new MillraceError('BAD_NAME', `the group name ${JSON.stringify(name)} is not allowed: ${problem}`)
}

function unknownMember(group: string, memberId: string): MillraceError {
  return new MillraceError('UNKNOWN_MEMBER', `group "${group}" has no member "${memberId}"; join again`)
}

function promiseWithResolve(): PromiseWithResolve {
  let resolve = noop
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil
  })
  return { promise, resolve }
}

function noop(): void {}
