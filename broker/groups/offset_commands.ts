import { bytesText, errorFields, MillraceError } from '../../protocol/index.js'
import type { OffsetEntry } from './committed_offsets.js'
import { groupExists, unknownGroup } from './describe.js'
import type { Group } from './group.js'
import type { GroupHost } from './host.js'
import type { Member } from './member.js'
import { checkGroupName, type Membership } from './membership.js'
import type { GroupSettings } from './settings.js'
import type { CommitReply, CommitRequest, GroupTopic, SeekReply, SeekRequest } from './types.js'

type CommitEntry = CommitRequest['offsets'][number]

export interface OffsetCommandsOptions {
  /** Wall clock for the age of offsets, ms since 1970; it should not jump ahead. */
  readonly nowMs: () => number
  readonly host: GroupHost
  readonly membership: Membership
  readonly settings: GroupSettings
  /** Whether one more group may come into being. */
  readonly hasRoom: () => boolean
}

/** Changes what groups have committed: commit, seek, delete. */
export class OffsetCommands {
  readonly #options: OffsetCommandsOptions
  /** Commits under way by group: while there are any, the durable offsets are not the newest. */
  readonly #underWay = new Map<string, number>()

  constructor(options: OffsetCommandsOptions) {
    this.#options = options
  }

  /**
   * Commits offsets and resolves when they are durable. Each entry has a result of its own.
   * @throws MillraceError BAD_NAME, UNKNOWN_MEMBER, FENCED, GROUP_ACTIVE, LIMIT_EXCEEDED, STORAGE_FAILED
   */
  async commit(request: CommitRequest): Promise<CommitReply> {
    const { group: name, offsets } = request
    const committer = this.#committer(request)
    const entries: OffsetEntry[] = []
    const results = offsets.map((entry) => {
      const problem = this.#entryProblem(name, committer, entry)
      if (problem !== undefined) return errorFields(problem)
      const [topicId, partition, , offset, metadata] = entry
      if (!this.#isCommitted(name, entry)) entries.push([topicId, partition, offset, metadata])
      return { error: 0 }
    })
    if (entries.length > 0) await this.#write(name, entries)
    return { results }
  }

  /**
   * For a transaction: the offsets to commit. The caller must call `ended` once the commit has settled.
   * @throws MillraceError BAD_NAME, UNKNOWN_MEMBER, FENCED, GROUP_ACTIVE, LIMIT_EXCEEDED, OFFSET_OUT_OF_RANGE
   */
  prepare(request: CommitRequest): { readonly entries: readonly OffsetEntry[]; ended(): void } {
    const { group: name, offsets } = request
    const committer = this.#committer(request)
    for (const entry of offsets) {
      const problem = this.#entryProblem(name, committer, entry)
      if (problem !== undefined) throw problem
    }
    const entries = offsets.map(
      ([topicId, partition, , offset, metadata]): OffsetEntry => [topicId, partition, offset, metadata],
    )
    const { promise, resolve } = withResolvers()
    this.#options.membership.commitStarted(name, promise)
    this.#begun(name)
    return {
      entries,
      ended: () => {
        resolve()
        this.#ended(name)
      },
    }
  }

  /**
   * Moves committed offsets; members that own the partitions start again from there.
   * @throws MillraceError BAD_NAME, BAD_REQUEST, UNKNOWN_GROUP (without `create`), UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE, LIMIT_EXCEEDED,
   * STORAGE_FAILED
   */
  async seek(request: SeekRequest): Promise<SeekReply> {
    const { host, membership } = this.#options
    const { group, create = false } = request
    checkGroupName(group)
    if (!create && !groupExists(host, membership, group) && !this.#underWay.has(group))
      throw unknownGroup(host, membership, group)
    const topic = host.topics.byName(request.topic)
    if (topic === undefined) throw host.unknownTopic(request.topic)
    const partitions = [
      ...new Set(request.partitions ?? Array.from({ length: topic.partitions }, (_, i) => i)),
    ]
    const targets: { partition: number; offset: number }[] = []
    for (const partition of partitions) {
      targets.push({ partition, offset: await this.#seekTarget(request, topic, partition) })
    }
    if (targets.length === 0) return { partitions: [] }
    this.#checkRoom(request.group)
    const seekEnded = membership.seekStarted(request.group, topic.topicId, partitions)
    try {
      await this.#write(
        request.group,
        targets.map(({ partition, offset }) => [topic.topicId, partition, offset, undefined]),
      )
    } finally {
      seekEnded()
    }
    return { partitions: targets }
  }

  /** @throws MillraceError UNKNOWN_GROUP, GROUP_ACTIVE, STORAGE_FAILED */
  async delete(name: string): Promise<void> {
    const { host, membership } = this.#options
    this.#refuseActive(name)
    if (!host.offsets.has(name) && !this.#underWay.has(name)) {
      throw unknownGroup(host, membership, name)
    }
    const deleted = host.deleteGroup(name)
    membership.commitStarted(name, deleted)
    await deleted
  }

  #committer({ group: name, memberId }: CommitRequest): { group: Group; member: Member } | undefined {
    const { membership } = this.#options
    checkGroupName(name)
    if (memberId === undefined) {
      this.#refuseActive(name)
      this.#checkRoom(name)
      return undefined
    }
    const group = membership.group(name)
    if (group === undefined) {
      throw new MillraceError('UNKNOWN_MEMBER', `group "${name}" has no member "${memberId}"; join again`)
    }
    return { group, member: group.member(memberId) }
  }

  #refuseActive(name: string): void {
    const members = this.#options.membership.group(name)?.members.size ?? 0
    if (members > 0) {
      throw new MillraceError('GROUP_ACTIVE', `group "${name}" has ${members} members; stop them first`)
    }
  }

  #checkRoom(name: string): void {
    const { host, membership, settings, hasRoom } = this.#options
    if (host.offsets.has(name) || membership.group(name) !== undefined || hasRoom()) return
    throw new MillraceError(
      'LIMIT_EXCEEDED',
      `the broker has ${settings.groupsMax} stream groups, which is the maximum (groupsMax)`,
    )
  }

