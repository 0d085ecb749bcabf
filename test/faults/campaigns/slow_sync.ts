import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../client/index.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { percentile } from '../figures.js'
import { Findings } from '../findings.js'
import { LoadProcess } from '../load/calls.js'
import type { HeartbeatCalls, HeartbeatFigures } from '../load/heartbeat_process.js'
import type { PublisherCalls } from '../load/publisher_process.js'
import { SteadyGroup } from '../load/steady_group.js'
import { injectSyscallFault, syncCalls, syscallFaultsUnavailable } from '../machine/syscall_faults.js'
import { BrokerProcess } from '../trial/broker_process.js'

const members = 20
const partitions = 40
/** So short that a second without answers shows. */
const sessionTimeoutMs = 1_500
const heartbeatEveryMs = 100
const heartbeatMsMax = 100
const publishers = 2

/** What is done to the disk, and for how long. A delay of 0 is the tracer alone. */
interface Phase {
  readonly name: string
  readonly delayMs: number | undefined
  readonly ms: number
  /** Whether the figures to reach hold for it. */
  readonly isJudged: boolean
}

const full: readonly Phase[] = [
  { name: 'healthy', delayMs: undefined, ms: 10_000, isJudged: false },
  { name: 'traced', delayMs: 0, ms: 10_000, isJudged: false },
  { name: '+20 ms', delayMs: 20, ms: 30_000, isJudged: true },
  { name: '+200 ms', delayMs: 200, ms: 30_000, isJudged: false },
]
const short: readonly Phase[] = [
  { name: 'healthy', delayMs: undefined, ms: 500, isJudged: false },
  { name: '+20 ms', delayMs: 20, ms: 2_000, isJudged: false },
]

/**
 * Each sync of the broker takes 20 ms longer, then 200, with one thread for all that it does with the disk, under
 * publishers that fill every commit. Members with a short session must stay.
 */
export const slowSync: Campaign = {
  name: 'slow-sync',
  title: 'each sync takes 20 ms longer, then 200, under members with short sessions',
  rounds: { full: 3, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: syscallFaultsUnavailable,
  async round(context) {
    const findings = new Findings()
    const dir = await context.tempDir()
    const env = { UV_THREADPOOL_SIZE: '1' }
    const broker = await BrokerProcess.start(context, { dir, env, planted: context.planted })
    const group = await SteadyGroup.start(context, {
      server: broker.server,
      topic: 'steady',
      group: 'steady',
      members: 4,
      partitions: 8,
      sessionTimeoutMs,
    })
    const admin = await connect(broker.server)
    context.defer(() => admin.close({ timeoutMs: 0 }))
    for (const name of ['beats', 'load']) await admin.topics.create(name, { partitions })
    const small = LoadProcess.start<HeartbeatCalls>(context, 'heartbeats', heartbeatScript)
    const { host, port, server } = broker
    await small.call('start', {
      address: { host, port },
      topic: 'beats',
      group: 'beats',
      members,
      sessionTimeoutMs,
      everyMs: heartbeatEveryMs,
    })
    const load = LoadProcess.start<PublisherCalls>(context, 'publishers', publisherScript)
    await load.call('start', { server, topic: 'load', publishers, valueBytes: 2_048, inFlight: 8, bytesMax })
    const before = await group.memberIds()

    const samples: Record<string, readonly number[]> = {}
    let delayed = 0
    for (const phase of context.short ? short : full) {
      await small.call('figures')
      await load.call('ackedBytes')
      delayed += await underFault(context, broker.pid, phase)
      const figures = await small.call('figures')
      const bytesPerS = (await load.call('ackedBytes')) / (phase.ms / 1_000)
      judge(context, findings, phase, figures, bytesPerS)
      samples[`heartbeat, ${phase.name} ms`] = figures.heartbeatMs
      samples[`published, ${phase.name} MB/s`] = [bytesPerS / 1e6]
    }

    findings.addAll('evicted', await small.call('stop'))
    const after = await group.memberIds()
    findings.expect(
      before.join() === after.join() && group.revoked.length === 0,
      'evicted',
      () =>
        `members of the SDK: ${after.join(', ')}, before ${before.join(', ')}; ${group.revoked.join('; ')}`,
    )
    const result = await load.call('stop')
    const failures = Object.entries(result.failed).map(
      ([code, count]) => `${count} publishes failed: ${code}`,
    )
    findings.addAll('publish-failed', failures)
    findings.addAll('lost', await load.call('readBack'))
    const beats = Object.values(samples).reduce((sum, values) => sum + values.length, 0)
    return {
      operations: result.acked + beats,
      faults: { 'delayed syncs': delayed },
      findings: findings.list,
      samples,
    }
  },
}

const bytesMax = 400 * 1024 * 1024
const heartbeatScript = new URL('../load/heartbeat_process.js', import.meta.url)
const publisherScript = new URL('../load/publisher_process.js', import.meta.url)

/** Returns how many calls were met. */
async function underFault(context: RoundContext, pid: number, { delayMs, ms }: Phase): Promise<number> {
  const fault = { calls: syncCalls, ...(delayMs === undefined ? {} : { delayMs }) }
  const injected = delayMs === undefined ? undefined : await injectSyscallFault(context, pid, fault)
  await sleep(ms)
  if (injected === undefined) return 0
  const met = await injected.count()
  await injected.detach()
  return delayMs === 0 ? 0 : met
}

function judge(
  context: RoundContext,
  findings: Findings,
  phase: Phase,
  { heartbeatMs }: HeartbeatFigures,
  bytesPerS: number,
): void {
  const p99 = percentile(heartbeatMs, 0.99)
  context.log(
    `${phase.name}: heartbeat p50 / p99 / max ${[0.5, 0.99, 1].map((share) => percentile(heartbeatMs, share).toFixed(1)).join(' / ')} ms, ${(bytesPerS / 1e6).toFixed(2)} MB/s published`,
  )
  findings.expect(
    !phase.isJudged || p99 < heartbeatMsMax,
    'slow-heartbeat',
    () => `${phase.name}: p99 of heartbeats ${p99.toFixed(1)} ms, expected under ${heartbeatMsMax} ms`,
  )
  findings.expect(bytesPerS > 0, 'publishing-stopped', () => `${phase.name}: nothing was acknowledged`)
}
