import { durationText } from '../../protocol/index.js'
import type { Group } from './group.js'
import type { GroupDescription } from './types.js'

type Facts = Omit<GroupDescription, 'reasons'>

const reasonsMax = 20
/** A member without a commit for this long, while there are messages, is a reason. */
const quietMsMin = 30_000

/** Reasons why the messages of a stream group do not move, if any; the first ones only. */
export function reasonsOf(
  description: Facts,
  group: Group | undefined,
  isTopic: (name: string) => boolean,
  nowMs: number,
): string[] {
  const behind = description.partitions.filter(({ lag }) => lag > 0)
  const reasons = missingReasons(description, isTopic)
  if (behind.length === 0) return reasons
  if (description.paused) reasons.push('the group is paused')
  if (description.members.length === 0) reasons.push('no member is connected')
  else
    reasons.push(
      ...awayReasons(description),
      ...movingReasons(group),
      ...unreadReasons(description, behind),
      ...quietReasons(behind, nowMs),
    )
  return reasons.slice(0, reasonsMax)
}

/** Topics that members wait for since they were deleted. */
function missingReasons({ members }: Facts, isTopic: (name: string) => boolean): string[] {
  const names = new Set(members.flatMap(({ topics }) => topics))
  const missing = [...names].filter((name) => !isTopic(name)).slice(0, reasonsMax)
  return missing.map((name) => `members read topic "${name}", which was deleted`)
}

function awayReasons({ members }: Facts): string[] {
  return members
    .filter(({ connected, partitions }) => !connected && partitions > 0)
    .map(
      ({ memberId, instanceId, partitions, sessionTimeoutMs }) =>
        `member "${memberId}" (instance "${instanceId}") is disconnected; the group keeps its ${partitions} partitions for up to ${durationText(sessionTimeoutMs)}`,
    )
}

function movingReasons(group: Group | undefined): string[] {
  const reasons: string[] = []
  for (const { topic, partition, owner, target } of group?.slots() ?? [])
    if (owner !== undefined && owner !== target && reasons.length < reasonsMax)
      reasons.push(
        `partition ${partition} of topic "${topic.name}" waits until member "${owner.memberId}" releases it`,
      )
  return reasons
}

/** Topics with offsets of the group and without members. */
function unreadReasons({ members }: Facts, behind: Facts['partitions']): string[] {
  const read = new Set(members.flatMap(({ topics }) => topics))
  const unread = new Set(behind.map(({ topic }) => topic).filter((topic) => !read.has(topic)))
  return [...unread].map((topic) => `no member reads topic "${topic}"`)
}

function quietReasons(behind: Facts['partitions'], nowMs: number): string[] {
  const reasons: string[] = []
  for (const { topic, partition, lag, memberId, committedOffset, committedAtMs, startOffset } of behind) {
    if (memberId === undefined) continue
    const quietMs = committedAtMs === undefined ? Number.POSITIVE_INFINITY : nowMs - committedAtMs
    if (quietMs < quietMsMin) continue
    const last =
      committedAtMs === undefined
        ? 'has never committed'
        : `last committed ${Math.round(quietMs / 1000)} s ago`
    const offset = Math.max(committedOffset ?? startOffset, startOffset)
    reasons.push(
      `partition ${partition} of topic "${topic}" is ${lag} messages behind: member "${memberId}" ${last}, and offset ${offset} is not acknowledged`,
    )
  }
  return reasons
}
