import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../../bench/lib/worker.js'
import { type Client, connect, defineTopic, string } from '../../../client/index.js'
import { commands, isMillraceError } from '../../../protocol/index.js'
import { RunningTest } from '../../helpers/context.js'
import { Random } from '../../helpers/random.js'
import { connectHello } from '../../helpers/raw_client.js'
import { FaultyProxy } from '../machine/faulty_proxy.js'
import { serveCalls } from './calls.js'
import { Ownership } from './ownership.js'

/** The calls to the process of the members that come and go. */
export type ChurnCalls = {
  /** Joins the first members. */
  start(plan: ChurnPlan): Promise<void>
  /** This many joins and leaves, evenly over the time. */
  burst(what: { readonly events: number; readonly ms: number }): Promise<Readonly<Record<string, number>>>
  /** Live members, and the number of believed owners of each partition. */
  state(): { readonly members: number; readonly owners: readonly number[] }
  /** Joins under its own name, stops responding, and commits after its eviction; returns the accepted commits. */
  zombie(): Promise<readonly string[]>
  /** Lateness of messages in unmoved partitions since the last call. */
  unmoved(): readonly number[]
  /** Every delivered value, with the number of its deliveries; and the errors. */
  result(): ChurnResult
  stop(): Promise<void>
}

export interface ChurnPlan {
  readonly host: string
  readonly port: number
  readonly topic: string
  readonly group: string
  readonly partitions: number
  readonly seed: number
  readonly membersMin: number
  readonly membersMax: number
}

export interface ChurnResult {
  readonly values: ReadonlyMap<string, number>
  readonly problems: readonly string[]
}

interface Member {
  readonly name: string
  readonly client: Client
  readonly close: () => Promise<void>
  /** Name prefix of members that will stop responding. */
  readonly proxy: FaultyProxy | undefined
}

/** Session timeout of members that stop responding; the others have a long one, so that none is evicted by mistake. */
const silentTimeoutMs = 1_000
const sessionTimeoutMs = 10_000
const silentShare = 0.2
const goneMs = 10_000
const context = new RunningTest()
const live = new Map<string, Member>()
const leaving = new Set<Promise<void>>()
const counts: Record<string, number> = {}
const problems: string[] = []
let ownership = new Ownership(0)
let random = new Random(0)
let plan: ChurnPlan | undefined
let lastMember = 0

const calls: ChurnCalls = {
  async start(given) {
    plan = given
    random = new Random(given.seed)
    ownership = new Ownership(given.partitions)
    await Promise.all(Array.from({ length: given.membersMin * 2 }, () => join(given)))
  },

  async burst({ events, ms }) {
    const given = planOf()
    const joins: Promise<void>[] = []
    const startMs = monotonicMs()
    for (let i = 0; i < events; i++) {
      const count = live.size
      const isJoin = count <= given.membersMin || (count < given.membersMax && random.chance(0.5))
      if (isJoin) joins.push(join(given))
      else leave(random.pick([...live.values()]))
      await sleep(Math.max(0, startMs + ((i + 1) * ms) / events - monotonicMs()))
    }
    await Promise.all(joins)
    return { ...counts }
  },

  state: () => ({ members: live.size, owners: ownership.owners(monotonicMs()) }),
  zombie: () => zombie(planOf()),
  unmoved: () => ownership.unmovedMs.splice(0),
  result: () => ({ values: ownership.values, problems: [...ownership.problems, ...problems] }),

  async stop() {
    for (const member of [...live.values()]) leave(member)
    await Promise.all(leaving)
    await context.cleanUp()
  },
}

async function join(given: ChurnPlan): Promise<void> {
  const name = `m${++lastMember}`
  count('joins')
  const isFrail = random.chance(silentShare)
  const proxy = isFrail ? await FaultyProxy.start(context, () => given.port) : undefined
  const client = await connect(`${given.host}:${proxy?.port ?? given.port}`)
  const consumer = client.consume(defineTopic(given.topic, { value: string }), {
    group: given.group,
    from: 'earliest',
    sessionTimeoutMs: isFrail ? silentTimeoutMs : sessionTimeoutMs,
    onAssigned: (partitions) => {
      if (live.has(name))
        ownership.assigned(
          name,
          partitions.map(({ partition }) => partition),
          monotonicMs(),
        )
    },
    onRevoked: (partitions) =>
      ownership.revoked(
        name,
        partitions.map(({ partition }) => partition),
        monotonicMs(),
      ),
  })
  live.set(name, { name, client, proxy, close: () => consumer.close() })
  void (async () => {
    for await (const message of consumer) {
      if (!live.has(name)) continue
      const [value = '', sentMs] = message.value.split('@')
      ownership.delivered(name, message.partition, value, Number(sentMs), monotonicMs())
      message.ack()
    }
  })().catch((error: unknown) => {
    if (live.has(name)) problems.push(`member ${name} ended: ${String(error)}`)
  })
  await consumer.start().catch((error: unknown) => {
    // It was told to leave before it had joined.
    if (live.has(name)) throw error
  })
}

/** Members marked for it stop responding; of the others some lose their connection and some leave properly. */
function leave(member: Member): void {
  live.delete(member.name)
  ownership.ended(member.name, monotonicMs())
  let left: Promise<void>
  if (member.proxy !== undefined) {
    count('members silent')
    member.proxy.freeze()
    left = sleep(silentTimeoutMs * 3).then(() => end(member))
  } else if (random.chance(0.4)) {
    count('connections killed')
    left = member.client.close({ timeoutMs: 0 })
  } else {
    count('goodbyes')
    left = member.close().then(() => member.client.close())
  }
  const settled = left.catch(() => {})
  leaving.add(settled)
  void settled.then(() => leaving.delete(settled))
}

async function end({ client, proxy }: Member): Promise<void> {
  proxy?.cut()
  proxy?.refuse()
  await client.close({ timeoutMs: 0 })
  await proxy?.close()
}

async function zombie({ host, port, topic, group }: ChurnPlan): Promise<readonly string[]> {
  const client = await connectHello({ host, port })
  const memberId = `zombie-${++lastMember}`
  const request = { group, memberId, topics: [topic], sessionTimeoutMs: silentTimeoutMs }
  const { body } = await client.request(commands.groupJoin, request)
  const isMember = async (): Promise<boolean> => {
    const { members } = (await client.request(commands.groupDescribe, { group })).body
    return members.some((one) => one.memberId === memberId)
  }
  for (const untilMs = monotonicMs() + goneMs; (await isMember()) && monotonicMs() < untilMs; )
    await sleep(50)
  count('zombies')
  const accepted: string[] = []
  for (const { topicId, partition, epoch, committedOffset = 0 } of body.partitions) {
    const offsets = [[topicId, partition, epoch, committedOffset, undefined] as const]
    try {
      const { results } = (await client.request(commands.groupCommit, { group, memberId, offsets })).body
      if (results[0]?.error === 0)
        accepted.push(
          `${memberId} was removed, and its commit of partition ${partition}, epoch ${epoch}, was accepted`,
        )
    } catch (error) {
      if (!isMillraceError(error)) throw error
    }
  }
  client.destroy()
  return accepted
}

function planOf(): ChurnPlan {
  if (plan === undefined) throw new Error('nothing was started')
  return plan
}

function count(what: string): void {
  counts[what] = (counts[what] ?? 0) + 1
}

serveCalls(calls)
