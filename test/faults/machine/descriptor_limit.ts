import { readdir } from 'node:fs/promises'
import type { TestContext } from '../../helpers/context.js'
import { run } from './command.js'
import { checkOnce, linux, tools, type Unavailable } from './requirements.js'

/**
 * Lowers the number of files and sockets that a running process may have open, like a service with a
 * small `ulimit -n`: open ones stay open, accepts and opens fail with EMFILE. After a close the process may open
 * another
 * one. The hard limit does not change.
 * @param moreMax how many it may open in addition to its open ones
 * @returns sets the old limit; the cleanup of the context does so, too
 * @throws Error if the process is gone, or the limit is above its hard limit
 */
export async function limitDescriptors(
  context: TestContext,
  pid: number,
  moreMax: number,
): Promise<() => Promise<void>> {
  const before = await run('prlimit', '--pid', `${pid}`, '--nofile', '--noheadings', '--raw', '-o', 'SOFT')
  await run('prlimit', '--pid', `${pid}`, `--nofile=${await limitLeaving(pid, moreMax)}:`)
  let limited = true
  const restore = async (): Promise<void> => {
    if (!limited) return
    limited = false
    await run('prlimit', '--pid', `${pid}`, `--nofile=${before.trim()}:`)
  }
  // By then the process may be gone, and its limit with it.
  context.defer(() => restore().catch(() => {}))
  return restore
}

/** The kernel compares numbers of descriptors and gives out the lowest free one, so gaps count as room. */
async function limitLeaving(pid: number, freeCount: number): Promise<number> {
  const open = new Set((await readdir(`/proc/${pid}/fd`)).map(Number))
  let limit = 0
  for (let free = 0; ; limit++) {
    if (open.has(limit)) continue
    if (free++ === freeCount) return limit
  }
}

/** The reason why limits cannot be changed here. */
export const limitDescriptorsUnavailable: Unavailable = checkOnce(linux, tools('prlimit'))
