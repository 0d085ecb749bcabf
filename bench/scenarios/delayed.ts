import { compare, type NamedMeasured } from '../lib/comparison.js'
import type { Delayed, DelayWork } from '../lib/contender.js'
import { type BenchContext, type FigureOptions, latencyDetails, type Scenario } from '../lib/scenario.js'
import { contendersFor } from '../peers/index.js'

const messageBytes = 100
const firedPerS = 10_000
const armUsTarget = 20
const lateMsTarget = 50

const contenders = contendersFor('delayed')
const quickIds: readonly string[] = ['millrace', 'bullmq']

/** Delayed messages: the time to schedule many, and the lateness of others that are due in the same time. */
export const delayedScenario: Scenario = {
  name: 'delayed',
  summary: 'messages for later: time to arm them, and how late they come at 10,000/s: Millrace and peers',
  byDefault: true,
  contenders: contenders.map(({ id }) => id),
  run: (context: BenchContext) => {
    const { quick } = context
    const sizes = quick ? { armed: 20_000, fired: 10_000 } : { armed: 1_000_000, fired: 100_000 }
    return compare<DelayWork>(context, {
      contenders,
      isInQuick: ({ id }) => quickIds.includes(id),
      works: [{ messageBytes, firedPerS, ...sizes }],
      nameOf: ({ armed }) => `arm ${armed.toLocaleString('en')} messages`,
      measure: async (running, work) => {
        const delayed = await running.delayed?.(work)
        return delayed === undefined ? [] : figuresOf(delayed)
      },
      target: ({ unit, name }) => {
        if (unit === 'us') return quick ? undefined : armUsTarget
        return name.startsWith('p99 ') ? lateMsTarget : undefined
      },
    })
  },
}

function figuresOf({ armed, armMs, late, receivedPerS, serverRssBytes }: Delayed): NamedMeasured {
  const memory = { 'MB of memory server': serverRssBytes / 1e6 }
  const details = { ...latencyDetails(late), 'messages/s received': receivedPerS, ...memory }
  const lateFigure = (percentile: string): FigureOptions => ({
    name: `${percentile} from due time to receipt, ${firedPerS.toLocaleString('en')} delayed messages/s`,
    unit: 'ms',
    better: 'lower',
  })
  return [
    [
      { name: `arm a delayed message, ${messageBytes} B`, unit: 'us', better: 'lower' },
      {
        value: (armMs * 1000) / armed,
        details: { 'messages armed': armed, seconds: armMs / 1000, ...memory },
      },
    ],
    [lateFigure('p99'), { value: late.p99Ms, details, latency: late }],
    [lateFigure('p50'), { value: late.p50Ms, details }],
  ]
}
