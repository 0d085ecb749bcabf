import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Campaign, RoundContext, RoundResult } from '../campaign.js'
import { throttleDevice, throttleDeviceUnavailable } from '../machine/block_throttle.js'
import { limitDescriptors, limitDescriptorsUnavailable } from '../machine/descriptor_limit.js'
import { LoopVolume, loopVolumeUnavailable } from '../machine/loop_volume.js'
import { MemoryLimit, memoryLimitUnavailable } from '../machine/memory_limit.js'
import { DiskJudge } from '../trial/disk_judge.js'
import { StoreProbe } from '../trial/store_probe.js'
import { Trial, type TrialOptions } from '../trial/trial.js'

const mib = 1024 * 1024
const volumeBytes = 1024 * mib
const memoryLimitBytes = 400 * mib
const descriptorsLeft = 5
const newcomers = 40
const descriptorsMax = 700
const newcomerMs = 1_000
/** Refusals that say what is short; what was pending when a connection ended is not among them. */
const namedRefusals = ['ok', 'STORAGE_FAILED', 'STORAGE_FULL', 'OVERLOADED']
const valueBytes = [16, 1_000, 16_384]
/** One call can take longer than this fault lasts. */
const longFault = 'slow device'
/** The oldest records then come from disk soon. */
const settings = { tailCacheBytes: mib }

type Variant = (context: RoundContext) => Promise<RoundResult>

/** A trial with a probe, that has come to work. */
interface Limited {
  readonly context: RoundContext
  readonly trial: Trial
  readonly probe: StoreProbe
  readonly judge: DiskJudge
}

/** No descriptors left, few of them, little memory, or a slow device, in turn: the broker lives, and what it acknowledged stays. */
export const limits: Campaign = {
  name: 'limits',
  title: 'file descriptors exhausted or few, 400 MB of memory, a throttled device, in turn, each under load',
  rounds: { full: 16, short: 4 },
  roundDeadlineMs: 180_000,
  unavailable: async () =>
    (await limitDescriptorsUnavailable()) ??
    (await memoryLimitUnavailable()) ??
    (await loopVolumeUnavailable()) ??
    (await throttleDeviceUnavailable()),
  round(context) {
    const variant = variants[context.index % variants.length] ?? descriptors
    return variant(context)
  },
}

const logMsMax = 20_000

const descriptors: Variant = async (context) => {
  const client = { publisherRate: 100, valueBytesMax: 65_536 }
  const limited = await start(context, { workload: 'mix', clients: 2, client, broker: { settings } })
  const { trial, judge } = limited
  const name = 'descriptors exhausted'
  for (let count = context.short ? 1 : 3; count > 0; count--) {
    await trial.progress(context.rng.int(50, 500))
    trial.inject(name)
    const beganMs = performance.now()
    const restore = await limitDescriptors(context, trial.broker.pid, descriptorsLeft)
    const accepted = await crowd(context, trial, newcomers)
    const isLogged = (): boolean => /EMFILE|too many open files/i.test(trial.broker.process.output.stderr)
    // A busy broker takes its time to accept, and its log takes time to arrive.
    await waitFor('the log to name it', isLogged, { deadlineMs: logMsMax }).catch(() => {})
    await sleep(context.rng.int(500, 3_000))
    const endedMs = performance.now()
    for (const one of accepted) one.destroy()
    await restore()
    trial.heal(name)
    named(limited, name, beganMs, endedMs)
    // The broker closes files as well, so somewhat more connections than were left may get in.
    judge.findings.expect(accepted.length < newcomers, 'limit', () => `${accepted.length} connected`)
    judge.findings.expect(
      isLogged(),
      'not-told',
      () =>
        `${name}: the broker's log says nothing of it: ${trial.broker.process.output.stderr.slice(-1_000)}`,
    )
    await judge.recovered(name, endedMs)
    await newcomer(trial).then(
      (one) => one.destroy(),
      (error: Error) => trial.find('not-recovered', `${name}: no connection after it: ${error.message}`),
    )
  }
  await trial.crash()
  return finish(limited)
}

/** A limit that is there from the start: the broker keeps descriptors for its databases, and nobody else notices. */
const fewDescriptors: Variant = async (context) => {
  const client = { publisherRate: 100, valueBytesMax: 65_536 }
  const under = ['prlimit', `--nofile=${descriptorsMax}:${descriptorsMax}`]
  const limited = await start(context, { workload: 'mix', clients: 2, client, broker: { settings, under } })
  const { trial, probe, judge } = limited
  const name = `more connections than a limit of ${descriptorsMax} files allows`
  for (let count = context.short ? 1 : 3; count > 0; count--) {
    await trial.progress(context.rng.int(50, 500))
    trial.inject(name)
    const beganMs = performance.now()
    const accepted = await crowd(context, trial, descriptorsMax)
    await sleep(context.rng.int(500, 3_000))
    const endedMs = performance.now()
    for (const one of accepted) one.destroy()
    trial.heal(name)
    named(limited, name, beganMs, endedMs)
    judge.findings.expect(accepted.length < descriptorsMax, 'limit', () => `${accepted.length} connected`)
    const failed = probe.since('publish', beganMs).filter(({ outcome }) => outcome !== 'ok')
    judge.findings.expect(
      failed.length === 0,
      'publishing-stopped',
      () => `${name}: ${failed.length} publishes failed, such as ${failed[0]?.outcome} ${failed[0]?.detail}`,
    )
  }
  await trial.crash()
  return finish(limited)
}

