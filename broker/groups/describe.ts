import { MillraceError, suggestion } from '../../protocol/index.js'
import type { Group } from './group.js'
import type { GroupHost } from './host.js'
import type { Membership } from './membership.js'
import { reasonsOf } from './standstill.js'
import type { GroupDescription, GroupListReply, GroupTopic } from './types.js'

/** Names of all groups: those with members or with committed offsets. */
export function groupNames(host: GroupHost, membership: Membership): Set<string> {
  const names = new Set(host.offsets.groups)
  for (const name of membership.names) if (membership.hasMembers(name)) names.add(name)
  return names
}

/** Whether a stream group of this name has members, committed offsets or a pause. */
export function groupExists(host: GroupHost, membership: Membership, name: string): boolean {
  return membership.hasMembers(name) || host.offsets.has(name) || host.isPaused(name)
}

/** An UNKNOWN_GROUP error that names the nearest group, or says that the name is that of a queue group. */
export function unknownGroup(host: GroupHost, membership: Membership, name: string): MillraceError {
  const hint = host.isQueueGroup(name)
    ? '; a queue group has this name: use "millrace queue" or client.queues'
    : suggestion(name, groupNames(host, membership))
  return new MillraceError('UNKNOWN_GROUP', `there is no stream group ${JSON.stringify(name)}${hint}`)
}

export function listGroups(host: GroupHost, membership: Membership): GroupListReply {
  const groups = [...groupNames(host, membership)].sort().map((name) => {
    const group = membership.group(name)
    return { group: name, members: group?.members.size ?? 0, topics: topicIds(host, name, group).size }
  })
  return { groups }
}

/**
 * Describes members, every partition that the group subscribes to or has committed offsets of, and the reasons why
 * messages
 * do not move.
 * @param nowMs wall clock
 * @throws MillraceError UNKNOWN_GROUP
 */
export function describeGroup(
  host: GroupHost,
  membership: Membership,
  name: string,
  nowMs: number,
): GroupDescription {
  const group = membership.group(name)
  if (!membership.hasMembers(name) && !host.offsets.has(name)) throw unknownGroup(host, membership, name)
  const topics = [...topicIds(host, name, group)]
    .map((topicId) => host.topics.byId(topicId))
    .filter((topic) => topic !== undefined)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const description = {
    group: name,
    state: group?.state ?? 'empty',
    ...(host.isPaused(name) ? { paused: true } : {}),
    ...(group?.singleActive ? { singleActive: true } : {}),
    generation: group?.generation ?? 0,
    members: membersOf(group),
    partitions: topics.flatMap((topic) =>
      Array.from({ length: topic.partitions }, (_, partition) =>
        describePartition(host, name, group, topic, partition),
      ),
    ),
  }
  const isTopic = (topic: string): boolean => host.topics.byName(topic) !== undefined
  return { ...description, reasons: reasonsOf(description, group, isTopic, nowMs) }
}

function membersOf(group: Group | undefined): GroupDescription['members'] {
  return [...(group?.members.values() ?? [])].map((member) => ({
    memberId: member.memberId,
    instanceId: member.instanceId,
    clientName: member.clientName,
    address: member.address,
    topics: member.topics,
    sessionTimeoutMs: member.sessionTimeoutMs,
    connected: member.session !== undefined,
    partitions: member.slots.size,
  }))
}

function describePartition(
  host: GroupHost,
  name: string,
  group: Group | undefined,
  topic: GroupTopic,
  partition: number,
): GroupDescription['partitions'][number] {
  const { startOffset, endOffset } = host.ends(topic.topicId, partition) ?? { startOffset: 0, endOffset: 0 }
  const committed = host.offsets.get(name, topic.topicId, partition)
  const nextOffset = Math.max(committed?.offset ?? startOffset, startOffset)
  return {
    topic: topic.name,
    topicId: topic.topicId,
    partition,
    committedOffset: committed?.offset,
    committedAtMs: committed?.committedAtMs,
    metadata: committed?.metadata,
    startOffset,
    endOffset,
    lag: Math.max(0, endOffset - nextOffset),
    memberId: group?.slot(topic.topicId, partition)?.owner?.memberId,
  }
}

function topicIds(host: GroupHost, name: string, group: Group | undefined): Set<number> {
  const ids = new Set(host.offsets.topicIds(name))
  for (const member of group?.members.values() ?? []) for (const id of member.topicIds) ids.add(id)
  return ids
}
