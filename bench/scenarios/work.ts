import { type BenchContext, type Scenario, throughputDetails } from '../lib/scenario.js'
import { runQueueWork } from '../sdk/work.js'

const messageBytes = 100
const concurrency = 1_000
const keys = 10_000

interface Case {
  readonly name: string
  readonly order: 'none' | 'key'
  readonly isPoisoned: boolean
  /** Messages/s that the project wants to reach. */
  readonly target?: number
}

const cases: readonly Case[] = [
  { name: 'no order', order: 'none', isPoisoned: false, target: 150_000 },
  {
    name: `in the order of ${keys.toLocaleString('en')} keys`,
    order: 'key',
    isPoisoned: false,
    target: 100_000,
  },
  { name: 'no order, a message at the head that always fails', order: 'none', isPoisoned: true },
]

/** One worker process of a queue group that handles what waits, 1,000 messages at a time, each acknowledged by itself. */
export const workScenario: Scenario = {
  name: 'work',
  summary: 'a queue group: one worker, each message leased, handled and acknowledged by itself',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { dataRoot, quick, shortInterval: interval } = context
    const messages = quick ? 500_000 : 3_000_000
    for (const { name, order, isPoisoned, target } of cases) {
      const figure = `work and acknowledge, ${messageBytes} B, ${name}`
      const goal = target === undefined ? {} : { target }
      await context.measure({ name: figure, unit: 'messages/s', better: 'higher', ...goal }, async () => {
        const work = { messageBytes, messages, concurrency, order, isPoisoned, dataRoot, ...interval }
        const throughput = await runQueueWork(order === 'key' ? { ...work, keys } : work)
        const { messagesPerS: value, series = [] } = throughput
        return { value, details: throughputDetails(throughput), series }
      })
    }
  },
}
