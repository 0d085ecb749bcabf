import { type BenchContext, latencyDetails, type Scenario } from '../lib/scenario.js'
import { runLatency } from '../sdk/sdk.js'

const messagesPerS = 1_000
const messageBytes = 100

/** How long a message is under way when there is no hurry. */
export const latencyScenario: Scenario = {
  name: 'latency',
  summary: 'from publish to receipt at 1,000 messages/s',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const { interval, dataRoot } = context
    const pipe = await context.pipeLatency({ messageBytes, messagesPerS })
    await context.measure(
      {
        name: `p99 latency, ${messageBytes} B, ${messagesPerS} messages/s`,
        unit: 'ms',
        better: 'lower',
        pipe,
        target: 8,
      },
      async () => {
        const latency = await runLatency({ messageBytes, messagesPerS, dataRoot, ...interval })
        return { value: latency.p99Ms, details: latencyDetails(latency) }
      },
    )
  },
}
