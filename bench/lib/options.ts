import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { suggestion } from '../../protocol/index.js'
import type { Scenario } from './scenario.js'

/** What the command line gives. */
export interface BenchOptions {
  readonly quick: boolean
  readonly runs?: number
  readonly data: string
  readonly gigabytes: number
  readonly sample?: string
  readonly contenders?: readonly string[]
  readonly onlyMillrace: boolean
  readonly json?: string
  readonly report?: string
  readonly compare?: string
  readonly with?: string
  readonly base?: string
  readonly failOnRegression: boolean
}

/**
 * The command line of the bench; the caller adds the action.
 * @throws CommanderError from `parseAsync` instead of ending the process
 */
export function benchCommand(scenarios: readonly Scenario[]): Command {
  const names = scenarios.map(({ name }) => name)
  const contenders = [...new Set(scenarios.flatMap((scenario) => scenario.contenders ?? []))]
  return new Command('bench')
    .description(
      'Measures Millrace through its public SDK, compared with a minimal pipe, the bare disk and its peers.',
    )
    .argument(
      '[scenario...]',
      `what to measure: ${names.join(', ')}`,
      (name, before: readonly string[] = []) => [...before, known('scenario', name, names)],
    )
    .option('--quick', 'short runs, to check that everything works', false)
    .option('--runs <number>', 'number of runs for each figure (default 3, with --quick 1)', positiveInteger)
    .option('--data <folder>', 'folder on the disk to measure on', tmpdir())
    .option('--gigabytes <number>', 'size of the log in scenarios that fill one', positiveInteger, 10)
    .option(
      '--sample <file>',
      'publish the lines of this file in scenarios with real data; .gz is decompressed',
      (file) => resolve(file),
    )
    .option(
      '--contenders <ids>',
      `contenders in scenarios that compare several: ${contenders.join(',')}`,
      (ids) => ids.split(',').map((id) => known('contender', id.trim(), contenders)),
    )
    .addOption(
      new Option('--only-millrace', 'no peers: Millrace and the pipe').conflicts('contenders').default(false),
    )
    .option('--json <file>', 'also write the result to this file as JSON')
    .option('--report <folder>', 'also write report.json, report.html and report.md there')
    .option('--compare <file>', 'compare the result with an earlier run, written by --json')
    .option('--with <file>', 'measure nothing: compare this result with that of --compare')
    .addOption(
      new Option(
        '--base <folder>',
        'measure Millrace alone, in turns with the build in this folder, and compare the two',
      ).conflicts(['compare', 'with', 'json', 'report', 'contenders', 'gigabytes', 'sample']),
    )
    .option('--fail-on-regression', 'exit with 1 when a figure is worse beyond the noise', false)
    .exitOverride()
    .addHelpText('after', () => `\nScenarios:\n${scenarios.map(helpLine).join('\n')}`)
}

/** Ids of the contenders that take part; undefined for all. */
export function chosenContenders(
  options: Partial<Pick<BenchOptions, 'contenders' | 'onlyMillrace'>>,
): readonly string[] | undefined {
  return options.onlyMillrace ? ['millrace', 'pipe'] : options.contenders
}

/** The scenarios of these names, in this order; those that run by default when there are none. */
export function chooseScenarios(
  names: readonly string[],
  scenarios: readonly Scenario[],
): readonly Scenario[] {
  if (names.length === 0) return scenarios.filter(({ byDefault }) => byDefault)
  return names.flatMap((name) => scenarios.filter((scenario) => scenario.name === name))
}

/** @throws InvalidArgumentError naming the nearest name for one that is unknown */
function known(kind: string, name: string, names: readonly string[]): string {
  if (names.includes(name)) return name
  const all = `expected one of ${names.join(', ')}`
  throw new InvalidArgumentError(`No ${kind} is named "${name}", ${all}${suggestion(name, names)}`)
}

function positiveInteger(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number from 1.')
  return value
}

function helpLine({ name, summary, byDefault }: Scenario): string {
  return `  ${name.padEnd(14)}${summary}${byDefault ? '' : ' (only when named)'}`
}
