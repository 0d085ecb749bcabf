import * as assert from 'uvu/assert'
import { type GroupSettings, Groups, groupSettingsDefault } from '../../../broker/groups/index.js'
import type { Assignment, OwnedEntry } from '../../../broker/groups/types.js'
import { errorTable } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { codeOf, FakeHost, FakeSession } from './fixtures.js'

const test = suite('broker/groups/groups')

type Defer = (cleanup: () => void) => void

function setUp(
  defer: Defer,
  partitions = 4,
  settings: Partial<GroupSettings> = {},
): { host: FakeHost; groups: Groups } {
  const host = new FakeHost()
  host.topics.create('orders', partitions)
  const groups = new Groups({ host, settings: { ...groupSettingsDefault, ...settings } })
  defer(() => groups.drain())
  return { host, groups }
}

/** A member that keeps its last assignment. */
class FakeMember {
  owned: readonly OwnedEntry[] = []
  readonly session = new FakeSession()
  readonly #groups: Groups
  readonly memberId: string

  constructor(groups: Groups, memberId: string) {
    this.#groups = groups
    this.memberId = memberId
  }

  async join(options: { instanceId?: string; sessionTimeoutMs?: number } = {}): Promise<this> {
    const { instanceId, sessionTimeoutMs = 10_000 } = options
    const request = {
      group: 'billing',
      memberId: this.memberId,
      instanceId,
      topics: ['orders'],
      sessionTimeoutMs,
    }
    this.adopt(await this.#groups.join(request, this.session))
    return this
  }

  heartbeat(waitMs = 5_000, owned = this.owned): Promise<Assignment> {
    return this.#groups.heartbeat({ group: 'billing', memberId: this.memberId, waitMs, owned }, this.session)
  }

  adopt({ partitions }: Assignment): void {
    this.owned = partitions.map(({ topicId, partition, epoch }): OwnedEntry => [topicId, partition, epoch])
  }

  /** Follows assignments until the group is stable. */
  async settle(): Promise<void> {
    while (this.#groups.describe('billing').state !== 'stable') this.adopt(await this.heartbeat(20))
  }

  commit(offset: number, metadata?: string): ReturnType<Groups['commit']> {
    const offsets = this.owned.map(
      ([topicId, partition, epoch]) => [topicId, partition, epoch, offset, metadata] as const,
    )
    return this.#groups.commit({ group: 'billing', memberId: this.memberId, offsets })
  }
}

test('a commit has the time of the clock of the groups', async ({ defer }) => {
  const host = new FakeHost()
  host.topics.create('orders', 1)
  const groups = new Groups({ host, settings: groupSettingsDefault, nowMs: () => 1_234 })
  defer(() => groups.drain())
  const topicId = host.topics.byName('orders')?.topicId as number
  await groups.commit({ group: 'billing', offsets: [[topicId, 0, 0, 0, undefined]] })
  assert.is(host.offsets.lastCommitMs('billing'), 1_234)
})

test('the number of paused groups has a limit, also when many are paused at the same time', async ({
  defer,
}) => {
  const { groups } = setUp(defer, 1, { groupsMax: 3 })
  const paused = await Promise.all(
    ['a', 'b', 'c', 'd', 'e'].map((group) => codeOf(groups.setPaused(group, true))),
  )
  assert.equal(paused, [undefined, undefined, undefined, 'LIMIT_EXCEEDED', 'LIMIT_EXCEEDED'])
  await groups.setPaused('a', true)
  await groups.setPaused('b', false)
  await groups.setPaused('d', true)
})

test('starts a lone member within 100 ms', async ({ defer }) => {
  const tookMs: number[] = []
  for (let run = 0; run < 3; run++) {
    const { groups } = setUp(defer)
    const startMs = performance.now()
    const a = await new FakeMember(groups, 'a').join()
    tookMs.push(performance.now() - startMs)
    assert.is(a.owned.length, 4)
  }
  assert.ok(Math.min(...tookMs) < 100, `took ${tookMs} ms`)
})

test('members that join together get their share at once', async ({ defer }) => {
  const { groups } = setUp(defer)
  const members = await Promise.all(['a', 'b'].map((id) => new FakeMember(groups, id).join()))
  assert.equal(
    members.map(({ owned }) => owned.length),
    [2, 2],
  )
  assert.is(groups.describe('billing').generation, 4)
})

test('answers a waiting heartbeat when a partition must be released, and another when it is assigned', async ({
  defer,
}) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  const asked = a.heartbeat()
  const b = await new FakeMember(groups, 'b').join()
  assert.is(b.owned.length, 0)
  const waiting = b.heartbeat()
  a.adopt(await asked)
  assert.is(a.owned.length, 2)
  void a.heartbeat()
  b.adopt(await waiting)
  assert.is(b.owned.length, 2)
  assert.is(groups.describe('billing').state, 'stable')
})

test('answers a heartbeat without news after its wait, and an older one at once', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  assert.is((await a.heartbeat(10)).partitions.length, 4)
  const startMs = performance.now()
  const older = a.heartbeat(60_000)
  const newer = a.heartbeat(60_000)
  await older
  assert.ok(performance.now() - startMs < 1_000)
  groups.leave('billing', 'a')
  assert.is(await codeOf(newer), 'UNKNOWN_MEMBER')
})

