/** A member as the assignment policy sees it. */
export interface AssignableMember {
  readonly memberId: string
  readonly topicIds: ReadonlySet<number>
}

/** A partition as the assignment policy sees it. */
export interface AssignablePartition {
  readonly topicId: number
  /** Index of its current member, or -1. */
  readonly holder: number
}

/** Members that subscribe to the same topics: any of them can take any partition of the class. */
interface MemberClass {
  readonly topicIds: ReadonlySet<number>
  /** Indices of members, ordered by memberId. */
  readonly members: number[]
  /** Indices of the partitions that its members share. */
  readonly partitions: number[]
}

/**
 * Assigns partitions: for each partition the index of a member, or -1 if none subscribes.
 *
 * - Members with equal topics get counts that differ by at most one; members with other topics are balanced with
 * them as far as their topics allow (topics with the fewest subscribers come first).
 * - Partitions keep their member unless that breaks the balance; among members with equal topics the number of moves
 * is minimal.
 * - The partitions that a member gives up and gets are spread over its topics, because traffic differs between topics.
 * - The result depends only on the arguments, and on memberIds instead of the order of `members`. The partitions must
 * be ordered by topic.
 *
 * The work is linear in members and partitions, except for a sort of the members and a search per topic and class.
 */
export function assign(
  members: readonly AssignableMember[],
  partitions: readonly AssignablePartition[],
): Int32Array {
  const classes = classesOf(members)
  const classOfMember = new Int32Array(members.length)
  for (const [index, { members: indices }] of classes.entries()) {
    for (const member of indices) classOfMember[member] = index
  }
  const classOfHolder = (partition: number): number => {
    const { holder } = partitions[partition] as AssignablePartition
    return holder < 0 ? -1 : (classOfMember[holder] as number)
  }
  for (const topic of topicsByScarcity(classes, partitions)) dealToClasses(topic, classes, classOfHolder)
  const targets = new Int32Array(partitions.length).fill(-1)
  for (const { members, partitions: shared } of classes) dealToMembers(members, shared, partitions, targets)
  return targets
}

interface Topic {
  readonly topicId: number
  readonly partitions: number[]
  /** Indices of the subscribed classes. */
  readonly classes: number[]
  subscribers: number
}

function classesOf(members: readonly AssignableMember[]): MemberClass[] {
  const classes = new Map<string, MemberClass>()
  const order = [...members.keys()].sort((a, b) => compareIds(members[a], members[b]))
  for (const index of order) {
    const { topicIds } = members[index] as AssignableMember
    const key = [...topicIds].sort((a, b) => a - b).join()
    const known = classes.get(key)
    if (known === undefined) classes.set(key, { topicIds, members: [index], partitions: [] })
    else known.members.push(index)
  }
  return [...classes.values()]
}

function compareIds(a: AssignableMember | undefined, b: AssignableMember | undefined): number {
  const [left, right] = [a?.memberId ?? '', b?.memberId ?? '']
  return left < right ? -1 : left > right ? 1 : 0
}

function topicsByScarcity(
  classes: readonly MemberClass[],
  partitions: readonly AssignablePartition[],
): Topic[] {
  const topics = new Map<number, Topic>()
  for (const [index, { topicId }] of partitions.entries()) {
    const topic = topics.get(topicId)
    if (topic === undefined)
      topics.set(topicId, { topicId, partitions: [index], classes: [], subscribers: 0 })
    else topic.partitions.push(index)
  }
  for (const [index, { topicIds, members }] of classes.entries()) {
    for (const topicId of topicIds) {
      const topic = topics.get(topicId)
      topic?.classes.push(index)
      if (topic !== undefined) topic.subscribers += members.length
    }
  }
  return [...topics.values()]
    .filter((topic) => topic.subscribers > 0)
    .sort((a, b) => a.subscribers - b.subscribers || a.topicId - b.topicId)
}

