import { writeSync } from 'node:fs'

/** Environment variable with the file descriptor for reports of a test file to the runner. */
export const reportFdVariable = 'MILLRACE_TEST_REPORT_FD'

/** An error as text that survives the way between two processes. */
export interface FailureText {
  readonly message: string
  readonly stack: string
}

/** The reports of a test file to the runner, one JSON object on each line. */
export type TestEvent =
  | { readonly type: 'registered'; readonly id: number; readonly name: string }
  | { readonly type: 'started'; readonly id: number }
  | { readonly type: 'passed'; readonly id: number }
  | { readonly type: 'failed'; readonly id: number; readonly failure: FailureText }
  | { readonly type: 'skipped'; readonly id: number; readonly reason: string }
  /** A failure outside of tests: an unhandled rejection, a process that does not exit. */
  | { readonly type: 'file_failed'; readonly failure: FailureText }

const reportFd =
  process.env[reportFdVariable] === undefined ? undefined : Number(process.env[reportFdVariable])
// Processes of a test have no such descriptor and must not write to another one with its number.
delete process.env[reportFdVariable]

/** True if the runner started this test file. */
export const underRunner = reportFd !== undefined

/** Sends an event to the runner; synchronous, so that nothing is lost when the process ends right after it. */
export function report(event: TestEvent): void {
  if (reportFd !== undefined) writeSync(reportFd, `${JSON.stringify(event)}\n`)
}

/** Renders any thrown value, with the difference of an assertion and the chain of causes. */
export function failureText(thrown: unknown): FailureText {
  if (!(thrown instanceof Error)) return { message: `thrown: ${String(thrown)}`, stack: '' }
  const details = 'details' in thrown && typeof thrown.details === 'string' ? `\n${thrown.details}` : ''
  const cause = thrown.cause === undefined ? '' : `\ncaused by ${causeText(thrown.cause)}`
  const errors =
    thrown instanceof AggregateError ? thrown.errors.map((e) => `\n- ${causeText(e)}`).join('') : ''
  const stackStart = thrown.stack?.indexOf('\n    at ') ?? -1
  const stack = stackStart < 0 ? '' : (thrown.stack?.slice(stackStart + 1) ?? '')
  return { message: `${thrown.name}: ${thrown.message}${details}`, stack: `${stack}${errors}${cause}` }
}

function causeText(thrown: unknown): string {
  const { message, stack } = failureText(thrown)
  return stack === '' ? message : `${message}\n${stack}`
}
