import { freshSeed } from '../helpers/random.js'
import { suite } from '../helpers/suite.js'
import type { Campaign } from './campaign.js'
import { runCampaign } from './run_campaign.js'

const cleanupMs = 20_000

/** Creates a test of the short rounds of a campaign, and runs it. */
export function testShortCampaign(campaign: Campaign): void {
  const { name, title, rounds, roundDeadlineMs } = campaign
  const test = suite(`faults/${name}`)
  test(
    title,
    async ({ tempDir, skip }) => {
      const seed = freshSeed()
      const lines: string[] = []
      const report = await runCampaign(campaign, {
        seed,
        rounds: rounds.short,
        short: true,
        evidenceDir: await tempDir(),
        log: (line) => lines.push(line),
      })
      if (report.skipped !== undefined) skip(report.skipped)
      const problems = [
        ...report.findings.map(({ check, evidence }) => `${check}: ${evidence}`),
        ...report.unknown.map((reason) => `proves nothing, ${reason}`),
      ]
      if (report.rounds < rounds.short) problems.push(`only ${report.rounds} of ${rounds.short} rounds ran`)
      if (problems.length > 0)
        throw new Error(`seed ${seed} (MILLRACE_TEST_SEED repeats it)\n${problems.join('\n')}`)
    },
    { deadlineMs: rounds.short * roundDeadlineMs + cleanupMs },
  )
  test.run()
}