test('does not answer at once again while a member takes time to release a partition', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  const asked = a.heartbeat()
  await new FakeMember(groups, 'b').join()
  await asked
  let beats = 0
  const endMs = performance.now() + 250
  while (performance.now() < endMs) {
    await a.heartbeat()
    beats += 1
  }
  assert.ok(beats <= 4, `${beats} heartbeats in 250 ms`)
})

test('replaces a dynamic member as soon as its connection ends', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = new FakeMember(groups, 'a')
  const b = new FakeMember(groups, 'b')
  await Promise.all([a.join(), b.join()])
  const waiting = b.heartbeat()
  a.session.close()
  b.adopt(await waiting)
  assert.is(b.owned.length, 4)
  assert.is(await codeOf(a.heartbeat()), 'UNKNOWN_MEMBER')
})

test('removes a member whose session timed out, and reports it', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join({ sessionTimeoutMs: 1_000 })
  const startMs = performance.now()
  const b = await new FakeMember(groups, 'b').join()
  while (b.owned.length < 4) b.adopt(await b.heartbeat())
  const tookMs = performance.now() - startMs
  assert.ok(tookMs >= 900 && tookMs < 2_000, `took ${tookMs} ms`)
  assert.is(await codeOf(a.commit(1)), 'UNKNOWN_MEMBER')
})

test('removes no member because the process itself was suspended', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join({ sessionTimeoutMs: 1_000 })
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)
  await new Promise((resolve) => setTimeout(resolve, 50))
  a.adopt(await a.heartbeat(10))
  assert.is(a.owned.length, 4)
})

test('answers the waiting heartbeat of a member that leaves or is replaced', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join({ instanceId: 'one' })
  const waiting = codeOf(a.heartbeat())
  const b = await new FakeMember(groups, 'b').join({ instanceId: 'one' })
  assert.is(await waiting, 'FENCED')
  const leaving = codeOf(b.heartbeat())
  groups.leave('billing', 'b')
  assert.is(await leaving, 'UNKNOWN_MEMBER')
  groups.leave('billing', 'b')
  groups.leave('nobody', 'b')
})

test('refuses joins with invalid fields', async ({ defer }) => {
  const { groups } = setUp(defer, 4, { groupsMax: 1, groupMembersMax: 1 })
  const session = new FakeSession()
  const good = { group: 'billing', memberId: 'a', topics: ['orders'], sessionTimeoutMs: 10_000 }
  assert.is(await codeOf(groups.join({ ...good, group: 'bad name' }, session)), 'BAD_NAME')
  assert.is(await codeOf(groups.join({ ...good, memberId: '' }, session)), 'BAD_REQUEST')
  assert.is(await codeOf(groups.join({ ...good, topics: [] }, session)), 'BAD_REQUEST')
  assert.is(await codeOf(groups.join({ ...good, sessionTimeoutMs: 1 }, session)), 'BAD_REQUEST')
  assert.is(await codeOf(groups.join({ ...good, topics: ['order'] }, session)), 'UNKNOWN_TOPIC')
  assert.is(groups.count, 0)
  await groups.join(good, session)
  assert.is(await codeOf(groups.join({ ...good, memberId: 'b' }, session)), 'LIMIT_EXCEEDED')
  assert.is(await codeOf(groups.join({ ...good, group: 'mail' }, session)), 'LIMIT_EXCEEDED')
  groups.drain()
  assert.is(await codeOf(groups.join(good, session)), 'DRAINING')
})

