import type { Command } from 'commander'
import { exitCodes } from '../errors.js'
import { printJson } from '../output.js'

interface RepairCommandOptions {
  readonly data: string
  readonly check?: true
  readonly marker?: true
  readonly missing?: true
  readonly json?: true
}

interface RepairResult {
  /** Changed files. */
  readonly done: readonly string[]
  /** Damage that cannot be repaired. */
  readonly damage: readonly string[]
}

export function addRepair(program: Command): void {
  program
    .command('repair')
    .description('verify and repair the data folder of a stopped broker')
    .option('-d, --data <dir>', 'data folder', 'millrace-data')
    .option('--check', 'only verify the files, change nothing')
    .option('--marker', 'rewrite the marker file, even if it names another version')
    .option('--missing', 'continue without missing databases of the journal: their messages are lost')
    .option('--json', 'print JSON')
    .action(repair)
}

async function repair(options: RepairCommandOptions): Promise<void> {
  const result = options.check ? await check(options.data) : await repairAndVerify(options)
  if (options.json) printJson(result)
  else for (const line of [...result.done, ...result.damage]) process.stdout.write(`${line}\n`)
  if (result.damage.length > 0) process.exitCode = exitCodes.failed
}

async function check(dir: string): Promise<RepairResult> {
  const { checkFolder } = await import('../../broker/index.js')
  const problems = await checkFolder(dir)
  const damage = problems.map(({ database, file, problem }) => `${database}/${file}: ${problem}`)
  return { done: damage.length === 0 ? ['no file is damaged'] : [], damage }
}

async function repairAndVerify({ data, marker, missing }: RepairCommandOptions): Promise<RepairResult> {
  const { repairFolder, verifyRecords } = await import('../../broker/index.js')
  const done = await repairFolder(data, { marker, missing })
  const { partitions, damage } = await verifyRecords(data)
  const verified = `all records of ${partitions} partitions were read`
  return { done: [...done, verified], damage }
}
