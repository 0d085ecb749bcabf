import { readFile } from 'node:fs/promises'
import type { TestContext } from '../../helpers/context.js'
import { waitFor } from '../../helpers/wait_for.js'
import { checkOnce, linux, type Unavailable } from './requirements.js'

/** State of a process as proc(5) gives it: `R` running, `S` asleep, `T` stopped; undefined when it is gone. */
export async function processState(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined)
  // The name before it is in parentheses and may hold any character.
  return stat?.slice(stat.lastIndexOf(')') + 2)[0]
}

/**
 * Stops a process (SIGSTOP), like a virtual machine that is suspended or a very long pause of the garbage collector:
 * it does nothing, but its connections stay open and the kernel still takes data for it. On resuming it believes
 * that no time has passed.
 * @returns resumes it (SIGCONT); the context's cleanup does so, too
 * @throws Error when the process is gone, or not stopped within 5 seconds
 */
export async function suspend(context: TestContext, pid: number): Promise<() => Promise<void>> {
  process.kill(pid, 'SIGSTOP')
  let stopped = true
  const resume = async (): Promise<void> => {
    if (!stopped) return
    stopped = false
    if ((await processState(pid)) === undefined) return
    process.kill(pid, 'SIGCONT')
    await waitFor(`process ${pid} to go on`, async () => (await processState(pid)) !== 'T')
  }
  context.defer(resume)
  await waitFor(`process ${pid} to stop`, async () => (await processState(pid)) === 'T')
  return resume
}

/** Why no process can be stopped here. */
export const suspendUnavailable: Unavailable = checkOnce(linux)
