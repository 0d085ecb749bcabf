import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RunningTest, withDeadline } from '../helpers/context.js'
import { Random } from '../helpers/random.js'
import { type Campaign, type Finding, FoundError, type RoundResult } from './campaign.js'
import { type Figure, figureOf } from './figures.js'

export interface CampaignPlan {
  readonly seed: number
  /** Most rounds; default those of a full campaign. */
  readonly rounds?: number | undefined
  /** No round begins after this time of the monotonic clock, in ms. */
  readonly untilMs?: number | undefined
  /** Only this round, as named by a finding. */
  readonly onlyRound?: number | undefined
  readonly planted?: string | undefined
  readonly short?: boolean
  /** Ends after the first round with a finding. */
  readonly stopAtFinding?: boolean
  /** Folder for the evidence of rounds with findings. */
  readonly evidenceDir: string
  readonly log: (line: string) => void
}

export interface RoundFinding extends Finding {
  readonly round: number
}

export interface CampaignReport {
  readonly name: string
  readonly seed: number
  readonly skipped?: string
  readonly rounds: number
  /** Rounds in which nothing succeeded, with the reason. */
  readonly unknown: readonly string[]
  readonly operations: number
  readonly faults: Readonly<Record<string, number>>
  readonly findings: readonly RoundFinding[]
  readonly figures: Readonly<Record<string, Figure>>
  readonly seconds: number
}

/** Runs the rounds of a campaign, one after the other, each with its own seed. */
export async function runCampaign(campaign: Campaign, plan: CampaignPlan): Promise<CampaignReport> {
  const startedAt = performance.now()
  const { seed, rounds = campaign.rounds.full, untilMs = Number.POSITIVE_INFINITY, onlyRound } = plan
  const skipped = await campaign.unavailable()
  const tally = new Tally()
  const seeds = new Random(seed)
  for (let index = 0; skipped === undefined && index < rounds && performance.now() < untilMs; index++) {
    const roundSeed = seeds.uint32()
    if (onlyRound !== undefined && index !== onlyRound) continue
    const result = await runRound(campaign, plan, index, roundSeed)
    tally.add(index, result)
    const found = result.findings.length === 0 ? '' : `, ${result.findings.length} FINDINGS`
    plan.log(`${campaign.name}: round ${index + 1} of ${rounds}, ${result.operations} operations${found}`)
    for (const { check, evidence } of result.findings) plan.log(`  ${check}: ${evidence}`)
    if (plan.stopAtFinding && result.findings.length > 0) break
  }
  const seconds = (performance.now() - startedAt) / 1_000
  return {
    name: campaign.name,
    seed,
    ...(skipped === undefined ? {} : { skipped }),
    ...tally.report,
    seconds,
  }
}

async function runRound(
  campaign: Campaign,
  plan: CampaignPlan,
  index: number,
  seed: number,
): Promise<RoundResult> {
  const evidenceDir = join(plan.evidenceDir, `${campaign.name}-${plan.seed}-${index}`)
  await rm(evidenceDir, { recursive: true, force: true })
  await mkdir(evidenceDir, { recursive: true })
  const test = new RunningTest()
  let result: RoundResult
  try {
    result = await withDeadline(campaign.roundDeadlineMs, 'the round did not end', () =>
      campaign.round({
        tempDir: test.tempDir,
        defer: test.defer,
        skip: test.skip,
        random: test.random,
        signal: test.signal,
        index,
        rng: new Random(seed),
        evidenceDir,
        planted: plan.planted,
        short: plan.short ?? false,
        log: plan.log,
      }),
    )
  } catch (error) {
    const evidence = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const check = error instanceof FoundError ? error.check : 'round-failed'
    result = { operations: 0, faults: {}, findings: [{ check, evidence }] }
  }
  await test.cleanUp()
  if (result.findings.length === 0) await rm(evidenceDir, { recursive: true })
  else
    await writeFile(join(evidenceDir, 'findings.json'), JSON.stringify({ seed, index, ...result }, null, 2))
  return result
}

class Tally {
  readonly #faults: Record<string, number> = {}
  readonly #samples: Record<string, number[]> = {}
  readonly #findings: RoundFinding[] = []
  readonly #unknown: string[] = []
  #rounds = 0
  #operations = 0

  add(round: number, { operations, faults, findings, unknown, samples = {} }: RoundResult): void {
    this.#rounds++
    this.#operations += operations
    for (const [name, count] of Object.entries(faults)) this.#faults[name] = (this.#faults[name] ?? 0) + count
    for (const [name, values] of Object.entries(samples)) {
      this.#samples[name] ??= []
      for (const value of values) this.#samples[name].push(value)
    }
    for (const finding of findings) this.#findings.push({ round, ...finding })
    if (unknown !== undefined) this.#unknown.push(`round ${round}: ${unknown}`)
  }

  get report(): Omit<CampaignReport, 'name' | 'seed' | 'seconds' | 'skipped'> {
    const measured = Object.entries(this.#samples).filter(([, values]) => values.length > 0)
    return {
      rounds: this.#rounds,
      unknown: this.#unknown,
      operations: this.#operations,
      faults: this.#faults,
      findings: this.#findings,
      figures: Object.fromEntries(measured.map(([name, values]) => [name, figureOf(values)])),
    }
  }
}
