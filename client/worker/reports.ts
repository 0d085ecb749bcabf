import { isConnectionError, undisturbed, Warnings } from '../warnings.js'
import type { WorkSettings } from './options.js'
import { RetryAfter, type WorkMessage } from './work_message.js'

/** The error callbacks of a worker: from the program, or process warnings as the default. */
export interface WorkerReports {
  readonly onError: (error: unknown) => void
  readonly onFailed: <Value, Key>(message: WorkMessage<Value, Key>, error: unknown) => void
}

/** Returns the callbacks of the worker with these settings. */
export function workerReports({
  group,
  onError,
  onFailed,
}: Pick<WorkSettings, 'group' | 'onError' | 'onFailed'>): WorkerReports {
  const subject = `a worker of queue group "${group}"`
  const warnings = new Warnings(subject, 'set the option "onError" of client.work to receive all of them')
  const failures = new Warnings(subject, 'set the option "onFailed" of client.work to receive all of them')
  const failed = undisturbed(
    onFailed ??
      ((message: WorkMessage, error: unknown, attempt: number) => {
        if (error instanceof RetryAfter) return
        const { topic, partition, offset } = message
        failures.warn(
          error,
          ': a handler failed',
          ` (attempt ${attempt}, topic "${topic}", partition ${partition}, offset ${offset})`,
        )
      }),
  )
  return {
    onError: undisturbed(onError ?? ((error: unknown) => isConnectionError(error) || warnings.warn(error))),
    onFailed: (message, error) => failed(message as unknown as WorkMessage, error, message.attempt),
  }
}