const memory: Variant = async (context) => {
  const limit = await MemoryLimit.create(context, memoryLimitBytes)
  const limited = await start(context, {
    workload: 'mix',
    clients: 3,
    client: { publisherRate: 50, valueBytesMax: 512 * 1024 },
    broker: { under: limit.command('env', []) },
  })
  const { trial } = limited
  const name = `memory limited to ${memoryLimitBytes / mib} MiB`
  trial.inject(name)
  const residentMib: number[] = []
  for (let count = context.short ? 1 : 2; count > 0; count--) {
    const beganMs = performance.now()
    await sleep(context.short ? 2_000 : 10_000)
    named(limited, name, beganMs, performance.now())
    residentMib.push(await residentPeakMib(trial.broker.pid))
    await trial.crash()
  }
  await trial.progress(100)
  trial.heal(name)
  const result = await finish(limited)
  const kills = await limit.oomKills()
  const findings = [...result.findings]
  if (kills > 0)
    findings.push({
      check: 'oom-kill',
      evidence: `the kernel killed ${kills} processes because of the memory limit`,
    })
  return { ...result, findings, samples: { ...result.samples, 'resident peak MiB': residentMib } }
}

const slowDevice: Variant = async (context) => {
  const volume = await LoopVolume.create(context, { sizeBytes: volumeBytes })
  const limited = await start(context, {
    workload: 'mix',
    clients: 2,
    client: { publisherRate: 200, valueBytesMax: 65_536 },
    dir: join(volume.dir, 'data'),
    broker: { settings: { diskFreeBytesMin: '16MB' } },
  })
  const { trial, judge } = limited
  const name = longFault
  const rates = { before: [] as number[], during: [] as number[] }
  for (let count = context.short ? 1 : 3; count > 0; count--) {
    rates.before.push(await publishedPerS(trial, 2_000))
    trial.inject(name)
    const beganMs = performance.now()
    const release = await throttleDevice(context, volume.device, {
      writeBytesPerSecond: 2 * mib,
      writesPerSecond: 200,
    })
    rates.during.push(await publishedPerS(trial, context.short ? 2_000 : 5_000))
    const endedMs = performance.now()
    await release()
    trial.heal(name)
    named(limited, name, beganMs, endedMs)
    await judge.recovered(name, endedMs)
    await trial.crash()
  }
  const result = await finish(limited)
  return {
    ...result,
    samples: {
      ...result.samples,
      'published, healthy 1/s': rates.before,
      'published, slow device 1/s': rates.during,
    },
  }
}

const variants: readonly Variant[] = [descriptors, fewDescriptors, memory, slowDevice]

async function start(context: RoundContext, options: TrialOptions): Promise<Limited> {
  const trial = await Trial.start(context, options)
  const probe = await StoreProbe.start(context, { address: () => trial.broker, valueBytes })
  return { context, trial, probe, judge: new DiskJudge(probe, context) }
}

async function finish({ trial, probe, judge }: Limited): Promise<RoundResult> {
  await trial.progress(100)
  for (const evidence of await probe.conclude()) trial.find('lost-write', evidence)
  for (const { check, evidence } of judge.findings.list) trial.find(check, evidence)
  const result = await trial.conclude()
  const { 'disk recovery ms': recovery } = judge.samples
  return { ...result, samples: { ...result.samples, 'accepted again ms': recovery } }
}

/** Existing connections continue, and every refusal has a named error. */
function named({ context, probe, judge }: Limited, fault: string, fromMs: number, toMs: number): void {
  for (const kind of ['publish', 'hotRead', 'coldRead'] as const) {
    const calls = probe.since(kind, fromMs).filter(({ startedMs }) => startedMs < toMs)
    const tally = StoreProbe.tally(calls)
    const odd = calls.find(({ outcome }) => !namedRefusals.includes(outcome))
    judge.findings.expect(
      odd === undefined && (calls.length > 0 || fault === longFault),
      'unnamed-refusal',
      () => `${fault}: ${kind} came to ${JSON.stringify(tally)}, such as ${odd?.outcome} ${odd?.detail}`,
    )
    context.log(`${fault}: ${kind} ${JSON.stringify(tally)}`)
  }
}

/** Many connect at once. Returns those that the broker greeted. */
async function crowd(context: RoundContext, trial: Trial, count: number): Promise<RawClient[]> {
  const tried = await Promise.allSettled(Array.from({ length: count }, () => newcomer(trial)))
  const greeted = tried.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  context.defer(() => {
    for (const one of greeted) one.destroy()
  })
  return greeted
}

/** A connection that is greeted within a second. */
async function newcomer({ broker: { host, port } }: Trial): Promise<RawClient> {
  const greeting = connectHello({ host, port })
  let isLate = false
  greeting.then((client) => isLate && client.destroy()).catch(() => {})
  const deadline = new AbortController()
  const late = sleep(newcomerMs, undefined, { signal: deadline.signal }).then(() => {
    isLate = true
    throw new Error(`no greeting within ${newcomerMs} ms`)
  })
  try {
    return await Promise.race([greeting, late])
  } finally {
    deadline.abort()
    late.catch(() => {})
  }
}

async function publishedPerS(trial: Trial, ms: number): Promise<number> {
  const before = trial.succeeded.published
  await sleep(ms)
  return Math.round(((trial.succeeded.published - before) * 1_000) / ms)
}

async function residentPeakMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1')
  return Math.round(Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024)
}