test('commits of the owner count, others are refused one by one', async ({ defer }) => {
  const { host, groups } = setUp(defer, 2)
  const a = await new FakeMember(groups, 'a').join()
  const [[topicId, , epoch]] = a.owned as [OwnedEntry]
  const offsets = [
    [topicId, 0, epoch, 7, 'note'],
    [topicId, 1, 99, 7, undefined],
    [topicId, 2, epoch, 7, undefined],
    [topicId + 1, 0, epoch, 7, undefined],
    [topicId, 0, epoch, 101, undefined],
  ] as const
  const { results } = await groups.commit({ group: 'billing', memberId: 'a', offsets })
  const codes = (['FENCED', 'UNKNOWN_PARTITION', 'UNKNOWN_TOPIC', 'OFFSET_OUT_OF_RANGE'] as const).map(
    (code) => errorTable[code].number,
  )
  assert.equal(
    results.map(({ error }) => error),
    [0, ...codes],
  )
  assert.is(host.offsets.get('billing', topicId, 0)?.metadata, 'note')
  assert.is(host.writes, 1)
})

test('does not write an offset that is already committed', async ({ defer }) => {
  const { host, groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  await a.commit(5)
  await a.commit(5)
  assert.is(host.writes, 1)
  await Promise.all([a.commit(6), a.commit(5), a.commit(6)])
  assert.is(host.writes, 4, 'while commits are under way the last one has to win')
  assert.is(host.offsets.get('billing', 1, 0)?.offset, 6)
})

test('new owners start after commits that are under way', async ({ defer }) => {
  const { host, groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  let write = (): void => {}
  host.beforeWrite = () =>
    new Promise((resolve) => {
      write = resolve
    })
  const committed = a.commit(42)
  const joining = groups.join(
    { group: 'billing', memberId: 'b', topics: ['orders'], sessionTimeoutMs: 10_000 },
    new FakeSession(),
  )
  a.session.close()
  await new Promise((resolve) => setTimeout(resolve, 60))
  write()
  await committed
  const { partitions } = await joining
  assert.equal(
    partitions.map(({ committedOffset }) => committedOffset),
    [42, 42, 42, 42],
  )
})

test('a seek restarts owners under a new epoch and fences commits during it', async ({ defer }) => {
  const { host, groups } = setUp(defer, 2)
  const a = await new FakeMember(groups, 'a').join()
  await a.commit(50)
  const waiting = a.heartbeat()
  let write = (): void => {}
  host.beforeWrite = () =>
    new Promise((resolve) => {
      write = resolve
    })
  const seeking = groups.seek({
    group: 'billing',
    topic: 'orders',
    partitions: [1],
    kind: 'offset',
    value: 10,
  })
  while (host.writes < 2) await Promise.resolve()
  host.beforeWrite = () => Promise.resolve()
  const { results } = await a.commit(60)
  assert.equal(
    results.map(({ error }) => error),
    [0, errorTable.FENCED.number],
  )
  write()
  assert.equal(await seeking, { partitions: [{ partition: 1, offset: 10 }] })
  const { partitions } = await waiting
  const moved = partitions.find(({ partition }) => partition === 1)
  assert.is(moved?.committedOffset, 10)
  assert.is.not(moved?.epoch, a.owned.find(([, partition]) => partition === 1)?.[2])
})

test('seeks to the ends, a time or an offset, and refuses the rest', async ({ defer }) => {
  const { host, groups } = setUp(defer, 2)
  host.startOffset = 20
  const to = (kind: 'earliest' | 'latest' | 'time' | 'offset', value?: number) =>
    groups.seek({ group: 'billing', topic: 'orders', partitions: [0], kind, value, create: true })
  assert.is((await to('earliest')).partitions[0]?.offset, 20)
  assert.is((await to('latest')).partitions[0]?.offset, 100)
  assert.is((await to('time', 33)).partitions[0]?.offset, 33)
  assert.is((await to('offset', 100)).partitions[0]?.offset, 100)
  assert.is(await codeOf(to('offset', 19)), 'OFFSET_OUT_OF_RANGE')
  assert.is(await codeOf(to('offset', 101)), 'OFFSET_OUT_OF_RANGE')
  assert.is(await codeOf(to('offset')), 'BAD_REQUEST')
  const request = { group: 'billing', topic: 'orders', kind: 'latest' } as const
  assert.is((await groups.seek(request)).partitions.length, 2)
  assert.is(await codeOf(groups.seek({ ...request, partitions: [2] })), 'UNKNOWN_PARTITION')
  assert.is(await codeOf(groups.seek({ ...request, topic: 'nope' })), 'UNKNOWN_TOPIC')
  assert.is(await codeOf(groups.seek({ ...request, group: '' })), 'BAD_NAME')
})

test('a seek creates a group only with `create`', async ({ defer }) => {
  const { host, groups } = setUp(defer, 1)
  const seek = { group: 'biling', topic: 'orders', kind: 'earliest' } as const
  await groups.seek({ ...seek, group: 'billing', create: true })
  const error = await groups.seek(seek).catch((reason: Error) => reason)
  assert.is((error as Error).message, 'there is no stream group "biling"; did you mean "billing"?')
  assert.equal(groups.list().groups, [{ group: 'billing', members: 0, topics: 1 }])
  assert.is((await groups.seek({ ...seek, group: 'billing' })).partitions.length, 1)
  const member = await new FakeMember(groups, 'a').join()
  assert.ok(member.owned.length > 0)
  await groups.setPaused('early', true)
  assert.is((await groups.seek({ ...seek, group: 'early' })).partitions.length, 1, 'a paused group exists')
  assert.is(host.offsets.has('biling'), false)
})

test('the name of a queue group is refused with a hint to its commands, and pauses nothing', async ({
  defer,
}) => {
  const { host, groups } = setUp(defer, 1)
  host.queueGroups.add('mailer')
  const expected =
    'there is no stream group "mailer"; a queue group has this name: use "millrace queue" or client.queues'
  const messageOf = async (call: () => unknown): Promise<string> => {
    try {
      await call()
    } catch (error) {
      return (error as Error).message
    }
    return 'nothing'
  }
  assert.is(await messageOf(() => groups.describe('mailer')), expected)
  assert.is(await messageOf(() => groups.delete('mailer')), expected)
  assert.is(await messageOf(() => groups.setPaused('mailer', true)), expected)
  assert.is(await messageOf(() => groups.setPaused('mailer', false)), expected)
  const seek = { group: 'mailer', topic: 'orders', kind: 'earliest' } as const
  assert.is(await messageOf(() => groups.seek(seek)), expected)
  assert.is(host.paused.size, 0)
  await groups.seek({ ...seek, create: true })
  await groups.setPaused('mailer', true)
  assert.is(groups.describe('mailer').paused, true, 'a stream group may have the same name')
})

test('a failed write fails the commit, and the group still works', async ({ defer }) => {
  const { host, groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  host.beforeWrite = () => Promise.reject(new Error('disk'))
  await a.commit(5).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'disk'),
  )
  host.beforeWrite = () => Promise.resolve()
  await a.commit(5)
  assert.is(host.offsets.get('billing', 1, 0)?.offset, 5)
  assert.is((await a.heartbeat(5)).partitions[0]?.committedOffset, 5)
})

test('commits without a member only while the group has none', async ({ defer }) => {
  const { host, groups } = setUp(defer, 4, { groupsMax: 1 })
  const offsets = [[1, 0, 0, 9, undefined]] as const
  await groups.commit({ group: 'billing', offsets })
  assert.is(host.offsets.get('billing', 1, 0)?.offset, 9)
  assert.is(await codeOf(groups.commit({ group: 'mail', offsets })), 'LIMIT_EXCEEDED')
  await new FakeMember(groups, 'a').join()
  assert.is(await codeOf(groups.commit({ group: 'billing', offsets })), 'GROUP_ACTIVE')
})

test('stays within the memory for committed offsets', async ({ defer }) => {
  const { groups } = setUp(defer, 4, { groupOffsetsBytesMax: 40 })
  const commit = async (partition: number, metadata?: string): Promise<number | undefined> => {
    const reply = await groups.commit({ group: 'billing', offsets: [[1, partition, 0, 1, metadata]] })
    return reply.results[0]?.error
  }
  assert.is(await commit(0), 0)
  assert.is(await commit(1, 'some metadata'), 0)
  assert.is(await commit(2), errorTable.LIMIT_EXCEEDED.number)
  assert.is(await commit(0, 'more'), errorTable.LIMIT_EXCEEDED.number)
  assert.is(await commit(1, 'less'), 0)
})

test('describes members, owners and lag, and lists groups', async ({ defer }) => {
  const { host, groups } = setUp(defer, 2)
  const a = await new FakeMember(groups, 'a').join({ instanceId: 'one' })
  await groups.commit({
    group: 'billing',
    memberId: 'a',
    offsets: [[1, 0, a.owned[0]?.[2] ?? 0, 60, 'note']],
  })
  host.startOffset = 30
  const { members, partitions, ...rest } = groups.describe('billing')
  const quiet =
    'partition 1 of topic "orders" is 70 messages behind: member "a" has never committed, and offset 30 is not acknowledged'
  assert.equal(rest, { group: 'billing', state: 'stable', generation: 2, reasons: [quiet] })
  assert.is(members[0]?.instanceId, 'one')
  assert.is(members[0]?.connected, true)
  assert.equal(
    partitions.map(({ lag, memberId, metadata, committedOffset }) => [
      lag,
      memberId,
      metadata,
      committedOffset,
    ]),
    [
      [40, 'a', 'note', 60],
      [70, 'a', undefined, undefined],
    ],
  )
  host.startOffset = 80
  assert.is(groups.describe('billing').partitions[0]?.lag, 20, 'what retention dropped is no lag')
  assert.equal(groups.list(), { groups: [{ group: 'billing', members: 1, topics: 1 }] })
  a.session.close()
  assert.is(groups.describe('billing').members[0]?.connected, false)
})

test('deletes groups without members', async ({ defer }) => {
  const { groups } = setUp(defer)
  const a = await new FakeMember(groups, 'a').join()
  await a.commit(1)
  assert.is(await codeOf(groups.delete('billing')), 'GROUP_ACTIVE')
  assert.throws(
    () => groups.describe('biling'),
    /there is no stream group "biling"; did you mean "billing"\?/,
  )
  groups.leave('billing', 'a')
  assert.is(groups.describe('billing').state, 'empty')
  await groups.delete('billing')
  assert.is(await codeOf(groups.delete('billing')), 'UNKNOWN_GROUP')
  assert.is(await codeOf(Promise.resolve().then(() => groups.describe('billing'))), 'UNKNOWN_GROUP')
  assert.is(groups.count, 0)
})

test('removes offsets of groups without members after their retention, and keeps those of groups with members', async ({
  defer,
}) => {
  const retentionMs = 60_000
  const { groups } = setUp(defer, 4, { groupOffsetsRetentionMs: retentionMs })
  const a = await new FakeMember(groups, 'a').join()
  await a.commit(1)
  await groups.commit({ group: 'mail', offsets: [[1, 0, 0, 1, undefined]] })
  const nowMs = Date.now()
  await groups.expireOffsets(nowMs + retentionMs - 1_000)
  assert.is(groups.count, 2)
  await groups.expireOffsets(nowMs + retentionMs + 1_000)
  assert.equal(
    groups.list().groups.map(({ group }) => group),
    ['billing'],
  )
  groups.leave('billing', 'a')
  await groups.expireOffsets(nowMs + 2 * retentionMs)
  assert.is(groups.count, 1, 'time without members counts from when it was last seen with members')
  await groups.expireOffsets(nowMs + 2 * retentionMs + 2_000)
  assert.is(groups.count, 0)
})

test('assigns added partitions and takes away partitions of a deleted topic', async ({ defer }) => {
  const { host, groups } = setUp(defer, 2)
  const a = await new FakeMember(groups, 'a').join()
  const growing = a.heartbeat()
  groups.topicChanged(host.topics.grow(1, 3))
  a.adopt(await growing)
  assert.is(a.owned.length, 3)
  const deleting = a.heartbeat()
  host.topics.delete(1)
  groups.topicChanged({ topicId: 1, name: 'orders' })
  a.adopt(await deleting)
  assert.is(a.owned.length, 0)
})

test('is balanced within 2 s after 50 joins and leaves', async ({ defer }) => {
  const { groups } = setUp(defer, 64)
  const stopping = new AbortController()
  const joins: Promise<FakeMember>[] = []
  const runs: Promise<void>[] = []
  for (let i = 0; i < 50; i++) {
    const member = new FakeMember(groups, `m${i}`)
    const joined = member.join()
    joins.push(joined)
    runs.push(joined.then(() => run(member, stopping.signal), ignore))
    if (i % 2 === 1) setTimeout(() => member.session.close(), i * 4)
  }
  await Promise.allSettled(joins)
  await waitFor('half of the members', () => groups.describe('billing').members.length === 25)
  const startMs = performance.now()
  await waitFor('a stable group', () => groups.describe('billing').state === 'stable')
  const tookMs = performance.now() - startMs
  stopping.abort()
  await Promise.all(runs)
  assert.ok(tookMs < 2_000, `took ${tookMs} ms`)
})

async function run(member: FakeMember, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    try {
      member.adopt(await member.heartbeat(50))
    } catch {
      return
    }
  }
}

function ignore(): void {}

test.run()