/** Assigns the partitions of one topic to classes; a partition stays in its class while the class has room. */
function dealToClasses(
  topic: Topic,
  classes: readonly MemberClass[],
  classOfHolder: (partition: number) => number,
): void {
  const only = topic.classes[0] as number
  if (topic.classes.length === 1) {
    classes[only]?.partitions.push(...topic.partitions)
    return
  }
  const held = new Map<number, number[]>(topic.classes.map((index) => [index, []]))
  const free: number[] = []
  for (const partition of topic.partitions) {
    const list = held.get(classOfHolder(partition)) ?? free
    list.push(partition)
  }
  const quotas = levelledQuotas(topic, classes, held)
  const kept = new Map<number, number[]>()
  for (const index of topic.classes) {
    const [keep, give] = splitEvenly(held.get(index) ?? [], quotas.get(index) ?? 0)
    kept.set(index, keep)
    free.push(...give)
  }
  free.sort((a, b) => a - b)
  let next = 0
  for (const index of topic.classes) {
    const keep = kept.get(index) ?? []
    const room = (quotas.get(index) ?? 0) - keep.length
    classes[index]?.partitions.push(...keep, ...free.slice(next, next + room))
    next += room
  }
}

/**
 * Decides how many partitions of a topic each class takes so that loads per member level out: every class fills up to
 * the highest whole level that the partitions reach, and the rest goes first to classes that hold it now.
 */
function levelledQuotas(
  topic: Topic,
  classes: readonly MemberClass[],
  held: ReadonlyMap<number, readonly number[]>,
): Map<number, number> {
  const total = topic.partitions.length
  const roomBelow = (index: number, level: number): number => {
    const { members, partitions } = classes[index] as MemberClass
    return Math.max(0, members.length * level - partitions.length)
  }
  const needed = (level: number): number =>
    topic.classes.reduce((sum, index) => sum + roomBelow(index, level), 0)
  let low = 0
  let high = 1
  while (needed(high) <= total) high *= 2
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (needed(middle) <= total) low = middle
    else high = middle
  }
  const quotas = new Map(topic.classes.map((index) => [index, roomBelow(index, low)]))
  let rest = total - needed(low)
  const take = (index: number, wanted: number): void => {
    const quota = quotas.get(index) ?? 0
    const extra = Math.max(0, Math.min(rest, wanted, roomBelow(index, low + 1) - quota))
    quotas.set(index, quota + extra)
    rest -= extra
  }
  for (const index of topic.classes) take(index, (held.get(index)?.length ?? 0) - (quotas.get(index) ?? 0))
  for (const index of topic.classes) take(index, rest)
  return quotas
}

/** Distributes the partitions of a class to its members, who all subscribe to them. */
function dealToMembers(
  members: readonly number[],
  shared: readonly number[],
  partitions: readonly AssignablePartition[],
  targets: Int32Array,
): void {
  const held = new Map<number, number[]>(members.map((member) => [member, []]))
  const free: number[] = []
  for (const partition of [...shared].sort((a, b) => a - b)) {
    const list = held.get((partitions[partition] as AssignablePartition).holder) ?? free
    list.push(partition)
  }
  const most = [...members].sort((a, b) => (held.get(b)?.length ?? 0) - (held.get(a)?.length ?? 0))
  const base = Math.floor(shared.length / members.length)
  const larger = shared.length % members.length
  const room: { readonly member: number; left: number }[] = []
  for (const [rank, member] of most.entries()) {
    const quota = rank < larger ? base + 1 : base
    const [keep, give] = splitEvenly(held.get(member) ?? [], quota)
    for (const partition of keep) targets[partition] = member
    free.push(...give)
    if (keep.length < quota) room.push({ member, left: quota - keep.length })
  }
  free.sort((a, b) => a - b)
  let turn = 0
  for (const partition of free) {
    if (turn >= room.length) turn = 0
    const taker = room[turn] as { readonly member: number; left: number }
    targets[partition] = taker.member
    taker.left -= 1
    if (taker.left === 0) room.splice(turn, 1)
    else turn += 1
  }
}

/** Keeps `count` items; the removed ones are spread evenly over the list, and so over its topics. */
function splitEvenly(items: number[], count: number): [keep: number[], give: number[]] {
  if (items.length <= count) return [items, []]
  const keep: number[] = []
  const give: number[] = []
  for (const [at, item] of items.entries()) {
    const due = Math.floor(((at + 1) * count) / items.length)
    if (keep.length < due) keep.push(item)
    else give.push(item)
  }
  return [keep, give]
}
