import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from '../../helpers/context.js'
import { type SpawnedProcess, spawnMillrace } from '../../helpers/spawn.js'
import type { Finding } from '../campaign.js'

/**
 * Low limits for everything that a broker keeps, so that legitimate leftovers of an attacker (topics, offsets,
 * producers, messages) fill up soon and further growth is a leak.
 */
const settings = {
  logLevel: 'warn',
  partitionsPerBrokerMax: '500',
  producersMax: '2000',
  producersPerPartitionMax: '100',
  groupsMax: '50',
  groupMembersMax: '50',
  groupOffsetsBytesMax: '1MiB',
  tailCacheBytes: '2MiB',
  retentionBytes: '1MiB',
  retentionIntervalMs: '1s',
} as const

/** A broker in its own process, with the means to judge its condition. */
export interface AttackedBroker {
  readonly process: SpawnedProcess
  readonly port: number
  /** Findings from its log, and from its exit if it has ended. */
  complaints(): Promise<readonly Finding[]>
}

export async function startAttackedBroker(context: TestContext): Promise<AttackedBroker> {
  const dir = await context.tempDir()
  const set = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`])
  const env = { NODE_OPTIONS: `--import ${new URL('./collect_on_signal.js', import.meta.url).href}` }
  const broker = spawnMillrace(context, ['serve', '--data', dir, '--port', '0', ...set], { env })
  const [, port] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
  return { process: broker, port: Number(port), complaints: () => complaintsOf(broker) }
}

const errorLevel = 50
const evidenceLinesMax = 5

async function complaintsOf(broker: SpawnedProcess): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  const exit = await Promise.race([broker.exited, sleep(0)])
  if (exit !== undefined) {
    const end = broker.output.stderr.slice(-4_000)
    findings.push({ check: 'broker-exit', evidence: `it ended with ${JSON.stringify(exit)}\n${end}` })
  }
  const errors = broker.output.stderr.split('\n').filter((line) => levelOf(line) >= errorLevel)
  if (errors.length > 0) {
    const shown = errors.slice(0, evidenceLinesMax).join('\n')
    findings.push({ check: 'broker-error-log', evidence: `${errors.length} errors in its log\n${shown}` })
  }
  return findings
}

function levelOf(line: string): number {
  if (!line.startsWith('{')) return 0
  const { level } = JSON.parse(line) as { readonly level?: unknown }
  return typeof level === 'number' ? level : 0
}

const samplesPerReading = 6
const sampleEveryMs = 200

/**
 * Private memory of a broker in bytes: without mapped files, and without garbage. The least of a few
 * samples, because its clients continue.
 */
export async function anonymousBytes({ process: { pid } }: AttackedBroker): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let n = 0; n < samplesPerReading; n++) {
    process.kill(pid, 'SIGUSR2')
    await sleep(sampleEveryMs)
    const text = await readFile(`/proc/${pid}/status`, 'utf8')
    const kib = Number(/^RssAnon:\s+(\d+) kB$/m.exec(text)?.[1])
    if (Number.isNaN(kib)) throw new Error(`/proc/${pid}/status has no RssAnon`)
    least = Math.min(least, kib * 1024)
  }
  return least
}
