import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { joinReports, type Report, readReport } from '../report/report.js'
import type { BenchOptions } from './options.js'

const thisBuild = fileURLToPath(new URL('../../../', import.meta.url))

/** The reports of two builds that were measured in turns. */
export interface BuildReports {
  readonly before: Report
  readonly after: Report
}

/** The builds to compare: folders of the project, each with its `dist`. */
export interface Builds {
  readonly base: string
  readonly own?: string
}

/**
 * Measures another build of Millrace and this one in turns, so that changes of the machine affect both. Each run is a
 * process of the bench of that build, and measures each figure once. The order of the two changes from run to run,
 * because the first of two often finds a cooler machine.
 * @param names of the scenarios; both builds must have them
 * @throws Error when a folder has no built bench, or when a run fails
 */
export async function measureBuilds(
  { base, own = thisBuild }: Builds,
  names: readonly string[],
  options: Pick<BenchOptions, 'quick'> & Partial<BenchOptions>,
): Promise<BuildReports> {
  const { quick, runs = quick ? 1 : 3, data = tmpdir() } = options
  const mains = [base, own].map(mainOf)
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-builds-'))
  const reports: readonly Report[][] = [[], []]
  try {
    for (let run = 0; run < runs; run++) {
      for (const build of run % 2 === 0 ? [0, 1] : [1, 0]) {
        console.error(`run ${run + 1} of ${runs}, ${build === 0 ? `the build in ${base}` : 'this build'}`)
        const json = join(folder, `${build}-${run}.json`)
        const args = ['--runs', '1', '--only-millrace', '--data', resolve(data), '--json', json]
        await runBuild([mains[build] as string, ...names, ...args, ...(quick ? ['--quick'] : [])])
        reports[build]?.push(await readReport(json))
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  const [before, after] = reports.map(joinReports)
  return { before: before as Report, after: after as Report }
}

/** @throws Error */
function mainOf(build: string): string {
  const main = join(resolve(build), 'dist', 'bench', 'main.js')
  if (!existsSync(main))
    throw new Error(`${build} has no built bench (${main} is missing): run "npm run build" in that folder`)
  return main
}

/** The figures go to stderr: stdout gets the comparison alone. @throws Error when the process fails */
function runBuild(args: readonly string[]): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 2, 2] })
    child.on('error', fail)
    child.on('exit', (code, signal) => {
      if (code === 0) done()
      else fail(new Error(`${args[0]} ended with ${signal ?? `exit code ${code}`}`))
    })
  })
}
