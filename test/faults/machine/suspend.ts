import { readFile } from 'node:fs/promises'
import type { TestContext } from '../../helpers/context.js'
import { waitFor } from '../../helpers/wait_for.js'
import { checkOnce, linux, type Unavailable } from './requirements.js'

/** State of a process (proc(5)): `R` running, `S` asleep, `T` stopped; undefined if it is gone. */
export async function processState(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined)
  // The name before it is in parentheses and may hold any character.
  return stat?.slice(stat.lastIndexOf(')') + 2)[0]
}

/**
 * Stops a process (SIGSTOP), like a suspended virtual machine or a very long pause of the garbage collector:
 * it does nothing, but its connections stay open and the kernel still accepts data for it. After the resume it assumes
 * that no time has passed.
 * @returns resumes it (SIGCONT); the cleanup of the context does so, too
 * @throws Error if the process is gone, or not stopped within 5 seconds
 */
export async function suspend(context: TestContext, pid: number): Promise<() => Promise<void>> {
  process.kill(pid, 'SIGSTOP')
  let stopped = true
  const resume = async (): Promise<void> => {
    if (!stopped) return
    stopped = false
    if ((await processState(pid)) === undefined) return
    process.kill(pid, 'SIGCONT')
    await waitFor(`process ${pid} to resume`, async () => (await processState(pid)) !== 'T')
  }
  context.defer(resume)
  await waitFor(`process ${pid} to stop`, async () => (await processState(pid)) === 'T')
  return resume
}

/** The reason why no process can be stopped here. */
export const suspendUnavailable: Unavailable = checkOnce(linux)
