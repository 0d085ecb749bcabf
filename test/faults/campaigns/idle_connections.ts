import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect, isMillraceError } from '../../../client/index.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { percentile } from '../figures.js'
import { Findings, mib } from '../findings.js'
import { LoadProcess } from '../load/calls.js'
import type { IdleCalls, OpenResult } from '../load/idle_process.js'
import { memoryOf } from '../load/memory_watch.js'
import type { StreamCalls } from '../load/stream_process.js'
import { linux } from '../machine/requirements.js'
import { BrokerProcess } from '../trial/broker_process.js'

interface Size {
  readonly connections: number
  readonly processes: number
  readonly storm: number
}

const full: Size = { connections: 10_000, processes: 2, storm: 1_000 }
const short: Size = { connections: 500, processes: 1, storm: 200 }

const bytesPerConnectionMax = 10_000
const atOnce = 64
const openMsMax = 60_000
const stormMsMax = 5_000
const healthyMessagesPerS = 100
/** A heap that has grown does not give everything back; a leak shows in what the second time adds to the first. */
const secondTimeBytesMax = 64 * mib
const settleMs = 2_000

/**
 * 10,000 connections that say hello and nothing more, a thousand of which come again at once, beside a healthy stream; as
 * many as are allowed, so that one more has to be refused. Then all go.
 */
