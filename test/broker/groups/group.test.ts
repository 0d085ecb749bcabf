import * as assert from 'uvu/assert'
import { Group } from '../../../broker/groups/group.js'
import type { Member } from '../../../broker/groups/member.js'
import type { OwnedEntry } from '../../../broker/groups/types.js'
import { suite } from '../../helpers/suite.js'
import { FakeSession, FakeTopics, withCode } from './fixtures.js'

const test = suite('broker/groups/group')
const timeoutMs = 10_000

function setUp(partitions = 4, membersMax = 3): { group: Group; topics: FakeTopics } {
  const topics = new FakeTopics()
  topics.create('orders', partitions)
  let ids = 0
  const uniqueId = (): number => ++ids
  const group = new Group('billing', { uniqueId, topics, membersMax, isPaused: () => false })
  return { group, topics }
}

function join(
  group: Group,
  memberId: string,
  options: { instanceId?: string; topics?: string[] } = {},
): Member {
  const { instanceId, topics = ['orders'] } = options
  const request = { group: group.name, memberId, instanceId, topics, sessionTimeoutMs: timeoutMs }
  return group.join(request, new FakeSession(), 0)
}

function owned(group: Group, member: Member): OwnedEntry[] {
  return group
    .assigned(member)
    .map((slot): OwnedEntry => [slot.topic.topicId, slot.partition, slot.epoch])
    .sort((a, b) => a[1] - b[1])
}

function beat(group: Group, member: Member, entries: readonly OwnedEntry[], nowMs = 0): boolean {
  return group.heartbeat(member.memberId, entries, member.session as FakeSession, nowMs)
}

test('assigns all partitions to a single member', () => {
  const { group } = setUp()
  const a = join(group, 'a')
  assert.is(group.state, 'rebalancing')
  group.rebalance(0)
  assert.is(group.state, 'stable')
  assert.equal(
    owned(group, a).map(([, partition]) => partition),
    [0, 1, 2, 3],
  )
  assert.is(beat(group, a, owned(group, a)), true)
})

test('moves a partition only after its owner released it, and does not move the others', () => {
  const { group } = setUp()
  const a = join(group, 'a')
  group.rebalance(0)
  const before = owned(group, a)
  const b = join(group, 'b')
  group.rebalance(0)
  const kept = owned(group, a)
  assert.is(kept.length, 2)
  assert.ok(kept.every((entry) => before.some((old) => old[1] === entry[1] && old[2] === entry[2])))
  assert.is(owned(group, b).length, 0)
  assert.is(group.state, 'rebalancing')

  assert.is(beat(group, a, before), false, 'it still lists what it has to give up')
  assert.is(owned(group, b).length, 0)
  const moving = before.find((entry) => !kept.some((other) => other[1] === entry[1])) as OwnedEntry
  assert.is(group.commitProblem(a, moving[0], moving[1], moving[2]), undefined, 'it may commit to the end')

  assert.is(beat(group, a, kept), true)
  assert.is(owned(group, b).length, 2)
  assert.is(group.state, 'stable')
  assert.match(
    group.commitProblem(a, moving[0], moving[1], moving[2]) as string,
    /member "a" does not own partition/,
  )
})

test('grants under new epochs', () => {
  const { group } = setUp(2)
  const a = join(group, 'a')
  group.rebalance(0)
  const all = owned(group, a)
  group.remove('a')
  const c = join(group, 'c')
  group.rebalance(0)
  assert.is(owned(group, c).length, 2)
  assert.ok(owned(group, c).every(([, partition, epoch]) => epoch !== all[partition]?.[2]))
})

test('assigns promised partitions as soon as their owner is removed', () => {
  const { group } = setUp()
  const a = join(group, 'a')
  group.rebalance(0)
  const b = join(group, 'b')
  group.rebalance(0)
  group.takeChanged()
  group.remove('a')
  assert.is(owned(group, b).length, 2)
  assert.equal(group.takeChanged(), new Set([a, b]))
  group.rebalance(0)
  assert.is(owned(group, b).length, 4)
})

