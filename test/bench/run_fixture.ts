import { runBench } from '../../bench/lib/run.js'
import type { Scenario } from '../../bench/lib/scenario.js'

/** Runs scenarios that measure nothing: one that ends at once, one that fails, and with `stay` one that never ends. */
const [data = '', json = '', stay] = process.argv.slice(2)

const figure = { name: 'a figure', unit: 's', better: 'lower', values: [1], details: {} } as const
const scenarios: Scenario[] = [
  { name: 'fails', summary: '', byDefault: true, run: () => Promise.reject(new Error('no broker')) },
  { name: 'works', summary: '', byDefault: true, run: async (context) => context.add(figure) },
  { name: 'never', summary: '', byDefault: false, run: async () => {} },
]
if (stay !== undefined) {
  scenarios.push({
    name: 'stays',
    summary: '',
    byDefault: true,
    run: (context) => {
      context.progress('waiting')
      return new Promise<void>((resolve) => setTimeout(resolve, 60_000))
    },
  })
}

await runBench([], scenarios, { quick: true, gigabytes: 1, data, json })
