import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { type FailureText, reportFdVariable, type TestEvent } from './report.js'

/** One failed test, or a failure of a file as a whole. */
export interface Failure extends FailureText {
  readonly file: string
  readonly test: string
}

/** The result of one test file. */
export interface FileResult {
  readonly file: string
  readonly passed: number
  readonly skipped: readonly { readonly test: string; readonly reason: string }[]
  readonly failures: readonly Failure[]
  /** Its stdout and stderr, at most the last 64 Ki characters. */
  readonly output: string
  readonly durationMs: number
}

export interface RunOptions {
  /** Number of files that run at the same time. */
  readonly parallel: number
  /** A file that runs longer is killed. */
  readonly fileDeadlineMs: number
  /** Called when a file has ended, in the order of the ends. */
  readonly onResult?: (result: FileResult) => void
}

const outputCharactersMax = 64 * 1024
const reportFd = 3

/** Runs test files, each in its own process. The result of a file accounts for every registered test. */
export async function runFiles(files: readonly string[], options: RunOptions): Promise<FileResult[]> {
  const waiting = [...files]
  const results: FileResult[] = []
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runFile(file, options.fileDeadlineMs)
      results.push(result)
      options.onResult?.(result)
    }
  }
  await Promise.all(Array.from({ length: options.parallel }, worker))
  return results
}

/** Collects the events of one test file. */
class FileRecord {
  readonly #tests = new Map<number, { name: string; state: 'registered' | 'started' | 'ended' }>()
  readonly #skipped: { test: string; reason: string }[] = []
  readonly #failures: Failure[] = []
  readonly #startedAt = performance.now()
  #passed = 0
  #output = ''

  constructor(readonly file: string) {}

  addOutput(text: string): void {
    this.#output = (this.#output + text).slice(-outputCharactersMax)
  }

  add(event: TestEvent): void {
    if (event.type === 'file_failed') this.fail('(file)', event.failure.message, event.failure.stack)
    else if (event.type === 'registered') this.#tests.set(event.id, { name: event.name, state: 'registered' })
    else this.#addOutcome(event)
  }

  #addOutcome(event: Exclude<TestEvent, { type: 'file_failed' | 'registered' }>): void {
    const test = this.#tests.get(event.id)
    if (test === undefined || test.state === 'ended') {
      this.fail('(file)', `result ${event.type} for a test that is not running`)
      return
    }
    test.state = event.type === 'started' ? 'started' : 'ended'
    if (event.type === 'passed') this.#passed++
    if (event.type === 'skipped') this.#skipped.push({ test: test.name, reason: event.reason })
    if (event.type === 'failed') this.fail(test.name, event.failure.message, event.failure.stack)
  }

  /** Exit code 1 is then explained. */
  get failed(): boolean {
    return this.#failures.length > 0
  }

  fail(test: string, message: string, stack = ''): void {
    this.#failures.push({ file: this.file, test, message, stack })
  }

  /** Compares registered with reported tests, when the process has ended. */
  close(ending: string | undefined): FileResult {
    if (ending !== undefined) this.fail('(file)', ending)
    else if (this.#tests.size === 0) this.fail('(file)', 'no test was registered through suite()')
    for (const { name, state } of this.#tests.values()) {
      if (state === 'registered') this.fail(name, 'registered and not run')
      if (state === 'started') this.fail(name, 'started and not finished')
    }
    return {
      file: this.file,
      passed: this.#passed,
      skipped: this.#skipped,
      failures: this.#failures,
      output: this.#output,
      durationMs: performance.now() - this.#startedAt,
    }
  }
}

async function runFile(file: string, deadlineMs: number): Promise<FileResult> {
  const record = new FileRecord(file)
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, [reportFdVariable]: String(reportFd) },
    // A process group, so that the kill of a file also kills its processes.
    detached: process.platform !== 'win32',
  })
  const killAtExit = (): void => killGroup(child)
  process.on('exit', killAtExit)
  for (const stream of [child.stdout, child.stderr] as (Readable | null)[])
    stream?.setEncoding('utf8').on('data', (text: string) => record.addOutput(text))
  const events = createInterface({ input: child.stdio[reportFd] as Readable })
  events.on('line', (line) => record.add(JSON.parse(line) as TestEvent))
  const eventsEnded = new Promise<void>((resolve) => events.once('close', resolve))

  let expired = false
  const timer = setTimeout(() => {
    expired = true
    killGroup(child)
  }, deadlineMs)
  const ending = await new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(`the process could not be started: ${error.message}`))
    child.once('exit', (code, signal) =>
      resolve(
        code === 0 || (code === 1 && record.failed)
          ? undefined
          : `the process ended with ${signal ?? `exit code ${code}`}`,
      ),
    )
  })
  clearTimeout(timer)
  killGroup(child)
  await eventsEnded
  process.off('exit', killAtExit)
  return record.close(expired ? `killed: it ran longer than ${deadlineMs} ms` : ending)
}

/** Kills the remaining processes of a test file. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    if (process.platform === 'win32') child.kill('SIGKILL')
    else process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    // ESRCH: the whole group has ended.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