export const idleConnections: Campaign = {
  name: 'idle-connections',
  title: '10,000 idle connections, 1,000 of them reconnecting at once',
  rounds: { full: 3, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: linux,
  async round(context) {
    const size = context.short ? short : full
    const findings = new Findings()
    // Room for the healthy ones beside the idle ones; what they leave is filled up before one more is tried.
    const settings = { connectionsMax: size.connections + spareConnections }
    const dir = await context.tempDir()
    const broker = await BrokerProcess.start(context, { dir, settings, planted: context.planted })
    const healthy = LoadProcess.start<StreamCalls>(context, 'healthy stream', streamScript)
    await healthy.call('start', {
      server: broker.server,
      topic: 'healthy',
      messagesPerS: healthyMessagesPerS,
    })
    const client = await connect(broker.server)
    context.defer(() => client.close({ timeoutMs: 0 }))
    await sleep(settleMs)
    await healthy.call('latencies')
    const others = (await client.status()).connections
    const before = await memoryOf(broker.pid)

    const idle = Array.from({ length: size.processes }, (_, index) =>
      LoadProcess.start<IdleCalls>(context, `idle connections ${index}`, idleScript),
    )
    const opened = await openAll(broker, idle, size)
    await sleep(settleMs)
    const during = await memoryOf(broker.pid)
    const perConnection = (during.rssBytes - before.rssBytes) / size.connections
    judgeOpening(context, findings, size, opened)
    findings.expect(
      context.short || perConnection < bytesPerConnectionMax,
      'connection-memory',
      () => `${Math.round(perConnection)} bytes for each of ${size.connections} idle connections`,
    )
    const storm = await idle[0]?.call('reconnect', size.storm)
    if (storm !== undefined) judgeStorm(context, findings, size, storm)
    await judgeRefusal(context, findings, { broker, client, ...settings })
    const answered = await Promise.all(idle.map((one) => one.call('pingAll')))
    const answers = answered.reduce((sum, count) => sum + count, 0)
    findings.expect(
      answers === size.connections,
      'idle-connection-lost',
      () => `${answers} of ${size.connections} idle connections answer a ping`,
    )
    const latencies = await healthy.call('latencies')
    await closeAll(findings, idle, client, others)
    const after = await memoryOf(broker.pid)
    judgeOpening(context, findings, size, await openAll(broker, idle, size))
    await closeAll(findings, idle, client, others)
    const again = await memoryOf(broker.pid)
    findings.expect(
      again.rssBytes - after.rssBytes < secondTimeBytesMax,
      'memory-left',
      () =>
        `${Math.round((again.rssBytes - after.rssBytes) / mib)} MiB more than after the same connections the first time, with all gone`,
    )
    const result = await healthy.call('stop')
    findings.addAll('healthy-stream', [
      ...result.problems,
      ...result.failed.map((code) => `publish: ${code}`),
    ])
    const tookMs = Math.max(...opened.map((one) => one.tookMs))
    context.log(
      `${Math.round(perConnection)} bytes each, opened in ${Math.round(tookMs)} ms, storm of ${size.storm} in ${Math.round(storm?.tookMs ?? 0)} ms, ${Math.round((again.rssBytes - before.rssBytes) / mib)} MiB left over`,
    )
    return {
      operations: 2 * size.connections + size.storm + answers + result.published + result.received,
      faults: { 'idle connections': 2 * size.connections, reconnects: size.storm, 'connections too many': 1 },
      findings: findings.list,
      samples: {
        'bytes per connection': [perConnection],
        'open all ms': [tookMs],
        'greeting ms': opened.flatMap((one) => one.greetedMs),
        'greeting in a storm ms': storm?.greetedMs ?? [],
        'healthy end to end ms': latencies,
        'left over MiB': [(again.rssBytes - before.rssBytes) / mib],
      },
    }
  },
}

const spareConnections = 16
const streamScript = new URL('../load/stream_process.js', import.meta.url)
const idleScript = new URL('../load/idle_process.js', import.meta.url)

function openAll(
  broker: BrokerProcess,
  idle: readonly LoadProcess<IdleCalls>[],
  size: Size,
): Promise<OpenResult[]> {
  const { host, port } = broker
  const connections = size.connections / idle.length
  return Promise.all(
    idle.map((one, index) =>
      one.call('open', { host, port, localAddress: `127.0.0.${index + 2}`, connections, atOnce }),
    ),
  )
}

function judgeOpening(
  context: RoundContext,
  findings: Findings,
  size: Size,
  opened: readonly OpenResult[],
): void {
  const greeted = opened.reduce((sum, one) => sum + one.greeted, 0)
  const [problem] = opened.flatMap(({ refused }) => refused)
  findings.expect(
    greeted === size.connections,
    'connection-refused',
    () => `${greeted} of ${size.connections} connections were greeted; the first that was not: ${problem}`,
  )
  const tookMs = Math.max(...opened.map((one) => one.tookMs))
  findings.expect(
    context.short || tookMs < openMsMax,
    'slow-connect',
    () => `${size.connections} connections took ${Math.round(tookMs)} ms`,
  )
}

function judgeStorm(context: RoundContext, findings: Findings, size: Size, storm: OpenResult): void {
  findings.expect(
    storm.greeted === size.storm,
    'storm-refused',
    () =>
      `${storm.greeted} of ${size.storm} that came again were greeted; the first that was not: ${storm.refused[0]}`,
  )
  findings.expect(
    context.short || storm.tookMs < stormMsMax,
    'slow-storm',
    () =>
      `${size.storm} connections that came again took ${Math.round(storm.tookMs)} ms, p99 of hello ${Math.round(percentile(storm.greetedMs, 0.99))} ms`,
  )
}

/** Returns when the broker has noticed that they are gone, and its memory had time to settle. */
async function closeAll(
  findings: Findings,
  idle: readonly LoadProcess<IdleCalls>[],
  client: Client,
  others: number,
): Promise<void> {
  await Promise.all(idle.map((one) => one.call('closeAll')))
  try {
    const isGone = async (): Promise<boolean> => (await client.status()).connections <= others
    await waitFor('the connections to be gone', isGone, { deadlineMs: 10_000 })
  } catch (error) {
    findings.list.push({ check: 'connections-left', evidence: String(error) })
  }
  await sleep(settleMs)
}

/** Fills up what is left, and tries one more: over the wire, and as a user of the SDK sees it. */
async function judgeRefusal(
  context: RoundContext,
  findings: Findings,
  { broker, client, connectionsMax }: { broker: BrokerProcess; client: Client; connectionsMax: number },
): Promise<void> {
  const last = LoadProcess.start<IdleCalls>(context, 'the last connections', idleScript)
  const { host, port } = broker
  const plan = { host, port, localAddress: '127.0.0.1', atOnce: 1 }
  const { connections } = await client.status()
  const filled = await last.call('open', { ...plan, connections: connectionsMax - connections })
  findings.expect(
    filled.refused.length === 0,
    'connection-refused',
    () =>
      `with ${connections} of ${connectionsMax} connections, ${filled.refused.length} more were refused: ${filled.refused[0]}`,
  )
  const over = await last.call('open', { ...plan, connections: 1 })
  const [reason = 'it was greeted'] = over.refused
  findings.expect(
    reason.startsWith('OVERLOADED') && reason.includes(String(connectionsMax)),
    'unclear-refusal',
    () => `connection ${connectionsMax + 1} was not refused with OVERLOADED and the limit: ${reason}`,
  )
  const told = await connect({ servers: broker.server, connectTimeoutMs: 5_000 }).then(
    async (one) => {
      await one.close()
      return 'it connected'
    },
    (error: unknown) => (isMillraceError(error) ? `${error.code}: ${error.message}` : String(error)),
  )
  findings.expect(
    told.includes('which is the maximum'),
    'unclear-refusal',
    () => `the SDK says about connection ${connectionsMax + 1}: ${told}`,
  )
  await last.kill()
}
