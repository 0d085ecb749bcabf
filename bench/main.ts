import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { describeMachine, machineLine } from './lib/machine.js'
import { BenchContext, type Failure, type RecordedFigure, type Scenario } from './lib/scenario.js'
import { median } from './lib/statistics.js'
import { detailsLine, shown, table } from './lib/table.js'
import { scenarios } from './scenarios/index.js'

interface Options {
  readonly quick: boolean
  readonly runs?: number
  readonly data: string
  readonly gigabytes: number
  readonly json?: string
}

const program = new Command('bench')
  .description('Measures Millrace through its public SDK, beside a throw-away pipe and the bare disk.')
  .argument('[scenario...]', `what to measure: ${scenarios.map(({ name }) => name).join(', ')}`)
  .option('--quick', 'short runs, to see that everything works', false)
  .option('--runs <number>', 'how often each figure is measured (default 3, with --quick 1)', positiveInteger)
  .option('--data <folder>', 'folder on the disk to measure on', tmpdir())
  .option('--gigabytes <number>', 'size of the log in the scenario size', positiveInteger, 10)
  .option('--json <file>', 'also write the result here')
  .addHelpText('after', () => `\nScenarios:\n${scenarios.map(helpLine).join('\n')}`)
  .action(main)

async function main(names: readonly string[], options: Options): Promise<void> {
  const chosen = choose(names)
  const machine = describeMachine()
  console.log(`${machineLine(machine)}\nload before: ${shown(loadavg()[0] ?? 0)}\n`)
  await mkdir(options.data, { recursive: true })
  const dataRoot = await mkdtemp(join(resolve(options.data), 'millrace-bench-'))
  process.once('SIGINT', () => {
    rmSync(dataRoot, { recursive: true, force: true })
    process.exit(130)
  })
  const figures: RecordedFigure[] = []
  const failures: Failure[] = []
  const context = new BenchContext({
    quick: options.quick,
    runs: options.runs ?? (options.quick ? 1 : 3),
    dataRoot,
    gigabytes: options.gigabytes,
    onFigure: (figure) => {
      figures.push(figure)
      console.error(`${figure.name}: ${shown(median(figure.values))} ${figure.unit}  ${detailsLine(figure)}`)
    },
    onProgress: (line) => console.error(line),
    onFailure: (failure) => {
      failures.push(failure)
      console.error(`${[failure.scenario, failure.what].filter(Boolean).join(', ')} FAILED: ${failure.error}`)
    },
  })
  const startedAt = new Date().toISOString()
  try {
    for (const scenario of chosen) await context.run(scenario)
  } finally {
    await rm(dataRoot, { recursive: true, force: true })
    console.log(`\n${table(figures)}`)
  }
  if (options.json !== undefined) {
    const result = { startedAt, machine, quick: context.quick, runs: context.runs, figures }
    await writeFile(options.json, `${JSON.stringify(result, null, 2)}\n`)
  }
  if (failures.length > 0) process.exitCode = 1
}

function choose(names: readonly string[]): readonly Scenario[] {
  if (names.length === 0) return scenarios.filter(({ byDefault }) => byDefault)
  return names.map((name) => {
    const scenario = scenarios.find((candidate) => candidate.name === name)
    if (scenario !== undefined) return scenario
    const known = scenarios.map((candidate) => candidate.name).join(', ')
    return program.error(`no scenario is named ${name}, expected one of ${known}`, { exitCode: 2 })
  })
}

function positiveInteger(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number from 1.')
  return value
}

function helpLine({ name, summary, byDefault }: Scenario): string {
  return `  ${name.padEnd(12)}${summary}${byDefault ? '' : ' (only when named)'}`
}

await program.parseAsync()
