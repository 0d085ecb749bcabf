import type { BenchContext, Scenario } from '../lib/scenario.js'
import { type Idle, type IdleWork, runIdle } from '../sdk/idle.js'

const topics = 100
const partitions = 10
const clients = 3
/** An idle system must sleep. */
const cpuPercentTarget = 1

const kinds = [
  { kind: 'consumers', membersPerClient: 100 },
  { kind: 'workers', membersPerClient: 30 },
] as const

/**
 * The CPU of a broker with 100 topics of 10 partitions, and of three client processes, while no message comes: with 300
 * consumers in 100 stream groups, and with 90 workers in 30 queue groups. MILLRACE_BENCH_BASE names the folder of another
 * build, which takes turns with this one.
 */
export const idleScenario: Scenario = {
  name: 'idle',
  summary: 'CPU of a broker and its clients while no message comes',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const base = process.env.MILLRACE_BENCH_BASE
    const builds = base === undefined ? [undefined] : [undefined, base]
    for (const { kind, membersPerClient } of kinds) {
      const name = `idle, ${clients * membersPerClient} ${kind}`
      const measured = new Map<string | undefined, Idle[]>(builds.map((build) => [build, []]))
      for (let run = 1; run <= context.runs; run++) {
        for (const build of builds) {
          context.progress(
            `${name}${build === undefined ? '' : ' of the other build'}: run ${run} of ${context.runs}`,
          )
          measured.get(build)?.push(await runIdle(workOf(context, kind, membersPerClient, build)))
        }
      }
      for (const [build, runs] of measured) addFigures(context, name, runs, build !== undefined)
    }
  },
}

function workOf(
  { quick, dataRoot }: BenchContext,
  kind: IdleWork['kind'],
  membersPerClient: number,
  build: string | undefined,
): IdleWork {
  const times = quick ? { settleMs: 1_000, measureMs: 1_000 } : { settleMs: 30_000, measureMs: 20_000 }
  const shape = { kind, topics, partitions, clients, membersPerClient }
  return { dataRoot, ...shape, ...times, ...(build === undefined ? {} : { build }) }
}

function addFigures(context: BenchContext, name: string, runs: readonly Idle[], isOther: boolean): void {
  const suffix = isOther ? ', other build' : ''
  const target = isOther ? {} : { target: cpuPercentTarget }
  const add = (who: string, cpu: (idle: Idle) => number, bytes: (idle: Idle) => number): void =>
    context.addMeasured(
      { name: `${name}, CPU of ${who}${suffix}`, unit: '% of a core', better: 'lower', ...target },
      runs.map((idle) => ({ value: cpu(idle), details: { 'MB of memory': bytes(idle) / 1e6 } })),
    )
  add(
    'the broker',
    ({ brokerCpuPercent }) => brokerCpuPercent,
    ({ brokerRssBytes }) => brokerRssBytes,
  )
  add(
    'each client',
    ({ clientCpuPercent }) => clientCpuPercent,
    ({ clientRssBytes }) => clientRssBytes,
  )
}
