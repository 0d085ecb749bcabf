import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { spawnMillrace, spawnNode } from '../../helpers/spawn.js'
import { type BaseFolder, makeBaseFolder, planFor } from '../bit_rot/base_folder.js'
import { type Flip, fileClasses, flipSomewhere } from '../bit_rot/flip.js'
import { judge } from '../bit_rot/judge.js'
import type { Observed } from '../bit_rot/model.js'
import { survey } from '../bit_rot/survey.js'
import type { Campaign, Finding, RoundContext, RoundResult } from '../campaign.js'
import { BrokerProcess } from '../trial/broker_process.js'

const flipsPerRound = { full: 10, short: 4 }
/** One round in so many has a journal of which reclaim has given most back. */
const reclaimEvery = 5

const plantedPath = fileURLToPath(new URL('../planted/main.js', import.meta.url))

/** What became of a flip. */
type Outcome = 'harmless' | 'mended or reported' | 'refused, then repaired' | 'found'

interface Trial {
  readonly flip: Flip
  readonly outcome: Outcome
  readonly findings: readonly Finding[]
  readonly operations: number
  readonly startMs: number
}

/** Flips in the files of closed data folders: nothing wrong is served, nothing is lost unsaid, all else is served. */
export const bitRot: Campaign = {
  name: 'bit-rot',
  title: 'flipped bits, bytes and sectors in the files of a closed data folder',
  rounds: { full: 50, short: 2 },
  roundDeadlineMs: 180_000,
  unavailable: async () => undefined,
  round,
}

async function round(context: RoundContext): Promise<RoundResult> {
  const dir = await context.tempDir()
  const base = join(dir, 'base')
  const afterCrash = context.index % 2 === 1
  const withReclaim = !context.short && context.index % reclaimEvery === reclaimEvery - 1
  const folder = await makeBaseFolder(context, base, { afterCrash, withReclaim })
  const trials: Trial[] = []
  const flips = context.short ? flipsPerRound.short : flipsPerRound.full
  for (let n = 0; n < flips; n++) {
    const copy = join(dir, `flip-${n}`)
    await cp(base, copy, { recursive: true })
    const fileClass = fileClasses[(context.index * flips + n) % fileClasses.length] as string
    const flip = await flipSomewhere(copy, fileClass, context.rng)
    if (flip === undefined) continue
    const trial = await tryFlip(context, copy, folder, flip)
    context.log(`${flip.fileClass}: ${flip.text}: ${trial.outcome}`)
    trials.push(trial)
    // With the text of the flip, the folder as it was is all that it takes to try it again.
    if (trial.findings.length > 0) await cp(base, join(context.evidenceDir, 'base'), { recursive: true })
    await rm(copy, { recursive: true, force: true })
  }
  return resultOf(trials)
}

async function tryFlip(context: RoundContext, dir: string, folder: BaseFolder, flip: Flip): Promise<Trial> {
  const { expected, afterCrash } = folder
  const operations = expected.reduce((sum, { records }) => sum + records.length, 0)
  const trial = (outcome: Outcome, findings: readonly Finding[], startMs = 0): Trial => ({
    flip,
    outcome: findings.length > 0 ? 'found' : outcome,
    findings: findings.map(({ check, evidence }) => ({
      check,
      evidence: `${flip.text} (after a ${afterCrash ? 'crash' : 'drain'}): ${evidence}`,
    })),
    operations,
    startMs,
  })
  let broker = await startOrRefusal(context, dir)
  let repairText: string | undefined
  if (typeof broker === 'string') {
    const problem = refusalProblem(broker)
    if (problem !== undefined) return trial('found', [problem])
    const repaired = await repair(context, dir)
    if (typeof repaired !== 'string') return trial('found', [repaired])
    repairText = repaired
    broker = await startOrRefusal(context, dir)
    if (typeof broker === 'string') return trial('found', [{ check: 'not-repairable', evidence: broker }])
  }
  try {
    const observed = await survey(broker, expected, context.planted)
    const findings = judge(expected, observed, afterCrash).map(({ check, evidence }) => ({
      check,
      evidence: `${evidence}; ${repairText ?? 'not repaired'}; the health says: ${observed.reasons.join('; ').slice(0, 1_000)}`,
    }))
    const outcome = repairText !== undefined ? 'refused, then repaired' : outcomeOf(observed)
    return trial(outcome, findings, broker.readyMs)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const evidence = `${text}; the broker wrote: ${broker.process.output.stderr.slice(-2_000)}`
    return trial('found', [{ check: 'survey-failed', evidence }])
  } finally {
    await broker.kill()
  }
}

function outcomeOf({ reasons, hasTailNotice }: Observed): Outcome {
  return reasons.length > 0 || hasTailNotice ? 'mended or reported' : 'harmless'
}

/** A broker, or the output of one that did not start. */
async function startOrRefusal(context: RoundContext, dir: string): Promise<BrokerProcess | string> {
  try {
    return await BrokerProcess.start(context, planFor(context, dir))
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** A refusal says what is damaged and what to do; anything else is a crash. */
function refusalProblem(output: string): Finding | undefined {
  if (/millrace: .*(?:damaged|format)/.test(output)) return undefined
  return { check: 'start-failed', evidence: output.slice(-2_000) }
}

/** What the command printed, or that it failed. */
async function repair(context: RoundContext, dir: string): Promise<string | Finding> {
  for (const flags of [[], ['--marker']]) {
    const args = ['repair', '--data', dir, ...flags]
    const process =
      context.planted === undefined
        ? spawnMillrace(context, args)
        : spawnNode(context, plantedPath, [context.planted, ...args])
    const { code, signal } = await process.exited
    const { stdout, stderr } = process.output
    if (flags.length === 0 && stderr.includes('--marker')) continue
    // 1 is also the answer when something is damaged that can't be mended.
    if (code === 0 || (code === 1 && stdout !== '')) return `repaired: ${stdout.slice(0, 1_000)}`
    return {
      check: 'not-repairable',
      evidence: `exit ${code ?? signal}: ${stdout} ${stderr}`.slice(0, 2_000),
    }
  }
  return { check: 'not-repairable', evidence: 'the command asks for --marker though it has it' }
}

function resultOf(trials: readonly Trial[]): RoundResult {
  const faults: Record<string, number> = {}
  for (const { flip, outcome } of trials) {
    const kind = `${flip.fileClass}: ${outcome}`
    faults[kind] = (faults[kind] ?? 0) + 1
  }
  const started = trials.filter(({ startMs }) => startMs > 0)
  return {
    operations: trials.reduce((sum, { operations }) => sum + operations, 0),
    faults,
    findings: trials.flatMap(({ findings }) => findings),
    ...(trials.length === 0 ? { unknown: 'no file could be damaged' } : {}),
    samples: { 'start ms': started.map(({ startMs }) => startMs) },
  }
}
