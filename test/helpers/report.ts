import { writeSync } from 'node:fs'

/** Environment variable that names the file descriptor on which a test file reports to the runner. */
export const reportFdVariable = 'MILLRACE_TEST_REPORT_FD'

/** What went wrong, as text that survives the way between two processes. */
export interface FailureText {
  readonly message: string
  readonly stack: string
}

/** What a test file tells the runner, one JSON object a line. */
export type TestEvent =
  | { readonly type: 'registered'; readonly id: number; readonly name: string }
  | { readonly type: 'started'; readonly id: number }
  | { readonly type: 'passed'; readonly id: number }
  | { readonly type: 'failed'; readonly id: number; readonly failure: FailureText }
  | { readonly type: 'skipped'; readonly id: number; readonly reason: string }
  /** Something failed that belongs to no test: an unhandled rejection, a process that does not exit. */
  | { readonly type: 'file_failed'; readonly failure: FailureText }

const reportFd =
  process.env[reportFdVariable] === undefined ? undefined : Number(process.env[reportFdVariable])
// Processes that a test starts have no such descriptor and must not write to whatever has its number.
delete process.env[reportFdVariable]

/** True when this test file was started by the runner, not by hand. */
export const underRunner = reportFd !== undefined

/** Sends an event to the runner; synchronous, so that nothing is lost when the process ends right after it. */
export function report(event: TestEvent): void {
  if (reportFd !== undefined) writeSync(reportFd, `${JSON.stringify(event)}\n`)
}

/** Renders anything thrown, with the difference that an assertion found and the chain of causes. */
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
