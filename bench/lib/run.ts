import { rmSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { constants, loadavg, tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { renderFigures } from '../report/markdown.js'
import { ReportRecorder } from '../report/recorder.js'
import type { Report } from '../report/report.js'
import { writeReports } from '../report/write.js'
import { describeMachine, machineLines } from './machine.js'
import { type BenchOptions, chooseScenarios, chosenContenders } from './options.js'
import { Progress } from './progress.js'
import { BenchContext, type RecordedFigure, type Scenario } from './scenario.js'
import { median } from './statistics.js'
import { detailsLine, shown } from './table.js'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** What of the options a run needs. */
export type RunOptions = Pick<BenchOptions, 'quick' | 'gigabytes'> & Partial<BenchOptions>

/**
 * Runs scenarios one after the other, prints the figures and writes the reports. A scenario that fails is reported as
 * failed, and the others run on. On SIGINT, SIGTERM and SIGHUP what has been measured is printed and written, and the process ends.
 * @param names of the scenarios to run; none for those that run by default
 * @throws Error when the data folder or a report can't be written
 */
export async function runBench(
  names: readonly string[],
  scenarios: readonly Scenario[],
  options: RunOptions,
): Promise<Report> {
  const chosen = chooseScenarios(names, scenarios)
  const parent = resolve(options.data ?? tmpdir())
  await mkdir(parent, { recursive: true })
  const dataRoot = await mkdtemp(join(parent, 'millrace-bench-'))
  const chosenNames = chosen.map(({ name }) => name)
  const progress = new Progress(process.stderr, chosenNames)
  const { recorder, context } = prepare(dataRoot, chosenNames, progress, options)
  const finish = (complete: boolean): Report => {
    progress.end()
    const report = recorder.report(complete)
    console.log(`\n${renderFigures(report)}`)
    for (const file of writeReports(report, options)) console.error(`wrote ${file}`)
    return report
  }
  const interrupt = (signal: NodeJS.Signals): void => {
    // At the very end, when the servers of contenders have been killed by who started them.
    process.on('exit', () => removeFolder(dataRoot))
    console.error(`\n${signal}: what has been measured so far:`)
    finish(false)
    process.exit(128 + constants.signals[signal])
  }
  for (const signal of signals) process.once(signal, interrupt)
  try {
    for (const scenario of chosen) {
      progress.next()
      await context.run(scenario)
    }
  } finally {
    removeFolder(dataRoot)
    for (const signal of signals) process.off(signal, interrupt)
  }
  return finish(true)
}

function prepare(
  dataRoot: string,
  scenarios: readonly string[],
  progress: Progress,
  options: RunOptions,
): { readonly recorder: ReportRecorder; readonly context: BenchContext } {
  const { quick, gigabytes, runs = quick ? 1 : 3, sample } = options
  const contenders = chosenContenders(options)
  const machine = describeMachine(dataRoot)
  const loadBefore = loadavg()[0] ?? 0
  const chosen = contenders === undefined ? {} : { contenders }
  const context = new BenchContext({
    quick,
    runs,
    dataRoot,
    gigabytes,
    ...(sample === undefined ? {} : { sample }),
    ...chosen,
    onFigure: (figure) => {
      recorder.addFigure(figure)
      progress.log(figureLine(figure))
    },
    onProgress: (line) => progress.show(line),
    onContender: (entry) => {
      recorder.addContender(entry)
      if (entry.skipped !== undefined) {
        progress.log(`  ${entry.id} skipped: ${entry.skipped.reason} (${entry.skipped.install})`)
      }
    },
    onFailure: (failure) => {
      recorder.addFailure(failure)
      progress.log(`  FAILED: ${[failure.scenario, failure.what ?? []].flat().join(', ')}: ${failure.error}`)
    },
  })
  const settings = {
    quick,
    runs,
    ...context.interval,
    gigabytes,
    // Not its path, which is nobody's business.
    ...(sample === undefined ? {} : { sample: basename(sample) }),
    scenarios,
    ...chosen,
  }
  const recorder = new ReportRecorder(machine, loadBefore, settings)
  for (const [name, value] of machineLines(machine)) console.log(`${`${name}:`.padEnd(12)}${value}`)
  console.log(`${'load before:'.padEnd(12)} ${shown(loadBefore)}\n`)
  return { recorder, context }
}

function figureLine(figure: RecordedFigure): string {
  const { name, contender, unit, values } = figure
  const details = detailsLine(figure)
  const who = contender === undefined ? '' : `${contender}, `
  return `  ${who}${name}: ${shown(median(values))} ${unit}${details === '' ? '' : `  (${details})`}`
}

/** Processes that are about to end may still write there. */
function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}
