import { suite as uvuSuite } from 'uvu'
import { RunningTest, Skipped, type TestContext, withDeadline } from './context.js'
import { deadlineFactor, engineSeedText, enginesAreDelayed } from './engine_mode.js'
import { failureText, report, underRunner } from './report.js'

export type { TestContext } from './context.js'

/** The body of a test. */
export type TestBody = (context: TestContext) => unknown

/** A suite of tests; call `run()` once, at the end of the file. */
export interface Suite {
  (name: string, body: TestBody, options?: { readonly deadlineMs?: number }): void
  /** Registers a skipped test; the runner shows the reason. */
  skip(name: string, reason: string, body?: TestBody): void
  /** Runs the registered tests one after the other. */
  run(): void
}

// Before any test opens an engine.
if (enginesAreDelayed) await import('./delay_engines.js')

const deadlineMsDefault = 30_000
const exitGraceMs = 5_000

/** State of this test file: one process runs one file. */
const file = {
  registered: 0,
  finished: 0,
  failed: false,
  failRunningTest: undefined as ((error: Error) => void) | undefined,
  exitTimer: undefined as NodeJS.Timeout | undefined,
}

/**
 * Creates a suite of tests on top of uvu's, and adds missing guards: a deadline for each test, cleanups that can fail
 * it,
 * and failures if a registered test never ran, if a promise rejects unhandled, and if the process does not
 * exit after its tests.
 * @param name path of the tested part, like `storage/journal`
 */
export function suite(name: string): Suite {
  const inner = uvuSuite(name)
  const register = (testName: string): number => {
    clearTimeout(file.exitTimer)
    const id = file.registered++
    report({ type: 'registered', id, name: `${name}: ${testName}` })
    return id
  }
  const test = (testName: string, body: TestBody, { deadlineMs = deadlineMsDefault } = {}): void => {
    const id = register(testName)
    inner(testName, () => runTest(id, testName, body, deadlineMs * deadlineFactor))
  }
  const skip = (testName: string, reason: string): void => {
    const id = register(testName)
    inner(testName, () => finish(() => markSkipped(id, testName, reason)))
  }
  return Object.assign(test, { skip, run: () => inner.run() })
}

async function runTest(id: number, name: string, body: TestBody, deadlineMs: number): Promise<void> {
  report({ type: 'started', id })
  const context = new RunningTest()
  const errors: unknown[] = []
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      errors.push(error)
    }
  }
  await attempt(() => runBody(context, body, deadlineMs))
  await attempt(() => context.cleanUp())
  const [first] = errors
  finish(() => {
    if (errors.length === 0) report({ type: 'passed', id })
    else if (errors.length === 1 && first instanceof Skipped) markSkipped(id, name, first.message)
    else
      markFailed(id, errors.length === 1 ? first : new AggregateError(errors, String(first)), context.seeds)
  })
}

async function runBody(context: RunningTest, body: TestBody, deadlineMs: number): Promise<void> {
  const interrupted = new Promise<never>((_resolve, reject) => {
    file.failRunningTest = reject
  })
  try {
    await withDeadline(deadlineMs, 'the test did not end', () =>
      Promise.race([Promise.resolve(context).then(body), interrupted]),
    )
  } catch (error) {
    context.abort(error instanceof Error ? error : new Error(String(error)))
    throw error
  } finally {
    file.failRunningTest = undefined
  }
}

function finish(mark: () => void): void {
  file.finished++
  // The timer does not keep the process alive: if it fires, something else does.
  if (file.finished === file.registered) file.exitTimer = setTimeout(failOpenProcess, exitGraceMs).unref()
  mark()
}

function markSkipped(id: number, name: string, reason: string): void {
  report({ type: 'skipped', id, reason })
  if (!underRunner) console.error(`skipped ${name}: ${reason}`)
}

function markFailed(id: number, error: unknown, seeds: readonly number[]): void {
  file.failed = true
  const { message, stack } = failureText(error)
  const seeded = seeds.length === 0 ? message : `${message}\nrandom seeds: ${seeds.join(', ')}`
  report({ type: 'failed', id, failure: { message: seeded, stack } })
  if (underRunner) return
  if (seeds.length > 0) console.error(`random seeds: ${seeds.join(', ')}`)
  if (enginesAreDelayed) console.error(engineSeedText())
  throw error
}

function failFile(error: Error): void {
  file.failed = true
  const failure = failureText(error)
  report({ type: 'file_failed', failure })
  if (!underRunner) console.error(`${failure.message}\n${failure.stack}`)
}

function failOpenProcess(): void {
  const open = process.getActiveResourcesInfo().join(', ')
  failFile(new Error(`the process did not exit within ${exitGraceMs} ms of its last test; open: ${open}`))
  process.exit(1)
}

function failOnStrayError(kind: string, thrown: unknown): void {
  const error = new Error(`${kind}: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
    cause: thrown,
  })
  if (file.failRunningTest === undefined) failFile(error)
  else file.failRunningTest(error)
}

process.on('unhandledRejection', (reason) => failOnStrayError('unhandled rejection', reason))
process.on('uncaughtException', (error) => failOnStrayError('uncaught exception', error))
process.on('exit', () => {
  const missing = file.registered - file.finished
  if (missing > 0)
    failFile(new Error(`${missing} of ${file.registered} tests were registered and did not run`))
  if (file.failed) process.exitCode = 1
})
