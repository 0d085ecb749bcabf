import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../../bench/lib/worker.js'
import { commands, isMillraceError, type ReplyOf } from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { serveCalls } from './calls.js'

/** The calls to the process of small requests: members that send heartbeats, and a client that asks for the status. */
export type HeartbeatCalls = {
  /** Returns when all members have joined. */
  start(plan: HeartbeatPlan): Promise<void>
  /** The measurements since the last call. */
  figures(): HeartbeatFigures
  /** Returns the errors. */
  stop(): Promise<readonly string[]>
}

export interface HeartbeatPlan {
  readonly address: { readonly host: string; readonly port: number }
  readonly topic: string
  readonly group: string
  readonly members: number
  readonly sessionTimeoutMs: number
  readonly everyMs: number
}

export interface HeartbeatFigures {
  readonly heartbeatMs: readonly number[]
  readonly statusMs: readonly number[]
}

type Assignment = ReplyOf<typeof commands.groupHeartbeat>

const stop = new AbortController()
const problems: string[] = []
const running: Promise<void>[] = []
let heartbeatMs: number[] = []
let statusMs: number[] = []

const calls: HeartbeatCalls = {
  async start(plan) {
    const clients = await Promise.all(
      Array.from({ length: plan.members + 1 }, () => connectHello(plan.address)),
    )
    const [asking, ...members] = clients
    const joined = await Promise.all(members.map((client, index) => join(client, plan, index)))
    running.push(...members.map((client, index) => beat(client, plan, index, joined[index] as Assignment)))
    if (asking !== undefined) running.push(askStatus(asking, plan.everyMs))
  },

  figures() {
    const figures = { heartbeatMs, statusMs }
    heartbeatMs = []
    statusMs = []
    return figures
  },

  async stop() {
    stop.abort()
    await Promise.all(running)
    return problems
  },
}

function memberOf({ group }: HeartbeatPlan, index: number): { group: string; memberId: string } {
  return { group, memberId: `member-${index}` }
}

async function join(client: RawClient, plan: HeartbeatPlan, index: number): Promise<Assignment> {
  const { topic, sessionTimeoutMs } = plan
  const request = { ...memberOf(plan, index), topics: [topic], sessionTimeoutMs }
  return (await client.request(commands.groupJoin, request)).body
}

/** Heartbeats without a wait, so that the time to the answer is the time of the request. */
async function beat(client: RawClient, plan: HeartbeatPlan, index: number, first: Assignment): Promise<void> {
  let assignment = first
  while (!stop.signal.aborted) {
    const owned = assignment.partitions.map(
      ({ topicId, partition, epoch }) => [topicId, partition, epoch] as const,
    )
    const beganMs = monotonicMs()
    try {
      const request = { ...memberOf(plan, index), waitMs: 0, owned }
      assignment = (await client.request(commands.groupHeartbeat, request)).body
      heartbeatMs.push(monotonicMs() - beganMs)
    } catch (error) {
      problems.push(`member ${index}: ${isMillraceError(error) ? error.code : String(error)}`)
      if (!isMillraceError(error, 'UNKNOWN_MEMBER')) return
      assignment = await join(client, plan, index)
    }
    await sleep(plan.everyMs)
  }
}

async function askStatus(client: RawClient, everyMs: number): Promise<void> {
  while (!stop.signal.aborted) {
    const beganMs = monotonicMs()
    await client.request(commands.status, {})
    statusMs.push(monotonicMs() - beganMs)
    await sleep(everyMs)
  }
}

serveCalls(calls)
