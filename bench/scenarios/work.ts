import { type Comparison, compare } from '../lib/comparison.js'
import type { WorkQueueWork } from '../lib/contender.js'
import { type BenchContext, type Measured, type Scenario, throughputDetails } from '../lib/scenario.js'
import type { Throughput } from '../lib/throughput.js'
import { contendersFor } from '../peers/index.js'
import { runQueueWork } from '../sdk/work.js'

const messageBytes = 100
const concurrency = 1_000
const keys = 10_000
const target = 150_000

interface Case {
  readonly name: string
  readonly order: 'none' | 'key'
  readonly isPoisoned: boolean
  /** Target of the project in messages/s. */
  readonly target?: number
}

/** Variants that only Millrace runs. */
const ownCases: readonly Case[] = [
  {
    name: `in the order of ${keys.toLocaleString('en')} keys`,
    order: 'key',
    isPoisoned: false,
    target: 100_000,
  },
  { name: 'no order, a message at the head that always fails', order: 'none', isPoisoned: true },
]

const contenders = contendersFor('work')
/** In a quick bench: those that start and fill a queue quickly. */
const quickIds: readonly string[] = ['millrace', 'bullmq']

/** One worker process of a queue over waiting messages, 1,000 at a time, each acknowledged individually. */
export const workScenario: Scenario = {
  name: 'work',
  summary:
    'a work queue and one worker, each message leased, handled and acknowledged by itself: Millrace and peers',
  byDefault: true,
  contenders: contenders.map(({ id }) => id),
  async run(context: BenchContext): Promise<void> {
    const work = { messageBytes, concurrency, ...context.shortInterval }
    await compare(context, comparisonOf(work))
    if (context.contenders?.includes('millrace') ?? true) await measureOwnCases(context, work)
  },
}

function comparisonOf(work: WorkQueueWork): Comparison<WorkQueueWork> {
  return {
    contenders,
    isInQuick: ({ id }) => quickIds.includes(id),
    works: [work],
    nameOf: () => figureName('no order'),
    measure: async (running) => {
      const throughput = await running.work?.(work)
      if (throughput === undefined) return []
      return [
        [{ name: figureName('no order'), unit: 'messages/s', better: 'higher' }, measuredOf(throughput)],
      ]
    },
    target: () => target,
  }
}

async function measureOwnCases(context: BenchContext, work: WorkQueueWork): Promise<void> {
  const { dataRoot, quick } = context
  const messages = quick ? 500_000 : 3_000_000
  for (const { name, order, isPoisoned, target } of ownCases) {
    const goal = target === undefined ? {} : { target }
    const figure = { name: figureName(name), unit: 'messages/s', better: 'higher', ...goal } as const
    await context.measure(figure, async () => {
      const own = { ...work, messages, order, isPoisoned, dataRoot }
      return measuredOf(await runQueueWork(order === 'key' ? { ...own, keys } : own))
    })
  }
}

function measuredOf(throughput: Throughput): Measured {
  const { messagesPerS: value, series = [] } = throughput
  return { value, details: throughputDetails(throughput), series }
}

function figureName(what: string): string {
  return `work and acknowledge, ${messageBytes} B, ${what}`
}
