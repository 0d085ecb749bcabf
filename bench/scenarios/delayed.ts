import type { BenchContext, Measured, Scenario } from '../lib/scenario.js'
import { runDelayed } from '../sdk/work.js'

const messageBytes = 100
const firedPerS = 10_000
const armSecondsTarget = 20
const lateMsTarget = 50

/** Delayed messages: how long it takes to arm many, and how late others come that are due meanwhile. */
export const delayedScenario: Scenario = {
  name: 'delayed',
  summary: 'messages for later: time to arm them, and how late they come at 10,000/s',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { dataRoot, quick } = context
    const armed = quick ? 20_000 : 1_000_000
    const work = { messageBytes, armed, fired: quick ? 10_000 : 100_000, firedPerS, dataRoot }
    const late: Measured[] = []
    const name = `arm ${armed.toLocaleString('en')} delayed messages, ${messageBytes} B`
    const goal = quick ? {} : { target: armSecondsTarget }
    await context.measure({ name, unit: 's', better: 'lower', ...goal }, async () => {
      const { armMs, late: latency, brokerRssBytes } = await runDelayed(work)
      const details = { 'MB of memory broker': brokerRssBytes / 1e6 }
      late.push({ value: latency.p99Ms, details, latency })
      return { value: armMs / 1000, details }
    })
    const lateName = `delayed messages at ${firedPerS.toLocaleString('en')}/s, p99 from due time to receipt`
    let run = 0
    await context.measure({ name: lateName, unit: 'ms', better: 'lower', target: lateMsTarget }, async () => {
      const measured = late[run++ % late.length]
      if (measured === undefined) throw new Error('nothing was measured')
      return measured
    })
  },
}
