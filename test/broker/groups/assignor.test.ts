import * as assert from 'uvu/assert'
import { type AssignableMember, assign } from '../../../broker/groups/assignor.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/groups/assignor')

interface Partition {
  topicId: number
  holder: number
}

function member(id: number, ...topicIds: number[]): AssignableMember {
  return { memberId: `member-${String(id).padStart(4, '0')}`, topicIds: new Set(topicIds) }
}

function partitionsOf(counts: Readonly<Record<number, number>>): Partition[] {
  return Object.entries(counts).flatMap(([topicId, count]) =>
    Array.from({ length: count }, () => ({ topicId: Number(topicId), holder: -1 })),
  )
}

function countsOf(members: readonly AssignableMember[], targets: Int32Array): number[] {
  const counts = members.map(() => 0)
  for (const target of targets) if (target >= 0) counts[target] = (counts[target] ?? 0) + 1
  return counts
}

function hold(partitions: readonly Partition[], targets: Int32Array): Partition[] {
  return partitions.map(({ topicId }, at) => ({ topicId, holder: targets[at] as number }))
}

function moves(partitions: readonly Partition[], targets: Int32Array): number {
  return partitions.filter(({ holder }, at) => holder >= 0 && targets[at] !== holder).length
}

test('assigns every partition of a new group to a member, spread over topics', () => {
  const members = [member(1, 1, 2), member(2, 1, 2), member(3, 1, 2)]
  const partitions = partitionsOf({ 1: 6, 2: 6 })
  const targets = assign(members, partitions)
  assert.equal(countsOf(members, targets), [4, 4, 4])
  assert.equal(countsOf(members, targets.slice(0, 6)), [2, 2, 2])
})

test('leaves partitions without subscribers and groups without members unassigned', () => {
  assert.equal([...assign([], partitionsOf({ 1: 2 }))], [-1, -1])
  assert.equal([...assign([member(1, 1)], partitionsOf({ 1: 1, 2: 1 }))], [0, -1])
  assert.equal([...assign([member(1)], partitionsOf({ 1: 1 }))], [-1])
})

test('moves nothing when nothing changed', () => {
  const members = [member(1, 1), member(2, 1), member(3, 1)]
  const partitions = partitionsOf({ 1: 8 })
  const held = hold(partitions, assign(members, partitions))
  assert.is(moves(held, assign(members, held)), 0)
})

test('moves only the share of a joining member and the partitions of a leaving one', () => {
  const three = [member(1, 1), member(2, 1), member(3, 1)]
  const four = [...three, member(4, 1)]
  const partitions = partitionsOf({ 1: 12 })
  const held = hold(partitions, assign(three, partitions))
  const joined = assign(four, held)
  assert.equal(countsOf(four, joined), [3, 3, 3, 3])
  assert.is(moves(held, joined), 3)

  const orphaned = hold(partitions, joined).map((p) => (p.holder === 3 ? { ...p, holder: -1 } : p))
  const left = assign(three, orphaned)
  assert.equal(countsOf(three, left), [4, 4, 4])
  assert.is(moves(orphaned, left), 0)
})

test('takes the share of a new member from all topics', () => {
  const two = [member(1, 1, 2), member(2, 1, 2)]
  const partitions = partitionsOf({ 1: 12, 2: 12 })
  const held = hold(partitions, assign(two, partitions))
  const three = [...two, member(3, 1, 2)]
  const targets = assign(three, held)
  assert.equal(countsOf(three, targets.slice(0, 12)), [4, 4, 4])
  assert.equal(countsOf(three, targets.slice(12)), [4, 4, 4])
})

test('levels members with other topics as far as their topics allow', () => {
  const members = [member(1, 1), member(2, 1, 2)]
  assert.equal(countsOf(members, assign(members, partitionsOf({ 1: 10, 2: 10 }))), [10, 10])
  assert.equal(countsOf(members, assign(members, partitionsOf({ 1: 10, 2: 2 }))), [6, 6])
  assert.equal(countsOf(members, assign(members, partitionsOf({ 1: 2, 2: 10 }))), [2, 10])
})

