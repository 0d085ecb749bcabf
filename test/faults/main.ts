import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import type { Campaign } from './campaign.js'
import { campaigns } from './campaigns.js'
import { plants } from './planted/plants.js'
import { reportText } from './report.js'
import { type CampaignReport, runCampaign } from './run_campaign.js'

interface Options {
  readonly minutes?: number
  readonly seed: number
  readonly rounds?: number
  readonly round?: number
  readonly plant?: string
  readonly json?: string
  readonly evidence: string
  readonly list?: true
}

/** `npm run faults`: runs campaigns, all or the named ones, and prints their findings. */
async function main(): Promise<void> {
  const program = new Command('faults')
    .description(
      'Fault campaigns against a real broker. As root on Linux most faults can be made; others are skipped.',
    )
    .argument('[campaign...]', 'which (default: all)')
    .option('--minutes <number>', 'begin no round after this time, shared evenly by the campaigns', number)
    .option('--seed <number>', 'repeats the plan of a run', number, Math.floor(Math.random() * 2 ** 32))
    .option('--rounds <number>', 'rounds of each campaign (default: as many as a full campaign has)', number)
    .option('--round <number>', 'only this round, as a finding names it', number)
    .option('--plant <fault>', `a fault in the program, to see it found: ${[...plants.keys()].join(', ')}`)
    .option(
      '--evidence <dir>',
      'where histories of rounds with findings are kept',
      join(tmpdir(), 'millrace-faults'),
    )
    .option('--json <file>', 'write the reports as JSON')
    .option('--list', 'list the campaigns and exit')
    .parse()
  const options = program.opts<Options>()
  if (options.list) return list()
  if (options.plant !== undefined && !plants.has(options.plant))
    program.error(`unknown fault ${options.plant}`)
  const reports = await runAll(
    program.args.map((name) => find(program, name)),
    options,
  )
  if (options.json !== undefined) await writeFile(options.json, JSON.stringify(reports, null, 2))
  process.exitCode = reports.some(({ findings }) => findings.length > 0) ? 1 : 0
}

async function runAll(named: readonly Campaign[], options: Options): Promise<CampaignReport[]> {
  const chosen = named.length > 0 ? named : campaigns
  await mkdir(options.evidence, { recursive: true })
  const endMs = performance.now() + (options.minutes ?? Number.POSITIVE_INFINITY) * 60_000
  const reports: CampaignReport[] = []
  for (const [index, campaign] of chosen.entries()) {
    const nowMs = performance.now()
    const untilMs = nowMs + (endMs - nowMs) / (chosen.length - index)
    const report = await runCampaign(campaign, {
      seed: options.seed,
      rounds: options.rounds,
      onlyRound: options.round,
      untilMs,
      planted: options.plant,
      stopAtFinding: options.plant !== undefined,
      evidenceDir: options.evidence,
      log: (line) => console.error(line),
    })
    console.log(`${reportText(report)}\n`)
    reports.push(report)
  }
  return reports
}

function find(program: Command, name: string): Campaign {
  const campaign = campaigns.find((one) => one.name === name)
  return (
    campaign ??
    program.error(`unknown campaign ${name}; there are ${campaigns.map((c) => c.name).join(', ')}`)
  )
}

function list(): void {
  for (const { name, title, rounds } of campaigns)
    console.log(`${name.padEnd(20)} ${title} (${rounds.full} rounds)`)
}

function number(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('expected a number from 0')
  return value
}

await main()
process.exit()
