import { MillraceError } from '../../protocol/index.js'
import { LivenessClock } from '../liveness_clock.js'
import { describeGroup, groupExists, groupNames, listGroups, unknownGroup } from './describe.js'
import type { GroupHost } from './host.js'
import { checkGroupName, Membership } from './membership.js'
import { OffsetCommands } from './offset_commands.js'
import type { GroupSettings } from './settings.js'
import type {
  Assignment,
  CommitReply,
  CommitRequest,
  GroupDescription,
  GroupListReply,
  GroupTopic,
  HeartbeatRequest,
  JoinRequest,
  MemberSession,
  SeekReply,
  SeekRequest,
} from './types.js'

/** Interval of the search for silent members; an expired session is noticed this much later at most. */
const sweepIntervalMs = 250
/** If a sweep is later than this, the process counts as stalled, and session timeouts stop. */
const sweepLateMsMax = 500
const offsetsExpiryIntervalMs = 60_000

export interface GroupsOptions {
  readonly host: GroupHost
  readonly settings: GroupSettings
  /** Wall clock for the age of offsets; it should not jump ahead. Default `Date.now`. */
  readonly nowMs?: () => number
  /** Called when members are removed because they are silent. */
  readonly onExpired?: (group: string, memberIds: readonly string[]) => void
  /** Called when the removal of the offsets of an abandoned group failed; the group tries again. */
  readonly onExpiryFailed?: (group: string, error: unknown) => void
}

/**
 * The stream groups of a shard. Membership is in memory: after a restart clients join again. Committed offsets are
 * operations of the journal. A group exists while it has members or committed offsets.
 */
export class Groups {
  readonly #host: GroupHost
  readonly #settings: GroupSettings
  readonly #options: GroupsOptions
  readonly #membership: Membership
  readonly #commands: OffsetCommands
  readonly #timers: NodeJS.Timeout[]
  readonly #nowMs: () => number
  /** The last time at which each group had members (wall clock); kept only while offsets can expire. */
  readonly #activeAtMs = new Map<string, number>()
  readonly #startedAtMs: number
  /** Pauses that are being committed. */
  readonly #pausing = new Set<string>()

  constructor(options: GroupsOptions) {
    const { host, settings, nowMs = Date.now } = options
    this.#options = options
    this.#host = host
    this.#settings = settings
    this.#nowMs = nowMs
    this.#startedAtMs = nowMs()
    const hasRoom = (): boolean => this.count < settings.groupsMax
    this.#membership = new Membership({
      settings,
      hasRoom,
      clock: new LivenessClock(sweepIntervalMs + sweepLateMsMax),
      topics: host.topics,
      uniqueId: () => host.uniqueId(),
      unknownTopic: (name) => host.unknownTopic(name),
      committedOffset: (group, topicId, partition) => host.offsets.get(group, topicId, partition)?.offset,
      hasOffsets: (group) => host.offsets.has(group),
      isPaused: (group) => host.isPaused(group),
      onExpired: (group, memberIds) => options.onExpired?.(group, memberIds),
    })
    this.#commands = new OffsetCommands({ host, settings, hasRoom, membership: this.#membership, nowMs })
    this.#timers = [setInterval(() => this.#membership.sweep(), sweepIntervalMs).unref()]
    if (settings.groupOffsetsRetentionMs >= 0) {
      this.#timers.push(setInterval(() => void this.expireOffsets(nowMs()), offsetsExpiryIntervalMs).unref())
    }
  }

  /** Whether a group has members, committed offsets or a pause. */
  has(group: string): boolean {
    return groupExists(this.#host, this.#membership, group)
  }

  /** Groups that have members or committed offsets. */
  get count(): number {
    return groupNames(this.#host, this.#membership).size
  }

  /** Resolves with the assignment of the new member; see protocol/commands/groups.ts for this and all others. */
  join(request: JoinRequest, session: MemberSession): Promise<Assignment> {
    return this.#membership.join(request, session)
  }

  heartbeat(request: HeartbeatRequest, session: MemberSession): Promise<Assignment> {
    return this.#membership.heartbeat(request, session)
  }

  leave(group: string, memberId: string): void {
    this.#membership.leave(group, memberId)
  }

  commit(request: CommitRequest): Promise<CommitReply> {
    return this.#commands.commit(request)
  }

  /**
   * A group may be paused before it exists, so names of paused groups have a limit of their own: `groupsMax`.
   * The name of a queue group is probably meant for that one, so that no stream group is paused by it.
   * @throws MillraceError BAD_NAME, UNKNOWN_GROUP, LIMIT_EXCEEDED, STORAGE_FAILED
   */
  async setPaused(group: string, paused: boolean): Promise<void> {
    checkGroupName(group)
    if (this.#host.isQueueGroup(group) && !groupExists(this.#host, this.#membership, group))
      throw unknownGroup(this.#host, this.#membership, group)
    if (this.#host.isPaused(group) !== paused) {
      if (paused) await this.#pause(group)
      else await this.#host.setPaused(group, false)
    }
    this.#membership.pauseChanged(group)
  }

  async #pause(group: string): Promise<void> {
    const { groupsMax } = this.#settings
    let count = this.#host.pausedCount
    for (const name of this.#pausing) if (!this.#host.isPaused(name)) count++
    if (count >= groupsMax)
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `${groupsMax} groups are paused, which is the maximum (groupsMax)`,
      )
    this.#pausing.add(group)
    try {
      await this.#host.setPaused(group, true)
    } finally {
      this.#pausing.delete(group)
    }
  }

  /** See OffsetCommands.prepare. */
  prepareCommit(request: CommitRequest): ReturnType<OffsetCommands['prepare']> {
    return this.#commands.prepare(request)
  }

  seek(request: SeekRequest): Promise<SeekReply> {
    return this.#commands.seek(request)
  }

  delete(group: string): Promise<void> {
    return this.#commands.delete(group)
  }

  list(): GroupListReply {
    return listGroups(this.#host, this.#membership)
  }

  describe(group: string): GroupDescription {
    return describeGroup(this.#host, this.#membership, group, this.#nowMs())
  }

  /** Call it when a topic was created, deleted or given more partitions. */
  topicChanged(topic: Pick<GroupTopic, 'topicId' | 'name'>): void {
    this.#membership.topicChanged(topic)
  }

  /**
   * Deletes the offsets of groups that were abandoned for `groupOffsetsRetentionMs`; it also runs once a minute by
   * itself.
   */
  async expireOffsets(wallMs: number): Promise<void> {
    const groups = [...this.#host.offsets.groups]
    for (const group of this.#activeAtMs.keys()) {
      if (!this.#host.offsets.has(group)) this.#activeAtMs.delete(group)
    }
    for (const group of groups) {
      if (this.#membership.hasMembers(group)) {
        this.#activeAtMs.set(group, wallMs)
        continue
      }
      const activeAtMs = Math.max(
        this.#startedAtMs,
        this.#activeAtMs.get(group) ?? 0,
        this.#host.offsets.lastCommitMs(group) ?? 0,
      )
      if (wallMs - activeAtMs < this.#settings.groupOffsetsRetentionMs) continue
      try {
        await this.#commands.delete(group)
      } catch (error) {
        this.#options.onExpiryFailed?.(group, error)
      }
    }
  }

  /** Answers waiting heartbeats and refuses new joins and heartbeats with DRAINING; commits continue. */
  drain(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#membership.drain()
  }
}
