import { CommanderError } from 'commander'
import { measureBuilds } from './lib/builds.js'
import { type BenchOptions, benchCommand } from './lib/options.js'
import { runBench } from './lib/run.js'
import { compareReports, renderComparison } from './report/compare.js'
import { type Report, readReport } from './report/report.js'
import { scenarios } from './scenarios/index.js'

/** Exit codes: 0 for success, 1 for a failure or a regression, 2 for wrong usage, 130 for an interruption. */
async function main(names: readonly string[], options: BenchOptions): Promise<void> {
  if (options.base !== undefined) {
    const { before, after } = await measureBuilds({ base: options.base }, names, options)
    compare(before, after, options)
    return
  }
  // Read before the run: an invalid report must not end a run of minutes.
  const before = options.compare === undefined ? undefined : await readReport(options.compare)
  const after =
    options.with === undefined ? await runBench(names, scenarios, options) : await readReport(options.with)
  if (before !== undefined) compare(before, after, options)
  if (options.with === undefined && after.failures.length > 0) process.exitCode = 1
}

function compare(before: Report, after: Report, { failOnRegression }: BenchOptions): void {
  const comparison = compareReports(before, after)
  console.log(`\n${renderComparison(comparison)}`)
  const isWorse = comparison.differences.some(({ verdict }) => verdict === 'worse')
  if (failOnRegression && isWorse) process.exitCode = 1
}

try {
  await benchCommand(scenarios).action(main).parseAsync()
} catch (error) {
  // Commander has already printed the error.
  if (!(error instanceof CommanderError))
    console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : 1
}
