import type { Client } from '../client/index.js'
import { type CommonOptions, interruptSignal, withClient } from './options.js'
import type { Progress } from './output.js'

/**
 * Connects, runs the work of a command that Ctrl-C ends early, closes the client and removes the progress line.
 * @param work gets the signal that the first Ctrl-C aborts
 * @param isClean whether errors of the work after Ctrl-C are no failure
 * @returns whether Ctrl-C has ended it
 */
export async function untilInterrupted(
  options: CommonOptions,
  work: (client: Client, signal: AbortSignal) => Promise<void>,
  { progress, isClean = false }: { readonly progress?: Progress; readonly isClean?: boolean } = {},
): Promise<boolean> {
  const { signal, release } = interruptSignal()
  try {
    await withClient(options, (client) => work(client, signal), signal)
  } catch (error) {
    if (!isClean || !signal.aborted) throw error
  } finally {
    progress?.done()
    release()
  }
  return signal.aborted
}
