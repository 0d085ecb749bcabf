import { type BenchContext, type Scenario, throughputDetails } from '../lib/scenario.js'
import { type FanOut, runFanOut } from '../sdk/fan_out.js'

const groups = 10
const messageBytes = 100
/** The groups receive ten times this in total. */
const messagesPerS = 20_000

/**
 * One publisher, and ten groups that each receive everything and acknowledge by batch: at a rate that all can follow,
 * and
 * at full speed. The figures count the messages of all groups; their details give the lag of the slowest group.
 */
export const fanOutScenario: Scenario = {
  name: 'fan-out',
  summary: 'one publisher, ten groups that each receive everything',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { dataRoot, shortInterval: interval } = context
    for (const rate of [messagesPerS, undefined]) {
      const speed = rate === undefined ? 'full speed' : `${rate.toLocaleString('en')} messages/s`
      const name = `fan-out to ${groups} groups, ${messageBytes} B, ${speed}`
      await context.measure({ name, unit: 'messages/s', better: 'higher' }, async () => {
        const fanOut = await runFanOut({ groups, messageBytes, messagesPerS: rate, dataRoot, ...interval })
        const { messagesPerS: value, series = [] } = fanOut
        return { value, details: fanOutDetails(fanOut), series }
      })
    }
  },
}

function fanOutDetails(fanOut: FanOut): Readonly<Record<string, number | string>> {
  const { publishedPerS, slowestBehind, caughtUpMs } = fanOut
  return {
    'published messages/s': publishedPerS,
    'messages the slowest group was behind': slowestBehind,
    'ms until all had everything': caughtUpMs,
    ...throughputDetails(fanOut),
  }
}