test('reports a difference to a member that lists a wrong epoch or lacks a partition', () => {
  const { group } = setUp(2)
  const a = join(group, 'a')
  group.rebalance(0)
  const [first, second] = owned(group, a) as [OwnedEntry, OwnedEntry]
  assert.is(beat(group, a, [first]), false)
  assert.is(beat(group, a, [first, first]), false)
  assert.is(beat(group, a, [first, [second[0], second[1], second[2] + 100]]), false)
  assert.is(beat(group, a, [first, second, [second[0], 77, 1]]), false)
  assert.is(beat(group, a, [first, second]), true)
  assert.is(owned(group, a).length, 2, 'what it should own is not released by leaving it out')
})

test('refuses unknown members and commits under another epoch', () => {
  const { group } = setUp(1)
  const a = join(group, 'a')
  group.rebalance(0)
  const [[topicId, partition, epoch]] = owned(group, a) as [OwnedEntry]
  assert.is(group.commitProblem(a, topicId, partition, epoch), undefined)
  assert.match(group.commitProblem(a, topicId, partition, epoch + 1) as string, /has a newer epoch/)
  assert.match(group.commitProblem(a, topicId, 9, epoch) as string, /does not own partition 9/)
  assert.throws(() => group.heartbeat('x', [], new FakeSession(), 0), withCode('UNKNOWN_MEMBER'))
})

test('accepts a repeated join as the same member, with the same partitions and epochs', () => {
  const { group } = setUp()
  const a = join(group, 'a')
  group.rebalance(0)
  const before = owned(group, a)
  const { generation } = group
  assert.is(join(group, 'a'), a)
  assert.is(group.rebalanceNeeded, false)
  assert.is(group.generation, generation)
  assert.equal(owned(group, a), before)
})

test('keeps to the limit of members', () => {
  const { group } = setUp()
  for (const id of ['a', 'b', 'c']) join(group, id)
  assert.throws(() => join(group, 'd'), withCode('LIMIT_EXCEEDED'))
  assert.is(group.members.size, 3)
  join(group, 'c')
})

test('removes a dynamic member with its connection, unless it has moved to a newer one', () => {
  const { group } = setUp()
  const a = join(group, 'a')
  const first = a.session as FakeSession
  join(group, 'a')
  group.disconnect('a', first)
  assert.is(group.members.size, 1)
  group.heartbeat('a', [], first, 0)
  assert.is.not(a.session, first, 'a late heartbeat on the old connection does not take it back')
  group.disconnect('a', a.session as FakeSession)
  assert.is(group.members.size, 0)
  assert.is(group.state, 'empty')
})

test('keeps the partitions of a static member until its session times out', () => {
  const { group } = setUp()
  const a = join(group, 'a', { instanceId: 'one' })
  const b = join(group, 'b')
  group.rebalance(0)
  group.disconnect('a', a.session as FakeSession)
  assert.is(a.session, undefined)
  assert.is(group.rebalanceNeeded, false)
  beat(group, b, owned(group, b), timeoutMs)
  assert.equal(group.expire(timeoutMs), [])
  assert.equal(group.expire(timeoutMs + 1), ['a'])
  group.rebalance(0)
  assert.is(owned(group, b).length, 4)
})

test('lets a new member take over the partitions of its instance and fences the old one', () => {
  const { group } = setUp()
  const a = join(group, 'a', { instanceId: 'one' })
  const b = join(group, 'b')
  group.rebalance(0)
  const before = owned(group, a)
  const others = owned(group, b)
  const c = join(group, 'c', { instanceId: 'one' })
  const after = owned(group, c)
  assert.equal(
    after.map(([, partition]) => partition),
    before.map(([, partition]) => partition),
  )
  assert.ok(after.every(([, , epoch], at) => epoch !== before[at]?.[2]))
  assert.is(group.rebalanceNeeded, false, 'nothing moves between instances')
  assert.equal(owned(group, b), others)
  assert.throws(() => group.heartbeat('a', before, new FakeSession(), 0), withCode('FENCED'))
  assert.throws(() => join(group, 'a', { instanceId: 'one' }), withCode('FENCED'))
  assert.throws(() => group.member('a'), withCode('FENCED'))
})

test('takes a partition from a member that sends heartbeats but does not release it', () => {
  const { group } = setUp(2)
  const a = join(group, 'a')
  group.rebalance(0)
  const before = owned(group, a)
  const b = join(group, 'b')
  group.rebalance(1_000)
  beat(group, a, before, 1_000 + timeoutMs)
  beat(group, b, [], 1_000 + timeoutMs)
  assert.equal(group.expire(1_000 + timeoutMs), [])
  assert.is(owned(group, b).length, 0)
  assert.equal(group.expire(1_001 + timeoutMs), [])
  assert.is(owned(group, b).length, 1)
})

