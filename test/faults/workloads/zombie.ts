import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMillraceError } from '../../../client/index.js'
import { commands, errorOf, type ReplyOf } from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { monotonicUs } from '../history/history.js'
import { isSystemError } from './publishers.js'
import type { WorkloadContext } from './workload.js'

/** How long a reply may take, or the silence after the session. */
const patienceMs = 5_000

type Assignment = ReplyOf<typeof commands.groupJoin>

/**
 * Members that use the protocol directly: they get partitions, stop responding for longer than their session timeout, and then commit
 * like a process that was suspended and resumed. The SDK would notice this and commit nothing, so it can't show whether
 * the broker refuses the commit.
 */
export async function zombieMembers(
  context: WorkloadContext,
  topic: string,
  group: string,
  name: string,
): Promise<void> {
  for (let life = 0; !context.stop.aborted; life++) {
    let client: RawClient | undefined
    try {
      client = await connectHello(context.address, { idleMsMax: context.sessionTimeoutMs + patienceMs })
      await liveAndRise(context, client, { topic, group, process: `${name}.${life}` })
    } catch (error) {
      if (!isMillraceError(error) && !isSystemError(error)) throw error
      await sleep(100)
    } finally {
      client?.destroy()
    }
  }
}

interface Zombie {
  readonly topic: string
  readonly group: string
  readonly process: string
}

async function liveAndRise(context: WorkloadContext, client: RawClient, zombie: Zombie): Promise<void> {
  const { sessionTimeoutMs, stop } = context
  const { topic, group, process } = zombie
  const memberId = randomUUID()
  const join = { group, memberId, topics: [topic], sessionTimeoutMs }
  let { body: assignment } = await client.request(commands.groupJoin, join)
  for (let tries = 0; assignment.partitions.length === 0 && tries < 20 && !stop.aborted; tries++) {
    const beat = { group, memberId, waitMs: Math.floor(sessionTimeoutMs / 3), owned: [] }
    assignment = (await client.request(commands.groupHeartbeat, beat)).body
  }
  if (assignment.partitions.length === 0) return
  noteAssignment(context, process, group, assignment)
  // Stopped by SIGSTOP it would be just as silent.
  await sleep(sessionTimeoutMs + 1_500)
  await commitAll(context, client, { ...zombie, memberId, assignment })
}

function noteAssignment(
  { history }: WorkloadContext,
  process: string,
  group: string,
  { partitions }: Assignment,
): void {
  for (const { topic, partition, epoch } of partitions) {
    const at = monotonicUs()
    history.write({ type: 'assigned', at, process, group, epoch, partitions: [{ topic, partition }] })
  }
}

async function commitAll(
  { history }: WorkloadContext,
  client: RawClient,
  { topic, group, process, memberId, assignment }: Zombie & { memberId: string; assignment: Assignment },
): Promise<void> {
  const entries = assignment.partitions.map(({ topicId, partition, epoch, committedOffset = 0 }) => ({
    request: [topicId, partition, epoch, committedOffset, undefined] as const,
    call: { op: 'commit', group, topic, partition, offset: committedOffset, epoch } as const,
  }))
  const calls = entries.map(({ call }) => history.invoke(process, call))
  try {
    const request = { group, memberId, offsets: entries.map((entry) => entry.request) }
    const { body } = await client.request(commands.groupCommit, request)
    for (const [index, id] of calls.entries()) {
      const result = body.results[index]
      if (result?.error === 0) history.outcome(process, id, 'ok')
      else history.outcome(process, id, 'fail', { error: errorOf(result ?? { error: 1 }).code })
    }
  } catch (error) {
    if (!isMillraceError(error)) throw error
    const type = error.code === 'UNKNOWN_MEMBER' || error.code === 'FENCED' ? 'fail' : 'info'
    for (const id of calls) history.outcome(process, id, type, { error: error.code })
  }
}
