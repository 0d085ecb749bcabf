import type { BenchContext, Scenario } from '../lib/scenario.js'
import { type MicroCase, measureCase } from '../micro/cases.js'
import { codecCases } from '../micro/codec.js'
import { withJournalCases } from '../micro/journal.js'
import { withIndexCases } from '../micro/log_index.js'

/** Hot paths in isolation, in the process of the bench: they explain changes of the other figures. */
export const microScenario: Scenario = {
  name: 'micro',
  summary: 'record batches, frames, checksum, journal and index alone, without a broker',
  byDefault: true,
  async run(context: BenchContext): Promise<void> {
    const measureMs = context.quick ? 20 : 200
    const measure = async (cases: readonly MicroCase[]): Promise<void> => {
      for (const one of cases)
        await context.measure({ name: one.name, unit: one.unit, better: 'higher' }, async () => ({
          value: await measureCase(one, measureMs),
        }))
    }
    await measure(codecCases())
    await withJournalCases(context.dataRoot, measure)
    await withIndexCases(context.dataRoot, measure)
  },
}
