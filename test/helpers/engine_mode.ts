import { freshSeed } from './random.js'

const modeVariable = 'MILLRACE_TEST_ENGINE'
const seedVariable = 'MILLRACE_TEST_ENGINE_SEED'

/** Whether the tests, and the processes that they start, run on engines that take random time. */
export const enginesAreDelayed = readMode()

/** Deadlines of tests are this many times as long. */
export const deadlineFactor = enginesAreDelayed ? 4 : 1

function readMode(): boolean {
  const mode = process.env[modeVariable] ?? ''
  if (mode !== '' && mode !== 'delayed')
    throw new Error(`${modeVariable}: expected "delayed" or nothing, got ${JSON.stringify(mode)}`)
  return mode === 'delayed'
}

/** The seed of the delays of this run: that of the environment, or a new one that child processes find there. */
export function engineSeed(): number {
  process.env[seedVariable] ??= String(freshSeed())
  return Number(process.env[seedVariable]) >>> 0
}

/** For people: how to get the same delays again. */
export function engineSeedText(): string {
  return `${modeVariable}=delayed ${seedVariable}=${engineSeed()}`
}