  #entryProblem(
    name: string,
    committer: { group: Group; member: Member } | undefined,
    [topicId, partition, epoch, offset, metadata]: CommitEntry,
  ): MillraceError | undefined {
    const { host, settings } = this.#options
    const ends = host.ends(topicId, partition)
    if (ends === undefined) return missingPartition(host, topicId, partition)
    if (committer !== undefined) {
      const problem = committer.group.commitProblem(committer.member, topicId, partition, epoch)
      if (problem !== undefined) return new MillraceError('FENCED', problem)
    }
    if (offset > ends.endOffset) {
      return new MillraceError(
        'OFFSET_OUT_OF_RANGE',
        `offset ${offset} is past the end of partition ${partition}, expected at most ${ends.endOffset}`,
      )
    }
    const known = host.offsets.get(name, topicId, partition)
    const grows = known === undefined || (metadata?.length ?? 0) > (known.metadata?.length ?? 0)
    if (grows && host.offsets.bytes >= settings.groupOffsetsBytesMax) {
      return new MillraceError(
        'LIMIT_EXCEEDED',
        `committed offsets use ${bytesText(host.offsets.bytes)}, expected at most ${bytesText(settings.groupOffsetsBytesMax)} (groupOffsetsBytesMax)`,
      )
    }
    return undefined
  }

  #isCommitted(name: string, [topicId, partition, , offset, metadata]: CommitEntry): boolean {
    if (this.#underWay.has(name)) return false
    const known = this.#options.host.offsets.get(name, topicId, partition)
    return known?.offset === offset && known.metadata === metadata
  }

  async #write(name: string, entries: readonly OffsetEntry[]): Promise<void> {
    const { host, membership } = this.#options
    const commit = host.commitOffsets(name, this.#options.nowMs(), entries)
    membership.commitStarted(name, commit)
    this.#begun(name)
    try {
      await commit
    } finally {
      this.#ended(name)
    }
  }

  #begun(name: string): void {
    this.#underWay.set(name, (this.#underWay.get(name) ?? 0) + 1)
  }

  #ended(name: string): void {
    const left = (this.#underWay.get(name) ?? 1) - 1
    if (left === 0) this.#underWay.delete(name)
    else this.#underWay.set(name, left)
  }

  async #seekTarget({ kind, value }: SeekRequest, topic: GroupTopic, partition: number): Promise<number> {
    const { host } = this.#options
    const ends = host.ends(topic.topicId, partition)
    if (ends === undefined) throw missingPartition(host, topic.topicId, partition)
    if (kind === 'earliest') return ends.startOffset
    if (kind === 'latest') return ends.endOffset
    if (value === undefined)
      throw new MillraceError('BAD_REQUEST', `value is missing, expected one for kind "${kind}"`)
    if (kind === 'time') return host.offsetForTime(topic.topicId, partition, value)
    if (value < ends.startOffset || value > ends.endOffset) {
      throw new MillraceError(
        'OFFSET_OUT_OF_RANGE',
        `offset ${value} is out of range in partition ${partition} of topic "${topic.name}", expected ${ends.startOffset} to ${ends.endOffset}`,
      )
    }
    return value
  }
}

function withResolvers(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

function missingPartition(host: GroupHost, topicId: number, partition: number): MillraceError {
  const topic = host.topics.byId(topicId)
  if (topic === undefined) return new MillraceError('UNKNOWN_TOPIC', `no topic has id ${topicId}`)
  return new MillraceError(
    'UNKNOWN_PARTITION',
    `topic "${topic.name}" has no partition ${partition}, it has ${topic.partitions} partitions`,
  )
}