test('ignores an owner that no longer subscribes', () => {
  const members = [member(1, 2), member(2, 1)]
  assert.equal([...assign(members, [{ topicId: 1, holder: 0 }])], [1])
})

test('depends on member ids, not on their order', () => {
  const partitions = partitionsOf({ 1: 7, 2: 5 })
  const members = [member(3, 1, 2), member(1, 1, 2), member(2, 1)]
  const reversed = [...members].reverse()
  const named = (list: readonly AssignableMember[]): (string | undefined)[] =>
    [...assign(list, partitions)].map((at) => list[at]?.memberId)
  assert.equal(named(members), named(reversed))
})

for (const seed of [20_260_101, undefined]) {
  test(`stays valid, balanced and sticky through random changes, seed ${seed ?? 'fresh'}`, ({ random }) => {
    const next = random(seed)
    const pick = (max: number): number => next.int(0, max - 1)
    for (let round = 0; round < 150; round++) {
      const topics = 1 + pick(4)
      const partitions = partitionsOf(
        Object.fromEntries(Array.from({ length: topics }, (_, i) => [i + 1, 1 + pick(30)])),
      )
      const equal = pick(2) === 0
      const subscribe = (): number[] => {
        const all = Array.from({ length: topics }, (_, i) => i + 1)
        return equal ? all : all.filter(() => pick(3) > 0)
      }
      const members = Array.from({ length: 1 + pick(12) }, (_, i) => member(i, ...subscribe()))
      for (const partition of partitions) partition.holder = pick(members.length + 1) - 1
      const targets = assign(members, partitions)
      checkValid(members, partitions, targets)
      checkBalanced(members, targets)
      if (equal) checkMinimal(members, partitions, targets)
      assert.is(moves(hold(partitions, targets), assign(members, hold(partitions, targets))), 0)
    }
  })
}

function checkValid(
  members: readonly AssignableMember[],
  partitions: readonly Partition[],
  targets: Int32Array,
): void {
  for (const [at, { topicId }] of partitions.entries()) {
    const subscribers = members.filter((one) => one.topicIds.has(topicId))
    const target = targets[at] as number
    if (subscribers.length === 0) assert.is(target, -1)
    else assert.ok(members[target]?.topicIds.has(topicId), 'the target subscribes to the topic')
  }
}

function checkBalanced(members: readonly AssignableMember[], targets: Int32Array): void {
  const counts = countsOf(members, targets)
  const byTopics = new Map<string, number[]>()
  for (const [at, { topicIds }] of members.entries()) {
    const key = [...topicIds].join()
    byTopics.set(key, [...(byTopics.get(key) ?? []), counts[at] as number])
  }
  for (const equals of byTopics.values()) assert.ok(Math.max(...equals) - Math.min(...equals) <= 1)
}

/** With equal topics, the least number of moves is the number of partitions that members hold above their share. */
function checkMinimal(
  members: readonly AssignableMember[],
  partitions: readonly Partition[],
  targets: Int32Array,
): void {
  const held = members.map((_, at) => partitions.filter(({ holder }) => holder === at).length)
  const base = Math.floor(partitions.length / members.length)
  const larger = partitions.length % members.length
  const above = held
    .sort((a, b) => b - a)
    .reduce((sum, count, rank) => sum + Math.max(0, count - (rank < larger ? base + 1 : base)), 0)
  assert.is(moves(partitions, targets), above)
}

test('assigns 10,000 partitions to 100 members in less than 50 ms', () => {
  const topicIds = Array.from({ length: 10 }, (_, i) => i + 1)
  const partitions = partitionsOf(Object.fromEntries(topicIds.map((id) => [id, 1_000])))
  const members = Array.from({ length: 100 }, (_, i) =>
    member(i, ...(i % 4 === 0 ? topicIds.slice(5) : topicIds)),
  )
  const held = hold(partitions, assign(members, partitions))
  const joined = [...members, member(100, ...topicIds)]
  let bestMs = Number.POSITIVE_INFINITY
  for (let run = 0; run < 5; run++) {
    const startMs = performance.now()
    assign(joined, held)
    bestMs = Math.min(bestMs, performance.now() - startMs)
  }
  assert.ok(bestMs < 50, `took ${bestMs.toFixed(1)} ms`)
})

test.run()