test('follows topics: more partitions, deleted, created again', () => {
  const { group, topics } = setUp(2)
  const a = join(group, 'a')
  group.rebalance(0)
  group.topicChanged(topics.grow(1, 3))
  group.rebalance(0)
  assert.is(owned(group, a).length, 3)

  topics.delete(1)
  group.topicChanged({ topicId: 1, name: 'orders' })
  assert.is(owned(group, a).length, 0)
  group.rebalance(0)
  assert.is(group.state, 'stable')

  group.topicChanged(topics.create('orders', 1))
  group.rebalance(0)
  assert.equal(
    owned(group, a).map(([topicId, partition]) => [topicId, partition]),
    [[2, 0]],
  )
  group.topicChanged(topics.create('other', 1))
  group.topicChanged({ topicId: 2, name: 'orders' })
  assert.is(group.rebalanceNeeded, false, 'nothing changed for its members')
})

test('asks a member to release a topic that it no longer subscribes to', () => {
  const { group, topics } = setUp(2)
  topics.create('other', 1)
  const a = join(group, 'a')
  group.rebalance(0)
  const before = owned(group, a)
  join(group, 'a', { topics: ['other'] })
  group.rebalance(0)
  const after = owned(group, a)
  assert.equal(
    after.map(([topicId]) => topicId),
    [2],
  )
  assert.is(beat(group, a, [...before, ...after]), false)
  assert.ok(group.slot(1, 0))
  assert.is(beat(group, a, after), true)
  group.rebalance(0)
  assert.is(group.slot(1, 0), undefined, 'nothing is kept of a topic without subscribers')
})

test('fences the owner during a seek and gives it a new epoch afterwards', () => {
  const { group } = setUp(1)
  const a = join(group, 'a')
  group.rebalance(0)
  const [[topicId, partition, epoch]] = owned(group, a) as [OwnedEntry]
  group.takeChanged()
  group.beginSeek(topicId, partition)
  group.beginSeek(topicId, partition)
  assert.match(group.commitProblem(a, topicId, partition, epoch) as string, /is moving the committed offset/)
  group.endSeek(topicId, partition)
  const [[, , second]] = owned(group, a) as [OwnedEntry]
  assert.match(group.commitProblem(a, topicId, partition, second) as string, /is moving the committed offset/)
  group.endSeek(topicId, partition)
  const [[, , third]] = owned(group, a) as [OwnedEntry]
  assert.ok(third > second && second > epoch)
  assert.is(group.commitProblem(a, topicId, partition, third), undefined)
  for (const former of [epoch, second])
    assert.match(group.commitProblem(a, topicId, partition, former) as string, /has a newer epoch/)
  assert.ok(group.takeChanged().has(a))
})

test('converges from any interleaving of joins, leaves and heartbeats to one owner each', () => {
  const { group } = setUp(60, 100)
  const told = new Map<Member, OwnedEntry[]>()
  for (let round = 0; round < 50; round++) {
    if (round % 3 === 2) group.remove(`m${round - 2}`)
    else told.set(join(group, `m${round}`), [])
    if (round % 2 === 0) group.rebalance(0)
    for (const member of group.members.values()) {
      if (round % 5 !== 0) beat(group, member, told.get(member) ?? [])
      told.set(member, owned(group, member))
      checkSingleOwners(group)
    }
  }
  group.rebalance(0)
  for (let pass = 0; pass < 2; pass++) {
    for (const member of group.members.values()) beat(group, member, owned(group, member))
  }
  assert.is(group.state, 'stable')
  const counts = [...group.members.values()].map((member) => owned(group, member).length)
  assert.is(
    counts.reduce((sum, count) => sum + count, 0),
    60,
  )
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 1)
})

function checkSingleOwners(group: Group): void {
  const epochs = new Set<number>()
  for (const slot of group.slots()) {
    if (slot.owner === undefined) continue
    assert.ok(slot.owner.slots.has(slot))
    assert.not(epochs.has(slot.epoch), 'epochs are unique')
    epochs.add(slot.epoch)
  }
}

test.run()
